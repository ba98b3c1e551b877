"""A session with a HAProxy that goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pilothouse.dataplane.haproxy.control import Control


async def test_a_session_that_was_closed_answers_no_more_and_says_so(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"\n> ")
        writer.close()
        await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    async with await asyncio.start_unix_server(answer, str(tmp_path / "socket")):
        session = await Control.open(str(tmp_path / "socket"))
        assert await session.ask(["show info"]) == [""]
        session.close()
        with pytest.raises(OSError, match="closed"):
            await session.ask(["show info"])
        await asyncio.wait_for(left.wait(), 5)

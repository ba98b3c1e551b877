"""A session with a HAProxy that goes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pilothouse.dataplane.haproxy.control import Control


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    return {"uvloop": uvloop.new_event_loop}


async def test_a_session_that_was_closed_answers_no_more_and_says_so(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"\n> ")
        writer.close()

    async with await asyncio.start_unix_server(answer, str(tmp_path / "socket")):
        session = await Control.open(str(tmp_path / "socket"))
        assert await session.ask(["show info"]) == [""]
        session.close()
        with pytest.raises(OSError, match="closed"):
            await session.ask(["show info"])

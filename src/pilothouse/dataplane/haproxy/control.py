"""HAProxy's runtime API: commands over its socket, one answer each (docs.haproxy.org, management manual, section 9.3)."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
from collections.abc import Sequence

_PROMPT = b"\n> "
#: One answer, `show stat` of thousands of fronts among them.
_LIMIT = 64 * 1024 * 1024


class Control:
    """A session. It stays with a HAProxy that is stopping, and keeps it there: close it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._busy = asyncio.Lock()

    @classmethod
    async def open(cls, path: str) -> Control:
        """When this returns HAProxy runs: the socket may be there long before it answers."""
        reader, writer = await asyncio.open_unix_connection(path, limit=_LIMIT)
        session = cls(reader, writer)
        try:
            await session._ask(["prompt"])
        except BaseException:
            writer.close()
            raise
        return session

    async def ask(self, commands: Sequence[str]) -> list[str]:
        """The answers. OSError where HAProxy has gone."""
        async with self._busy:
            return await self._ask(commands)

    async def _ask(self, commands: Sequence[str]) -> list[str]:
        if self._writer.is_closing():  # uvloop would raise RuntimeError
            raise ConnectionResetError("the session with haproxy is closed")
        try:
            self._writer.write("".join(f"{command}\n" for command in commands).encode())
            answers = [(await self._reader.readuntil(_PROMPT)).decode(errors="replace") for _ in commands]
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("haproxy has gone") from error
        return [answer[: -len(_PROMPT)].strip() for answer in answers]

    def close(self) -> None:
        self._writer.close()


def ask_now(path: str, command: str) -> str:
    """One command without the event loop: a millisecond. "" where HAProxy has gone."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as session:
        session.settimeout(1.0)
        try:
            session.connect(path)
            session.sendall(f"{command}\n".encode())
            while piece := session.recv(1 << 20):
                answer += piece
        except OSError:
            return ""
    return answer.decode(errors="replace")


def table(answer: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Some columns of `show stat`, as rows. Most of its hundred are not asked for."""
    rows = csv.reader(io.StringIO(answer.lstrip("# ")))
    places = {name: place for place, name in enumerate(next(rows, [])) if name in columns}
    return [{name: row[place] for name, place in places.items()} for row in rows if row]

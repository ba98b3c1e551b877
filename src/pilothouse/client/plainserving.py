"""Small pages over plain HTTP: /healthz, /metrics and the like, where Kubernetes' components serve them without TLS.

GET and HEAD only, an answer for each connection. Light enough for a port for each of many Services.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

#: Bytes of a request's head, and seconds for it to come.
LARGEST_HEAD, PATIENCE = 16_384, 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOT_FOUND = Page(404, "404 page not found\n")


class PlainServer:
    """`answer` is given the path that was asked for and the address that it was asked at."""

    def __init__(self, answer: Callable[[str, str], Page]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, address: tuple[str, int] | None = None, sock: socket.socket | None = None) -> None:
        """At an address or on a socket that is bound. OSError if that cannot be."""
        if sock is not None:
            self._server = await asyncio.start_server(self._serve, sock=sock, limit=LARGEST_HEAD)
        elif address is not None:
            self._server = await asyncio.start_server(self._serve, *address, limit=LARGEST_HEAD)

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._reply(head, writer.get_extra_info("sockname")[0]))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            self._open.discard(task)
            writer.close()

    def _reply(self, head: bytes, address: str) -> bytes:
        method, _, rest = head.decode("latin-1").partition("\r\n")[0].partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        page = self._answer(path, address) if method in ("GET", "HEAD") else Page(405, "")
        body = page.body.encode()
        lines = [f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}", f"Content-Type: {page.content_type}",
                 f"Content-Length: {len(body)}", "Connection: close", *(f"{name}: {value}" for name, value in page.headers)]  # fmt: skip
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else body)

"""The HTTPS transport: requests and watches over aiohttp, with one identity."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from pilothouse.client.client import error_of
from pilothouse.client.interface import Response, WatchEvent
from pilothouse.client.kubeconfig import Connection

#: Connections to one server for requests. Watches hold theirs for long and have no limit: they must not starve requests.
LIMIT = 100
REQUEST_SECONDS = 60.0
#: How long after its own `timeoutSeconds` a watch is given up, and how long one may last that has none.
WATCH_GRACE, WATCH_SECONDS = 30.0, 3600.0
#: How long a token that was read from a file is used (such tokens are renewed long before they expire).
TOKEN_SECONDS = 60.0


class HttpTransport:
    """A `Transport` to any Kubernetes API server. Failures of the connection are OSErrors."""

    def __init__(self, connection: Connection, user_agent: str = "pilothouse") -> None:
        self._connection = connection
        self._agent = user_agent
        self._name = connection.server_name or None
        self._sessions: dict[int, aiohttp.ClientSession] = {}
        self._token = connection.token
        self._token_until = 0.0

    def _open(self, limit: int) -> aiohttp.ClientSession:
        session = self._sessions.get(limit)
        if session is None or session.closed:
            connector = aiohttp.TCPConnector(ssl=self._connection.tls or False, limit=0, limit_per_host=limit)
            session = aiohttp.ClientSession(
                self._connection.server, connector=connector, json_serialize=lambda o: orjson.dumps(o).decode()
            )
            self._sessions[limit] = session
        return session

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": self._agent}
        if token := self._bearer():
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _bearer(self) -> str:
        if self._connection.token_file and time.monotonic() >= self._token_until:
            self._token = Path(self._connection.token_file).read_text().strip()
            self._token_until = time.monotonic() + TOKEN_SECONDS
        return self._token

    async def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None,
                      content_type: str = "application/json", accept: str = "application/json") -> Response:  # fmt: skip
        """Send and wait, at most a minute."""
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        headers = self._headers(accept)
        if data is not None:
            headers["Content-Type"] = content_type
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        try:
            async with self._open(LIMIT).request(
                method, path, params=query, data=data, headers=headers, timeout=timeout, server_hostname=self._name
            ) as answer:
                content = await answer.read()
                return Response(answer.status, _decoded(content, answer.content_type), dict(answer.headers))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"{method} {path}: {error or type(error).__name__}") from error

    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        """Follow until the server ends it. Events that arrive together come together."""
        params = {**(query or {}), "watch": "true"}
        longest = float(params.get("timeoutSeconds") or WATCH_SECONDS) + WATCH_GRACE
        timeout = aiohttp.ClientTimeout(total=longest, sock_connect=REQUEST_SECONDS)
        try:
            async with self._open(0).get(
                path, params=params, headers=self._headers("application/json"), timeout=timeout, server_hostname=self._name
            ) as answer:
                if answer.status != 200:
                    raise error_of(_decoded(await answer.read(), answer.content_type), answer.status)
                async for events in _events(answer.content):
                    yield events
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"watch {path}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()


async def _events(stream: aiohttp.StreamReader) -> AsyncIterator[list[WatchEvent]]:
    """Events as their lines are complete."""
    rest: list[bytes] = []
    async for chunk in stream.iter_any():
        end = chunk.rfind(b"\n") + 1
        if not end:
            rest.append(chunk)
            continue
        lines = b"".join((*rest, chunk[:end])).split(b"\n")
        rest = [chunk[end:]]
        events = [WatchEvent(e["type"], e["object"]) for e in map(orjson.loads, filter(None, lines))]
        if events:
            yield events


def _decoded(content: bytes, content_type: str) -> Any:
    return orjson.loads(content) if content_type == "application/json" and content else content

"""The hub for components in its own process: the same chain with a real identity, but no sockets, no JSON, no copies.

It has the shape of `client.interface.Transport`, which it does not import (the hub knows no clients). Objects that come back are the
hub's own, shared by everyone: they must not be changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.chain import Chain
from pilothouse.apiserver.interface import User
from pilothouse.apiserver.messages import Request, Response


@dataclass(frozen=True, slots=True)
class InProcessResponse:
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InProcessEvent:
    type: str
    object: Obj


class InProcessTransport:
    """One component's way to the hub, under one identity."""

    def __init__(self, chain: Chain, user: User, user_agent: str = "pilothouse") -> None:
        self._chain = chain
        self._user = user
        self._agent = user_agent.encode()

    async def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None,
                      content_type: str = "application/json", accept: str = "application/json") -> InProcessResponse:  # fmt: skip
        """As over HTTPS. A Table or another transformed answer comes as decoded JSON, too."""
        response = await self._send(method, path, query, body, content_type, accept)
        return InProcessResponse(response.status, _content(response), dict(response.headers or ()))

    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[InProcessEvent]]:
        """Batches of events until the hub ends the watch."""
        response = await self._send("GET", path, {**(query or {}), "watch": "true"}, None, "", "application/json")
        if response.status != 200:
            raise _error(_content(response))
        watch = response.native
        try:
            while (batch := await watch.next()) is not None:
                yield [InProcessEvent(type, obj) for type, obj in batch]
        finally:
            watch.close()

    async def close(self) -> None:
        """Nothing is held open."""

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str, accept: str
    ) -> Response:
        target = quote(path, safe="/:%") + (f"?{urlencode(query)}" if query else "")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        headers = {b"user-agent": self._agent, b"accept": accept.encode()}
        if data:
            headers[b"content-type"] = content_type.encode()
        request = Request(method, target, headers, data)
        request.user = self._user
        request.native = ";as=" not in accept
        answer = self._chain(request)
        return answer if isinstance(answer, Response) else await answer


def _content(response: Response) -> Any:
    if response.native is not None:
        return response.native
    body = response.body if response.parts is None else b"".join(response.parts)
    if response.content_type.startswith("application/json") and body:
        return orjson.loads(body)
    return body


def _error(status: Any) -> StatusError:
    if not isinstance(status, dict):
        return StatusError(500, "InternalError", str(status))
    return StatusError(
        int(status.get("code", 500)), str(status.get("reason", "")), str(status.get("message", "")), status.get("details")
    )

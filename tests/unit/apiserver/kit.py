"""A hub without network, identities or admission, and a caller that speaks HTTP to its chain: what most tests of the hub need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from pilothouse.apiserver.interface import Credentials, User
from pilothouse.apiserver.messages import Request, Response
from pilothouse.apiserver.server import ApiServer, Options
from pilothouse.clock import SystemClock
from pilothouse.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))


class Tokens:
    """`admin` is everybody's master; any other token is its own user's name."""

    def authenticate(self, credentials: Credentials) -> User | None:
        if credentials.bearer == "admin":
            return ADMIN
        return User(credentials.bearer, ("system:authenticated",)) if credentials.bearer else None


@dataclass
class Got:
    code: int
    body: Any
    headers: dict[str, str]
    response: Response


class Caller:
    """Sends requests through the whole chain, as bytes."""

    def __init__(self, server: ApiServer, token: str = "admin", agent: str = "tests/1.0") -> None:
        self.server = server
        self.token = token
        self.agent = agent

    async def __call__(self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, media: str = "application/json",
                       accept: str = "application/json", headers: dict[str, str] | None = None) -> Got:  # fmt: skip
        target = path + (f"?{urlencode(query)}" if query else "")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        sent = {"authorization": f"Bearer {self.token}", "accept": accept, "user-agent": self.agent, **(headers or {})}
        if data:
            sent["content-type"] = media
        request = Request(method, target, {k.encode(): v.encode() for k, v in sent.items()}, data)
        answer = self.server.chain(request)
        response = answer if isinstance(answer, Response) else await answer
        raw = response.body if response.parts is None else b"".join(response.parts)
        if response.parts is not None:
            assert response.length in (None, len(raw))
        decoded = orjson.loads(raw) if raw and response.content_type == "application/json" else raw.decode()
        return Got(response.status, decoded, dict(response.headers or ()), response)


@asynccontextmanager
async def hub(**options: Any) -> AsyncIterator[Caller]:
    """A started server with the namespace `default`."""
    clock = options.pop("clock", None) or SystemClock(seed=1)
    store = options.pop("store", None) or MemoryStore(clock)
    options = {"authenticators": lambda hub: (Tokens(),), "listen": False, **options}
    server = ApiServer(Options(store=store, clock=clock, **options))
    await server.start()
    try:
        await server.create("", "namespaces", {"metadata": {"name": "default"}})
        yield Caller(server)
    finally:
        await server.stop()


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def configmap(name: str, data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
    if data is not None:
        out["data"] = data
    return out

"""A hub as `pilothouse apiserver` builds it, with its certificates, bootstrap objects and default admission, in memory and without network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pilothouse.apiserver.assembly import Settings, server_options
from pilothouse.apiserver.server import ApiServer
from pilothouse.clock import SystemClock
from pilothouse.store.memory import MemoryStore

from .kit import Caller


@cache
def cert_dir() -> Path:
    """One directory of keys for all tests: making them again would test nothing."""
    folder = Path(mkdtemp(prefix="pilothouse-tests-"))
    (folder / "tokens.csv").write_text(
        'admin,admin,admin,system:masters\njane,jane,,"devs,ops"\nn1,system:node:n1,,system:nodes\n'
    )
    return folder


@asynccontextmanager
async def cluster(**settings: Any) -> AsyncIterator[Caller]:
    """A started cluster, and a caller who may do everything. Tokens: admin, jane, n1 (a kubelet)."""
    clock = settings.pop("clock", None) or SystemClock(seed=1)
    store = settings.pop("store", None) or MemoryStore(clock)
    wanted = Settings(cert_dir=cert_dir(), listen=False, token_auth_file=cert_dir() / "tokens.csv", **settings)
    server = ApiServer(server_options(store, wanted, clock))
    await server.start()
    try:
        if server.cache("", "serviceaccounts").get("default", "default") is None:
            await server.create("", "serviceaccounts", {"metadata": {"name": "default", "namespace": "default"}})
        yield Caller(server)
    finally:
        await server.stop()


def acting(call: Caller, token: str) -> Caller:
    """The same hub, as somebody else."""
    return Caller(call.server, token)


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "c", "image": "nginx"}])
    metadata = {"name": name, **spec.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


PODS = "/api/v1/namespaces/default/pods"

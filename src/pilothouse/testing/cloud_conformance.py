"""What every cloud provider has to do, as tests that whoever writes one runs against it.

    from pilothouse.testing.cloud_conformance import CloudConformance

    class TestAcme(CloudConformance):
        @pytest.fixture
        def provider(self, clock):
            return make(CONFIG, clock)      # not started: the suite starts and closes it

        @pytest.fixture
        def nodes(self):
            return [node("vm-1", "acme://vm-1")]    # Nodes of instances that exist

What a provider has no part for is skipped. Services are real ones: they are created at an API server in this process, whose informers the
provider gets, so that one which follows EndpointSlices can. See docs/cloud-providers.md. Needs pytest and pytest-asyncio.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from pilothouse.client.client import NODES, SERVICES, Client
from pilothouse.client.reconcile.context import Shared
from pilothouse.clock import Clock, SystemClock
from pilothouse.cloud.component import CLUSTER, started
from pilothouse.cloud.provider import (
    GatewayPlan,
    Gateways,
    InstanceNotFound,
    Instances,
    LoadBalancers,
    Obj,
    Provider,
    RetryAfter,
    Route,
    Routes,
)
from pilothouse.dataplane.model import Edge, Site

T = TypeVar("T")

#: Tells what is left at the cloud of what this provider makes: nothing, after all was deleted.
Leftovers = Callable[[], Awaitable[Sequence[str]]]
#: How often, and seconds in all, a load balancer that is not ready yet is looked at again.
PATIENCE, PATIENCE_SECONDS = 100, 600.0


def node(name: str, provider_id: str = "") -> Obj:
    """A Node as a kubelet registers it."""
    spec = {"providerID": provider_id} if provider_id else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


@dataclass(slots=True)
class Bench:
    """A started provider beside an API server."""

    provider: Provider
    client: Client
    clock: Clock
    shared: Shared
    running: AsyncExitStack

    async def replace(self, provider: Provider) -> None:
        """End the provider, and go on with another one: the manager has been started again."""
        await self.running.aclose()
        self.provider = provider
        await self.running.enter_async_context(started(provider, self.shared, CLUSTER))

    async def tell(self, service: Obj, status: Obj) -> Obj:
        """Write what became of a load balancer to its Service, as the controller does. The API server has to accept it."""
        body = {"status": {"loadBalancer": status}}
        return await self.client.patch(SERVICES, service["metadata"]["name"], body, "default", "merge", "status")

    async def service(self, name: str, **spec: Any) -> Obj:
        body = {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
        return await self.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": body})

    async def change(self, service: Obj, **spec: Any) -> Obj:
        return await self.client.patch(SERVICES, service["metadata"]["name"], {"spec": spec}, "default", "merge")

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """As the controller does it: again, for as long as the cloud says that it is not done yet."""
        waited = 0.0
        for _ in range(PATIENCE):
            try:
                return await work()
            except RetryAfter as later:
                waited += later.seconds
                assert waited <= PATIENCE_SECONDS, f"not done after {waited} s: {later}"
                await self.clock.sleep(later.seconds)
        raise AssertionError(f"not done after {PATIENCE} tries")

    @property
    def balancers(self) -> LoadBalancers:
        part = self.provider.load_balancers()
        return part if part is not None else pytest.skip("the provider has no load balancers")

    @property
    def instances(self) -> Instances:
        part = self.provider.instances()
        return part if part is not None else pytest.skip("the provider has no instances")

    @property
    def routes(self) -> Routes:
        part = self.provider.routes()
        return part if part is not None else pytest.skip("the provider has no routes")

    @property
    def gateways(self) -> Gateways:
        part = self.provider.gateways()
        return part if part is not None else pytest.skip("the provider has no gateways")


class Fixtures:
    """What the suite is given. `provider` has to be overridden, the others may be."""

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    def provider(self) -> Provider:
        raise NotImplementedError("give the suite a fixture `provider`: the one to be tested, not started")

    @pytest.fixture
    def another(self) -> Callable[[], Provider] | None:
        """Makes a provider of the same cloud, as the next process would have it; None: what only that could show is not tested."""
        return None

    @pytest.fixture
    def nodes(self) -> list[Obj]:
        """Nodes of instances that exist and run, named in `spec.providerID` or by the node's name."""
        return []

    @pytest.fixture
    def stranger(self) -> Obj | None:
        """A Node that no instance of the cloud belongs to; None where every node is one of the cloud's."""
        return node("no-such-instance")

    @pytest.fixture
    def port(self) -> int:
        """That of a Gateway's listener."""
        return 8080

    @pytest.fixture
    def leftovers(self) -> Leftovers | None:
        """None: the suite cannot see whether something is left behind."""
        return None

    @pytest_asyncio.fixture
    async def bench(self, provider: Provider, nodes: list[Obj], clock: Clock) -> AsyncIterator[Bench]:
        from pilothouse.apiserver.assembly import Settings
        from pilothouse.cluster import ApiHub
        from pilothouse.store.memory import MemoryStore

        hub = ApiHub(Settings(_certificates(), port=6443, listen=False), clock=clock, store=MemoryStore(clock))
        await hub.server.start()
        transport = hub.transport("system:cloud-controller-manager", "system:masters")
        shared = Shared(transport, clock)
        following = asyncio.create_task(shared.run())
        client = Client(transport, clock)
        for each in nodes:
            await client.create(NODES, each)
        try:
            async with AsyncExitStack() as running:
                await running.enter_async_context(started(provider, shared, CLUSTER))
                yield Bench(provider, client, clock, shared, running)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await hub.server.stop()


_FOLDERS: list[Path] = []


def _certificates() -> Path:
    """Made once: they are what an API server's start costs most."""
    if not _FOLDERS:
        _FOLDERS.append(Path(tempfile.mkdtemp(prefix="pilothouse-conformance-")))
    return _FOLDERS[0]


@pytest.mark.asyncio
class InstanceConformance(Fixtures):
    """Instances (and zones)."""

    async def test_an_instance_tells_what_it_is(self, bench: Bench, nodes: list[Obj]) -> None:
        for each in _some(bench.instances, nodes):
            told = await bench.instances.metadata(each)
            assert re.fullmatch(r"[a-z0-9.-]+://.+", told.provider_id), "a provider ID is <provider>://<id>"
            for address in told.addresses:
                assert address["type"] in ("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS")
                if address["type"].endswith("IP"):
                    ipaddress.ip_address(address["address"])
            assert await bench.instances.metadata(each) == told, "asked twice, it says the same"

    async def test_an_instance_is_found_by_its_id_whatever_its_node_is_called(self, bench: Bench, nodes: list[Obj]) -> None:
        for each in _some(bench.instances, nodes):
            told = await bench.instances.metadata(each)
            renamed = node("quite-another-name", told.provider_id)
            assert (await bench.instances.metadata(renamed)).provider_id == told.provider_id
            assert await bench.instances.exists(renamed)

    async def test_an_instance_that_runs_exists_and_is_not_shut_down(self, bench: Bench, nodes: list[Obj]) -> None:
        for each in _some(bench.instances, nodes):
            assert await bench.instances.exists(each)
            assert not await bench.instances.shut_down(each)

    async def test_a_node_of_no_instance_is_told_apart_from_a_failure(self, bench: Bench, stranger: Obj | None) -> None:
        if stranger is None:
            pytest.skip("every node is one of this cloud's")
        assert not await bench.instances.exists(stranger)
        assert not await bench.instances.shut_down(stranger)
        with pytest.raises(InstanceNotFound):
            await bench.instances.metadata(stranger)

    async def test_zones_are_told_where_metadata_do_not_tell_them(self, bench: Bench, nodes: list[Obj]) -> None:
        zones = bench.provider.zones()
        if zones is None:
            pytest.skip("the provider has no zones of their own")
        for each in _some(bench.instances, nodes):
            zone = await zones.zone(each)
            assert zone.zone or zone.region


@pytest.mark.asyncio
class LoadBalancerConformance(Fixtures):
    """Load balancers of Services."""

    async def ensured(self, bench: Bench, service: Obj, nodes: Sequence[Obj]) -> Obj:
        return await bench.patiently(lambda: bench.balancers.ensure(CLUSTER, service, nodes))

    async def removed(self, bench: Bench, *services: Obj) -> None:
        for service in services:
            await bench.patiently(lambda service=service: bench.balancers.ensure_deleted(CLUSTER, service))  # type: ignore[misc]
            assert await bench.balancers.get(CLUSTER, service) is None

    async def test_a_load_balancer_is_there_once_it_was_made_and_gone_once_it_was_deleted(
        self, bench: Bench, nodes: list[Obj], leftovers: Leftovers | None
    ) -> None:
        service = await bench.service("web")
        assert await bench.balancers.get(CLUSTER, service) is None
        status = await self.ensured(bench, service, nodes)
        _check_status(status)
        assert await bench.balancers.get(CLUSTER, service) == status
        service = await bench.tell(service, status)
        assert _points(service["status"]["loadBalancer"]) == _points(status)
        await self.removed(bench, service)
        if leftovers is not None:
            assert list(await leftovers()) == []

    async def test_making_it_twice_changes_nothing(self, bench: Bench, nodes: list[Obj]) -> None:
        service = await bench.service("web")
        first = await self.ensured(bench, service, nodes)
        assert await self.ensured(bench, service, nodes) == first
        await self.removed(bench, service)

    async def test_deleting_what_was_never_made_and_deleting_twice_is_no_failure(self, bench: Bench, nodes: list[Obj]) -> None:
        service = await bench.service("web")
        await self.removed(bench, service)
        await self.ensured(bench, service, nodes)
        await self.removed(bench, service, service)

    async def test_names_last_and_differ(self, bench: Bench) -> None:
        web, api = await bench.service("web"), await bench.service("api")
        name = bench.balancers.name(CLUSTER, web)
        changed = await bench.change(web, ports=[{"port": 81}])
        assert name and bench.balancers.name(CLUSTER, changed) == name
        assert bench.balancers.name(CLUSTER, api) != name

    async def test_two_services_can_be_made_at_once_and_do_not_share_what_they_listen_on(
        self, bench: Bench, nodes: list[Obj]
    ) -> None:
        services = [await bench.service(name) for name in ("web", "api")]
        statuses = await asyncio.gather(*(self.ensured(bench, s, nodes) for s in services))
        assert statuses[0] != statuses[1], "both have the port 80"
        await self.removed(bench, services[0])
        assert await bench.balancers.get(CLUSTER, services[1]) == statuses[1]
        await self.removed(bench, services[1])

    async def test_it_keeps_its_address_when_ports_change(self, bench: Bench, nodes: list[Obj]) -> None:
        service = await bench.service("web")
        before = await self.ensured(bench, service, nodes)
        service = await bench.change(service, ports=[{"name": "a", "port": 80}, {"name": "b", "port": 443}])
        after = await self.ensured(bench, service, nodes)
        assert _points(after) == _points(before)
        await self.removed(bench, service)

    async def test_nodes_can_come_and_go_all_of_them(self, bench: Bench, nodes: list[Obj]) -> None:
        service = await bench.service("web")
        status = await self.ensured(bench, service, [])
        for some in (nodes, nodes[:1], [], nodes):
            await bench.patiently(lambda some=some: bench.balancers.update(CLUSTER, service, some))  # type: ignore[misc]
        assert await bench.balancers.get(CLUSTER, service) == status
        await self.removed(bench, service)

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
    async def test_one_that_was_made_only_in_part_can_be_finished_and_deleted(
        self, bench: Bench, nodes: list[Obj], leftovers: Leftovers | None, turns: int
    ) -> None:
        """Whoever makes it is stopped in the middle of it."""
        service = await bench.service("web")
        for finished in (False, True):
            making = asyncio.ensure_future(bench.balancers.ensure(CLUSTER, service, nodes))
            for _ in range(turns):
                await asyncio.sleep(0)
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            if finished:
                _check_status(await self.ensured(bench, service, nodes))
            await self.removed(bench, service)
            if leftovers is not None:
                assert list(await leftovers()) == []

    async def test_the_next_manager_keeps_what_the_last_one_made(
        self, bench: Bench, nodes: list[Obj], another: Callable[[], Provider] | None
    ) -> None:
        if another is None:
            pytest.skip("there is no other provider of this cloud: override the fixture `another`")
        service = await bench.service("web")
        status = await self.ensured(bench, service, nodes)
        service = await bench.tell(service, status)
        await bench.replace(another())
        assert _points(await self.ensured(bench, service, nodes)) == _points(status)
        await self.removed(bench, service)

    @pytest.mark.parametrize("told", [True, False])
    async def test_the_next_manager_can_delete_what_the_last_one_made(
        self, bench: Bench, nodes: list[Obj], another: Callable[[], Provider] | None, leftovers: Leftovers | None, told: bool
    ) -> None:
        """Also where the last one had no time to tell what became of it."""
        if another is None:
            pytest.skip("there is no other provider of this cloud: override the fixture `another`")
        service = await bench.service("web")
        status = await self.ensured(bench, service, nodes)
        if told:
            service = await bench.tell(service, status)
        await bench.replace(another())
        await self.removed(bench, service)
        if leftovers is not None:
            assert list(await leftovers()) == []


@pytest.mark.asyncio
class RouteConformance(Fixtures):
    """Routes to the pods of nodes."""

    async def test_a_route_is_listed_until_it_is_deleted(self, bench: Bench, nodes: list[Obj]) -> None:
        for number, each in enumerate(_some(bench.routes, nodes)):
            name, destination = each["metadata"]["name"], f"10.250.{number}.0/24"
            for _ in range(2):  # twice is once
                await bench.routes.create(CLUSTER, Route("hint", name, destination), each)
            (found,) = [r for r in await bench.routes.list(CLUSTER) if r.destination == destination]
            assert found.node == name and not found.blackhole
            await bench.routes.delete(CLUSTER, found)
            assert destination not in [r.destination for r in await bench.routes.list(CLUSTER)]
            await bench.routes.delete(CLUSTER, found)


@pytest.mark.asyncio
class GatewayConformance(Fixtures):
    """Gateways."""

    async def test_a_gateway_has_an_address_and_keeps_it(self, bench: Bench, port: int) -> None:
        plan = GatewayPlan("Gateway/default/web", (Edge("http", "", port, sites=(Site(),)),), ())
        state = await bench.patiently(lambda: bench.gateways.ensure(plan))
        assert state.addresses and not state.problems
        for address in state.addresses:
            assert address["type"] in ("IPAddress", "Hostname") and address["value"]
        again = await bench.patiently(lambda: bench.gateways.ensure(plan))
        assert again.addresses == state.addresses
        for _ in range(2):
            await bench.gateways.ensure_deleted(plan.key)


class CloudConformance(InstanceConformance, LoadBalancerConformance, RouteConformance, GatewayConformance):
    """All of it."""


def _some(part: object, nodes: list[Obj]) -> list[Obj]:
    return nodes or pytest.skip("no instances are known: override the fixture `nodes`")


def _points(status: Obj) -> list[tuple[str, str]]:
    return [(i.get("ip") or "", i.get("hostname") or "") for i in status["ingress"]]


def _check_status(status: Obj) -> None:
    """What the API server accepts as status.loadBalancer, and what users can go to."""
    assert status["ingress"], "a load balancer that is ready can be reached somewhere"
    for point in status["ingress"]:
        assert point.get("ip") or point.get("hostname")
        if point.get("ip"):
            ipaddress.ip_address(point["ip"])
        assert point.get("ipMode", "VIP") in (("VIP", "Proxy") if point.get("ip") else ("VIP",))
        if not point.get("ip"):
            assert "ipMode" not in point, "only an address has a mode"

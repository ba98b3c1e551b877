"""Gateways on this machine: addresses, edges, and pools that follow the backends."""

from __future__ import annotations

import pytest
from local_world import World, a_world, http, until

from pilothouse.client.reconcile.kinds import Kind
from pilothouse.cloud.provider import AddressNotUsable, Backend, CloudError, GatewayPlan
from pilothouse.cluster import ApiHub
from pilothouse.dataplane.model import Edge, UpstreamTls

INGRESSES = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
KEY = "Gateway/default/g"


def plan(key: str = KEY, ports: tuple[int, ...] = (80,), **more: object) -> GatewayPlan:
    edges = tuple(Edge(f"port-{p}", "", p) for p in ports)
    return GatewayPlan(key, edges, more.pop("backends", ()), **more)  # type: ignore[arg-type]


def backend(service: str = "web", port: int = 8080, protocol: str = "", tls: UpstreamTls | None = None) -> Backend:
    return Backend(f"default/{service}:{port}", "default", service, port, protocol, tls)


async def addresses(world: World, wanted: GatewayPlan) -> list[str]:
    state = await world.gateways.ensure(wanted)
    assert all(a["type"] == "IPAddress" for a in state.addresses)
    return [a["value"] for a in state.addresses]


async def test_a_gateway_has_one_address_with_all_its_edges(world: World) -> None:
    assert await addresses(world, plan(ports=(80, 443))) == ["127.50.128.1"]
    assert sorted(world.engine.places().values()) == ["127.50.128.1:443", "127.50.128.1:80"]
    assert await addresses(world, plan("Gateway/default/other")) == ["127.50.128.2"]


async def test_a_plan_that_changes_keeps_the_address_and_changes_its_edges(world: World) -> None:
    await addresses(world, plan(ports=(80, 443)))
    assert await addresses(world, plan(ports=(443, 8443))) == ["127.50.128.1"]
    assert sorted(world.engine.places().values()) == ["127.50.128.1:443", "127.50.128.1:8443"]


async def test_the_pool_of_a_backend_follows_its_service(world: World) -> None:
    await world.put_node("sim")
    await world.put_slice("web-1", "web", "10.64.0.2")
    await world.create("web", http())
    await addresses(world, plan(backends=(backend(), backend("missing"))))
    await until(lambda: world.engine.endpoints("default/web:8080") == ["127.64.0.2:8080"])
    assert world.engine.endpoints("default/missing:8080") == []
    await world.put_slice("web-1", "web", "10.64.0.2", "10.64.0.3")
    await until(lambda: world.engine.endpoints("default/web:8080") == ["127.64.0.2:8080", "127.64.0.3:8080"])


async def test_a_backend_whose_service_comes_later_gets_its_endpoints_then(world: World) -> None:
    await world.put_node("sim")
    await world.put_slice("web-1", "web", "10.64.0.2")
    await addresses(world, plan(backends=(backend(),)))
    assert world.engine.endpoints("default/web:8080") == []
    await world.create("web", http())
    await until(lambda: world.engine.endpoints("default/web:8080") == ["127.64.0.2:8080"])


async def test_a_service_that_is_only_a_name_has_no_endpoints(world: World) -> None:
    await world.put_slice("web-1", "web", "10.64.0.2")
    await world.create("web", http(), type="ExternalName", externalName="example.com")
    await addresses(world, plan(backends=(backend(),)))
    assert world.engine.endpoints("default/web:8080") == []


@pytest.mark.parametrize(
    ("told", "spoken"), [("", "http1"), ("kubernetes.io/ws", "http1"), ("kubernetes.io/h2c", "http2"), ("grpc", "http2")]
)
async def test_backends_are_spoken_to_as_their_protocol_says(world: World, told: str, spoken: str) -> None:
    tls = UpstreamTls("web.example")
    await addresses(world, plan(backends=(backend(protocol=told, tls=tls),)))
    pool = world.engine.pools["default/web:8080"]
    assert (pool.protocol, pool.tls) == (spoken, tls)


async def test_a_pool_that_two_gateways_use_goes_with_the_second(world: World) -> None:
    await addresses(world, plan(backends=(backend(), backend("only"))))
    await addresses(world, plan("Gateway/default/other", backends=(backend(),)))
    await addresses(world, plan(backends=()))
    assert list(world.engine.pools) == ["default/web:8080"]
    await world.gateways.ensure_deleted("Gateway/default/other")
    assert world.engine.pools == {}


async def test_deleting_leaves_nothing_and_frees_the_address(hub: ApiHub) -> None:
    async with a_world(hub, "addresses: 127.50.9.0/30") as world:
        assert await addresses(world, plan(backends=(backend(),))) == ["127.50.9.2"]
        await world.ensure(await world.create("web"))
        with pytest.raises(CloudError, match="no address is left"):
            await addresses(world, plan("Gateway/default/other"))
        await world.gateways.ensure_deleted(KEY)
        await world.gateways.ensure_deleted(KEY)
        await world.delete("web")
        assert (world.engine.fronts, world.engine.pools) == ({}, {})
        assert await addresses(world, plan("Gateway/default/other")) == ["127.50.9.2"]


async def test_addresses_that_are_asked_for_are_given(world: World) -> None:
    wanted = (("IPAddress", "127.50.3.3"), ("IPAddress", ""))
    assert await addresses(world, plan(wanted=wanted)) == ["127.50.3.3", "127.50.128.1"]
    assert sorted(world.engine.places().values()) == ["127.50.128.1:80", "127.50.3.3:80"]
    assert await addresses(world, plan(wanted=(("IPAddress", "127.50.4.4"),))) == ["127.50.4.4"]
    assert await addresses(world, plan("Gateway/default/other", wanted=(("IPAddress", "127.50.3.3"),))) == ["127.50.3.3"]


async def test_what_could_be_given_of_addresses_that_cannot_all_be_given_stays_free(world: World) -> None:
    assert await addresses(world, plan()) == ["127.50.128.1"]
    with pytest.raises(AddressNotUsable):
        await addresses(world, plan(wanted=(("IPAddress", "127.50.3.3"), ("IPAddress", "192.0.2.1"))))
    assert list(world.engine.places().values()) == ["127.50.128.1:80"]
    assert await addresses(world, plan("Gateway/default/other", wanted=(("IPAddress", "127.50.3.3"),))) == ["127.50.3.3"]
    with pytest.raises(AddressNotUsable):  # still there
        await addresses(world, plan("Gateway/default/third", wanted=(("IPAddress", "127.50.128.1"),)))


async def test_localhost_may_be_asked_for_by_several(world: World) -> None:
    wanted = (("IPAddress", "127.0.0.1"),)
    assert await addresses(world, plan(ports=(8080,), wanted=wanted)) == ["127.0.0.1"]
    state = await world.gateways.ensure(plan("Gateway/default/other", ports=(8080, 9090), wanted=wanted))
    assert state.moved == {"port-8080": 48080}
    assert state.problems == {}


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("Hostname", "a.example", "addresses of the type Hostname cannot be given here"),
        ("IPAddress", "192.0.2.1", "192.0.2.1 is not in 127.50.0.0/16"),
        ("IPAddress", "127.50.0.1", "127.50.0.1 belongs to Service/default/web"),
    ],
)
async def test_an_address_that_cannot_be_given_is_not_usable(world: World, kind: str, value: str, message: str) -> None:
    await world.ensure(await world.create("web"))
    with pytest.raises(AddressNotUsable, match=message):
        await world.gateways.ensure(plan(wanted=((kind, value),)))


async def test_an_address_that_was_given_before_is_given_again(hub: ApiHub) -> None:
    async with a_world(hub) as world:
        assert await addresses(world, plan(given=("127.50.200.1",))) == ["127.50.200.1"]
        assert await addresses(world, plan("Gateway/default/other", given=("127.50.200.1",))) == ["127.50.128.1"]
        assert await addresses(world, plan("Gateway/default/third", given=("10.0.0.1",))) == ["127.50.128.2"]


async def test_an_address_that_an_ingress_had_is_not_given_to_a_newcomer_after_a_restart(hub: ApiHub) -> None:
    async with a_world(hub) as world:
        rule = {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
        body = await world.api.create(INGRESSES, {"metadata": {"name": "i", "namespace": "default"}, "spec": rule})
        told = {"loadBalancer": {"ingress": [{"ip": "127.50.128.1"}]}}
        await world.api.update(INGRESSES, {**body, "status": told}, "status")
        assert await addresses(world, plan()) == ["127.50.128.2"]
        assert await addresses(world, plan("IngressClass/local", given=("127.50.128.1",))) == ["127.50.128.1"]


async def test_an_edge_that_cannot_listen_is_a_problem_of_its_own(hub: ApiHub) -> None:
    everything = {("", p) for p in (80, 40080, *range(41000, 42000))}
    async with a_world(hub, taken=everything) as world:
        state = await world.gateways.ensure(plan(ports=(80, 443)))
        assert list(state.problems) == ["port-80"]
        assert "no port on 127.50.128.1 can stand for 80/TCP" in state.problems["port-80"]
        assert list(world.engine.places().values()) == ["127.50.128.1:443"]

"""Load balancers of Services: addresses, fronts, pools, statuses, and what a user is told."""

from __future__ import annotations

from typing import Any

import pytest
from local_world import Carried, World, a_world, http, until

from pilothouse.client import loopback
from pilothouse.client.metrics import text
from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.client.reconcile.objects import condition
from pilothouse.cloud.provider import AddressNotUsable, CloudError, GatewayPlan
from pilothouse.cloud.providers.local.services import affinity, source_ranges
from pilothouse.cluster import ApiHub
from pilothouse.dataplane.model import Edge, Forward

FRONT = "Service/default/web:8080/TCP"


async def test_a_service_gets_an_address_and_a_front_for_every_port(world: World) -> None:
    service = await world.create("web", http(), http(53, "dns", "UDP"), http(53, "dns-tcp"))
    ingress = await world.ensure(service)
    assert ingress == {
        "ip": "127.50.0.1",
        "ipMode": "Proxy",
        "ports": [{"port": 8080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }
    assert world.engine.places() == {
        FRONT: "127.50.0.1:8080",
        "Service/default/web:53/UDP": "127.50.0.1:53",
        "Service/default/web:53/TCP": "127.50.0.1:53",
    }
    assert await world.balancers.get("kubernetes", service) == {"ingress": [ingress]}
    assert world.events == []


async def test_several_load_balancers_have_the_same_port_on_addresses_of_their_own(world: World) -> None:
    told = [await world.ensure(await world.create(name)) for name in ("a", "b", "c")]
    assert [i["ip"] for i in told] == ["127.50.0.1", "127.50.0.2", "127.50.0.3"]


async def test_no_engine_is_made_before_the_first_front(world: World) -> None:
    assert not world.engine.running
    await world.ensure(await world.create("web"))
    assert world.engine.running


async def test_ensuring_twice_changes_nothing(world: World) -> None:
    service = await world.create("web")
    first = await world.ensure(service)
    fronts = dict(world.engine.fronts)
    assert await world.ensure(service) == first
    assert world.engine.fronts == fronts


async def test_the_pool_has_the_ready_endpoints_where_this_machine_finds_them_and_follows_them(world: World) -> None:
    await world.put_node("sim")
    await world.put_node("real", simulated=False)
    await world.put_slice("web-1", "web", "10.64.0.2", "10.64.0.3")
    await world.ensure(await world.create("web"))
    await until(lambda: world.engine.endpoints(FRONT) == ["127.64.0.2:8080", "127.64.0.3:8080"])
    await world.put_slice("web-2", "web", "192.0.2.7", node="real")
    await until(lambda: world.engine.endpoints(FRONT) == ["127.64.0.2:8080", "127.64.0.3:8080", "192.0.2.7:8080"])
    await world.put_slice("web-1", "web")
    await until(lambda: world.engine.endpoints(FRONT) == ["192.0.2.7:8080"])


async def test_other_services_endpoints_are_not_told_to_the_engine(world: World) -> None:
    await world.put_node("sim")
    await world.ensure(await world.create("web"))
    told = len(world.engine.told)
    for n in range(5):
        await world.put_slice(f"other-{n}", "other", f"10.64.1.{n}")
    await world.put_slice("web-1", "web", "10.64.0.2")
    await until(lambda: world.engine.endpoints(FRONT) != [])
    assert world.engine.told[told:] == [FRONT]


async def test_a_pool_that_the_engine_did_not_take_is_told_again(world: World) -> None:
    await world.put_node("sim")
    await world.ensure(await world.create("web"))
    world.engine.faults.append(OSError("not now"))
    await world.put_slice("web-1", "web", "10.64.0.2")
    await until(lambda: world.engine.endpoints(FRONT) == ["127.64.0.2:8080"])
    assert world.engine.faults == []


async def test_another_target_port_is_followed(world: World) -> None:
    await world.put_node("sim")
    await world.put_slice("web-1", "web", "10.64.0.2", port="http", number=8080)
    await world.put_slice("web-2", "web", "10.64.0.2", port="admin", number=9090)
    await world.ensure(await world.create("web"))
    await until(lambda: world.engine.endpoints(FRONT) == ["127.64.0.2:8080"])
    await world.change("web", ports=[{"name": "admin", "port": 8080}])
    await until(lambda: world.engine.endpoints(FRONT) == ["127.64.0.2:9090"])


async def test_source_ranges_and_affinity_reach_the_engine(world: World) -> None:
    service = await world.create(
        "web",
        loadBalancerSourceRanges=["127.0.0.0/8 "],
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
    )
    await world.ensure(service)
    front = world.engine.fronts[FRONT]
    assert isinstance(front, Forward)
    assert front.source_ranges == ("127.0.0.0/8",)
    assert world.engine.pools[FRONT].affinity_seconds == 60


def test_source_ranges_may_be_told_by_the_older_annotation() -> None:
    older = {"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8, 192.168.0.0/16"}
    service: Any = {"metadata": {"annotations": older}, "spec": {}}
    assert source_ranges(service) == ("10.0.0.0/8", "192.168.0.0/16")
    assert source_ranges({**service, "spec": {"loadBalancerSourceRanges": ["127.0.0.0/8"]}}) == ("127.0.0.0/8",)
    assert source_ranges({"metadata": {}, "spec": {}}) == ()


def test_affinity_lasts_three_hours_where_nobody_says_how_long() -> None:
    assert affinity({"spec": {"sessionAffinity": "ClientIP"}}) == 10800
    assert affinity({"spec": {"sessionAffinity": "None"}}) == 0


async def test_an_address_that_is_asked_for_is_given_and_may_change(world: World) -> None:
    service = await world.create("web", loadBalancerIP="127.50.7.7")
    assert (await world.ensure(service))["ip"] == "127.50.7.7"
    service = await world.change("web", loadBalancerIP="127.50.8.8")
    assert (await world.ensure(service))["ip"] == "127.50.8.8"
    assert world.engine.places() == {FRONT: "127.50.8.8:8080"}
    other = await world.create("other", loadBalancerIP="127.50.7.7")
    assert (await world.ensure(other))["ip"] == "127.50.7.7"


async def test_an_address_that_is_left_while_the_engine_fails_is_free_in_the_end(world: World) -> None:
    await world.ensure(await world.create("web", loadBalancerIP="127.50.7.7"))
    world.engine.front_faults.append(OSError("not now"))
    service = await world.change("web", loadBalancerIP="127.50.8.8")
    with pytest.raises(OSError, match="not now"):
        await world.ensure(service)
    await world.ensure(service)
    assert (await world.ensure(await world.create("other", loadBalancerIP="127.50.7.7")))["ip"] == "127.50.7.7"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("192.168.0.1", r"192\.168\.0\.1 is not in 127\.50\.0\.0/16"),
        ("127.50.0.1", r"127\.50\.0\.1 belongs to Service/default/first"),
    ],
)
async def test_an_address_that_cannot_be_given_is_an_error(world: World, address: str, message: str) -> None:
    await world.ensure(await world.create("first"))
    with pytest.raises(CloudError, match=message):
        await world.ensure(await world.create("web", loadBalancerIP=address))
    assert list(world.engine.places().values()) == ["127.50.0.1:8080"]


async def test_deleting_frees_the_address_and_leaves_nothing(hub: ApiHub) -> None:
    async with a_world(hub, "addresses: 127.50.9.0/30") as world:
        await world.ensure(await world.create("web"))
        await world.ensure(await world.create("other"))
        waiting = await world.create("next")
        with pytest.raises(CloudError, match="no address is left"):
            await world.ensure(waiting)
        await world.delete("web")
        assert (await world.ensure(waiting))["ip"] == "127.50.9.1"
        await world.delete("next")
        await world.delete("other")
        assert (world.engine.fronts, world.engine.pools) == ({}, {})


async def test_deleting_what_never_was_is_no_error(world: World) -> None:
    service = await world.create("web")
    assert await world.balancers.get("kubernetes", service) is None
    await world.balancers.ensure_deleted("kubernetes", service)


async def test_what_could_not_be_deleted_is_deleted_the_next_time(world: World) -> None:
    service = await world.create("web")
    await world.ensure(service)
    for _ in range(2):  # the front, then the pool
        world.engine.drop_faults.append(OSError("not now"))
        with pytest.raises(OSError, match="not now"):
            await world.balancers.ensure_deleted("kubernetes", service)
        world.engine.drop_faults.append(None)
    world.engine.drop_faults.clear()
    await world.delete("web")
    assert (world.engine.fronts, world.engine.pools) == ({}, {})
    assert (await world.ensure(await world.create("next", loadBalancerIP="127.50.0.1")))["ip"] == "127.50.0.1"


async def test_ports_that_leave_take_their_fronts_and_pools_with_them(world: World) -> None:
    await world.ensure(await world.create("web", http(), http(9090, "admin")))
    service = await world.change("web", ports=[http(9090, "admin")])
    ingress = await world.ensure(service)
    assert ingress["ports"] == [{"port": 9090, "protocol": "TCP"}]
    assert list(world.engine.fronts) == list(world.engine.pools) == ["Service/default/web:9090/TCP"]


async def test_addresses_stay_across_a_restart_whoever_asks_first(hub: ApiHub) -> None:
    async with a_world(hub) as world:
        had = {name: (await world.ensure(await world.create(name)))["ip"] for name in ("a", "b", "c")}
    async with a_world(hub) as world:
        assert (await world.ensure(await world.create("late")))["ip"] not in had.values()
        for name in ("c", "a", "b"):
            assert (await world.ensure(await world.api.get(SERVICES, "default", name)))["ip"] == had[name]


async def test_a_port_that_is_taken_is_moved_and_the_user_is_told(hub: ApiHub) -> None:
    async with a_world(hub, taken={("", 8080)}) as world:
        service = await world.create("web", http(), http(9090, "admin"))
        ingress = await world.ensure(service)
        assert ingress["ip"] == "127.50.0.1"
        assert ingress["ports"] == [
            {"port": 8080, "protocol": "TCP", "error": "pilothouse.dev/FoundOnPort48080"},
            {"port": 9090, "protocol": "TCP"},
        ]
        assert world.events == [
            ("LoadBalancerPortMoved", "Port 8080/TCP is at 127.50.0.1:48080: somebody else listens on 127.50.0.1:8080")
        ]
        service = await world.api.get(SERVICES, "default", "web")
        assert service["metadata"]["annotations"] == {"pilothouse.dev/load-balancer-ports": "8080/TCP=48080"}
        told = condition(service, "LoadBalancerPortsError") or {}
        assert (told["status"], told["reason"], told["message"]) == ("True", *world.events[0])
        await world.ensure(service)
        assert len(world.events) == 1
        assert condition(await world.api.get(SERVICES, "default", "web"), "LoadBalancerPortsError") == told
    async with a_world(hub) as world:  # nobody is there any more
        assert (await world.ensure(service))["ports"] == [{"port": 8080, "protocol": "TCP"}, {"port": 9090, "protocol": "TCP"}]
        service = await world.api.get(SERVICES, "default", "web")
        assert "annotations" not in service["metadata"]
        assert condition(service, "LoadBalancerPortsError") is None


async def test_a_privileged_port_is_moved_for_a_process_without_the_privilege(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback, "first_port", lambda: 1024)
    ingress = await world.ensure(await world.create("web", http(80)))
    assert ingress["ports"][0]["error"] == "pilothouse.dev/FoundOnPort40080"
    assert world.events == [
        ("LoadBalancerPortMoved", "Port 80/TCP is at 127.50.0.1:40080: this process may not listen on ports below 1024")
    ]


async def test_an_address_where_somebody_listens_already_is_passed_over(hub: ApiHub) -> None:
    async with a_world(hub, taken={("127.50.0.1", 8080)}) as world:
        assert (await world.ensure(await world.create("web")))["ip"] == "127.50.0.2"
        assert (await world.ensure(await world.create("other", http(9090))))["ip"] == "127.50.0.3"


async def test_a_port_that_turns_out_to_be_taken_is_moved_too(world: World) -> None:
    world.engine.refuses = {8080}
    ingress = await world.ensure(await world.create("web"))
    assert ingress["ports"][0]["error"] == "pilothouse.dev/FoundOnPort48080"


async def test_an_engine_that_fails_is_no_reason_to_try_other_ports_and_leaves_nothing_behind(world: World) -> None:
    world.engine.front_faults.append(OSError("the engine does not answer"))
    service = await world.create("web")
    with pytest.raises(OSError, match="the engine does not answer"):
        await world.ensure(service)
    assert await world.balancers.get("kubernetes", service) is not None
    assert (await world.ensure(service))["ports"] == [{"port": 8080, "protocol": "TCP"}]
    world.engine.front_faults.append(ValueError("never heard of it"))
    with pytest.raises(CloudError, match="never heard of it"):
        await world.ensure(await world.create("other"))
    await world.delete("web")
    await world.delete("other")
    assert (world.engine.fronts, world.engine.pools) == ({}, {})


async def test_a_port_that_is_nowhere_to_be_had_is_told(hub: ApiHub) -> None:
    everything = {("", p) for p in (8080, 48080, *range(41000, 42000))}
    async with a_world(hub, taken=everything) as world:
        ingress = await world.ensure(await world.create("web", http(), http(9090, "admin")))
        assert ingress["ports"] == [
            {"port": 8080, "protocol": "TCP", "error": "pilothouse.dev/PortInUse"},
            {"port": 9090, "protocol": "TCP"},
        ]
        reason, message = world.events[0]
        assert reason == "LoadBalancerPortRefused"
        assert message.startswith("Port 8080/TCP is not to be had on 127.50.0.1: no port on 127.50.0.1 can stand for 8080/TCP")


async def test_a_range_that_this_machine_does_not_have_is_an_error(hub: ApiHub) -> None:
    async with a_world(hub, "addresses: 203.0.113.0/24", absent="203.0.113.") as world:
        with pytest.raises(CloudError, match=r"203\.0\.113\.1 is not an address of this machine"):
            await world.ensure(await world.create("web"))
        with pytest.raises(AddressNotUsable, match=r"203\.0\.113\.129 is not an address of this machine"):
            await world.gateways.ensure(GatewayPlan("Gateway/default/g", (Edge("port-80", "", 80),), ()))


async def test_a_protocol_that_is_not_carried_is_told(world: World) -> None:
    ingress = await world.ensure(await world.create("web", http(), http(99, "sctp", "SCTP")))
    assert ingress["ports"][1] == {"port": 99, "protocol": "SCTP", "error": "pilothouse.dev/ProtocolNotSupported"}
    assert list(world.engine.fronts) == [FRONT]


async def test_where_ports_are_elsewhere_load_balancers_share_an_address_and_differ_by_port(hub: ApiHub) -> None:
    async with a_world(hub, "ports: elsewhere") as world:
        told = [await world.ensure(await world.create(name)) for name in ("a", "b", "c")]
        assert [i["ip"] for i in told] == ["127.0.0.1"] * 3
        assert list(world.engine.places().values()) == ["127.0.0.1:8080", "127.0.0.1:48080", "127.0.0.1:41100"]
        await world.delete("a")
        assert (await world.ensure(await world.create("d")))["ports"] == [{"port": 8080, "protocol": "TCP"}]
    async with a_world(hub, "ports: elsewhere") as world:  # they keep their ports, in whichever order they come
        for name in ("c", "b", "d"):
            await world.ensure(await world.api.get(SERVICES, "default", name))
        assert world.engine.places() == {
            "Service/default/c:8080/TCP": "127.0.0.1:41100",
            "Service/default/b:8080/TCP": "127.0.0.1:48080",
            "Service/default/d:8080/TCP": "127.0.0.1:8080",
        }


async def test_the_annotation_goes_when_the_service_is_no_load_balancer_any_more(hub: ApiHub) -> None:
    async with a_world(hub, taken={("", 8080)}) as world:
        await world.ensure(await world.create("web"))
        service = await world.api.get(SERVICES, "default", "web")
        await world.balancers.ensure_deleted("kubernetes", service)
        service = await world.api.get(SERVICES, "default", "web")
        assert "annotations" not in service["metadata"]
        assert condition(service, "LoadBalancerPortsError") is None


async def test_metrics_tell_what_each_front_has_carried_and_requests_only_where_they_are_seen(world: World) -> None:
    assert "pilothouse_loadbalancer_connections_total{" not in text(world.provider.metrics())
    await world.ensure(await world.create("web"))
    await world.gateways.ensure(GatewayPlan("Gateway/default/g", (Edge("port-80", "", 80),), ()))
    gateway = "Gateway/default/g/port-80@127.50.128.1"
    for front in (FRONT, gateway):
        world.engine.carried[front] = Carried(connections=3, requests=5, bytes_in=10, bytes_out=20, codes={"2xx": 4, "5xx": 1})
    told = text(world.provider.metrics())
    for line in (
        f'pilothouse_loadbalancer_connections_total{{front="{FRONT}"}} 3',
        f'pilothouse_loadbalancer_received_bytes_total{{front="{FRONT}"}} 10',
        f'pilothouse_loadbalancer_requests_total{{front="{gateway}"}} 5',
        f'pilothouse_loadbalancer_responses_total{{front="{gateway}",code="2xx"}} 4',
        'pilothouse_loadbalancer_engine_info{engine="memory"} 1',
    ):
        assert line in told.splitlines()
    assert f'requests_total{{front="{FRONT}"' not in told

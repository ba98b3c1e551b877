from __future__ import annotations

from typing import Any

from pilothouse.client.client import NODES
from pilothouse.client.reconcile.objects import condition
from pilothouse.cloud.provider import CloudError, Route
from pilothouse.cloud.route import is_ours, networks, stale

from .world import World, world

FLAGS: dict[str, Any] = {"allocate_node_cidrs": True, "configure_cloud_routes": True, "cluster_cidr": "10.128.0.0/14"}


def routes(cluster: World) -> set[tuple[str, str]]:
    return {(r["node"], r["destination"]) for r in cluster.shelf.all("routes").values()}


async def test_each_range_of_a_node_gets_a_route_and_the_node_its_condition() -> None:
    async with world() as cluster:
        await cluster.node("a", podCIDR="10.128.0.0/24", podCIDRs=["10.128.0.0/24", "fd00:1::/64"])
        await cluster.node("b", podCIDR="10.128.1.0/24", podCIDRs=["10.128.1.0/24"])
        await cluster.node("c")
        await cluster.start("route", **FLAGS)
        assert routes(cluster) == {("a", "10.128.0.0/24"), ("a", "fd00:1::/64"), ("b", "10.128.1.0/24")}
        told = condition(await cluster.find_node("a"), "NetworkUnavailable")
        assert (told["status"], told["reason"], told["message"]) == ("False", "RouteCreated", "RouteController created a route")
        assert condition(await cluster.find_node("c"), "NetworkUnavailable") is None


async def test_a_route_that_cannot_be_made_leaves_the_node_without_network() -> None:
    async with world() as cluster:
        await cluster.node("a", podCIDR="10.128.0.0/24", podCIDRs=["10.128.0.0/24"])
        await cluster.start("route", seconds=0.0, **FLAGS)
        cluster.provider.faults.refuse = lambda name: CloudError("table is full") if name == "put_routes" else None
        await cluster.settle()
        told = condition(await cluster.find_node("a"), "NetworkUnavailable")
        assert (told["status"], told["reason"], told["message"]) == (
            "True",
            "NoRouteCreated",
            "RouteController failed to create a route",
        )
        (event,) = await cluster.raw_events("a")
        assert (event["reason"], event["type"], event["source"]["component"]) == (
            "FailedToCreateRoute",
            "Warning",
            "route_controller",
        )
        assert "10.128.0.0/24 for node a after" in event["message"] and event["message"].endswith(": table is full")
        cluster.provider.faults.refuse = lambda name: None
        await cluster.settle(11)
        assert condition(await cluster.find_node("a"), "NetworkUnavailable")["status"] == "False"


async def test_stale_routes_go_and_those_of_others_stay() -> None:
    async with world() as cluster:
        await cluster.node("a", podCIDR="10.128.0.0/24", podCIDRs=["10.128.0.0/24"])
        for name, node, destination in (
            ("gone", "gone", "10.129.0.0/24"),
            ("other", "gone", "192.168.0.0/24"),
            ("moved", "b", "10.128.0.0/24"),
        ):
            cluster.shelf.put("routes", name, {"node": node, "destination": destination})
        cluster.shelf.put("routes", "hole", {"node": "a", "destination": "10.128.0.0/24", "blackhole": True})
        await cluster.start("route", **FLAGS)
        assert routes(cluster) == {("a", "10.128.0.0/24"), ("gone", "192.168.0.0/24")}
        assert not {"hole", "moved", "gone"} & set(cluster.shelf.all("routes"))
        await cluster.client.delete(NODES, "a")
        await cluster.settle(11)
        assert set(cluster.shelf.all("routes")) == {"other"}


async def test_routes_at_rest_are_only_looked_at() -> None:
    async with world() as cluster:
        await cluster.node("a", podCIDR="10.128.0.0/24", podCIDRs=["10.128.0.0/24"])
        await cluster.start("route", **FLAGS)
        cluster.provider.faults.made.clear()
        await cluster.settle(100)
        assert cluster.provider.faults.made == ["list_routes"] * 10
        assert "route_controller_route_sync_total 11" in cluster.manager.metrics()


async def test_routes_are_made_only_where_the_flags_ask_for_them() -> None:
    for missing in FLAGS:
        async with world() as cluster:
            await cluster.node("a", podCIDR="10.128.0.0/24", podCIDRs=["10.128.0.0/24"])
            await cluster.start(**{**FLAGS, missing: None})
            assert routes(cluster) == set(), missing


def test_a_route_is_ours_if_it_begins_or_ends_in_a_range_of_the_cluster() -> None:
    clusters = networks("10.128.0.0/14,fd00::/48")
    expected = {
        "10.128.7.0/24": True, "10.0.0.0/8": False, "10.128.0.0/12": True, "fd00::1:0:0:0/64": True, "192.168.0.0/16": False, "nonsense": False,
    }  # fmt: skip
    assert {text: is_ours(Route("r", "n", text), clusters) for text in expected} == expected


def test_of_two_routes_to_the_same_one_is_stale() -> None:
    node = {"metadata": {"name": "a"}, "spec": {"podCIDRs": ["10.128.0.0/24"]}}
    twice = [Route("r1", "a", "10.128.0.0/24"), Route("r2", "a", "10.128.0.0/24")]
    assert stale(twice, [node], networks("10.128.0.0/14")) == twice[1:]

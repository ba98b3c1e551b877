"""Endpoints of Services: which of them take traffic, where they are found, and who hears of changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from server import FakeServer

from pilothouse.client import loopback
from pilothouse.client.informer import Informer
from pilothouse.client.interface import Obj
from pilothouse.client.service_endpoints import ServiceEndpoints, Target, by_port, families, port_of, usable
from pilothouse.clock import VirtualClock


def endpoint(address: str, node: str = "", **conditions: bool) -> Obj:
    out: Obj = {"addresses": [address], "conditions": conditions}
    return {**out, "nodeName": node} if node else out


def a_slice(*endpoints: Obj, service: str = "web", family: str = "IPv4", ports: Any = (("http", 8080),), **meta: Any) -> Obj:
    return {
        "metadata": {"namespace": "a", "labels": {"kubernetes.io/service-name": service}, **meta},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports],
    }


def addresses(targets: Any) -> list[str]:
    return [f"{t.address}:{t.port}" for t in targets]


def test_endpoints_of_several_slices_are_put_together_by_the_name_of_the_port() -> None:
    found = by_port(
        [
            a_slice(endpoint("10.64.0.2"), ports=(("http", 8080), ("metrics", 9090))),
            a_slice(endpoint("10.64.0.1"), ports=(("http", 80),)),
        ]
    )
    assert addresses(found["http"]) == ["10.64.0.1:80", "10.64.0.2:8080"]
    assert addresses(found["metrics"]) == ["10.64.0.2:9090"]


def test_a_port_may_have_no_name_and_one_without_a_number_is_left_out() -> None:
    found = by_port([{**a_slice(endpoint("10.64.0.1")), "ports": [{"port": 53}, {"name": "any", "port": None}]}])
    assert list(found) == [""]


def test_an_endpoint_in_two_slices_counts_once_and_as_the_better_one() -> None:
    found = by_port([a_slice(endpoint("10.64.0.1", ready=False, serving=False)), a_slice(endpoint("10.64.0.1", ready=True))])
    assert [t.ready for t in found["http"]] == [True]


def test_slices_of_another_family_or_of_names_are_not_looked_at() -> None:
    slices = [
        a_slice(endpoint("10.64.0.1")),
        a_slice(endpoint("fd00::1"), family="IPv6"),
        a_slice(endpoint("a.example"), family="FQDN"),
    ]
    assert addresses(by_port(slices)["http"]) == ["10.64.0.1:8080"]
    assert addresses(by_port(slices, "IPv6")["http"]) == ["fd00::1:8080"]


def test_conditions_that_are_not_told_mean_ready() -> None:
    target = by_port([a_slice({"addresses": ["10.64.0.1"]})])["http"][0]
    assert (target.ready, target.serving, target.terminating) == (True, True, False)


def test_traffic_goes_to_ready_endpoints_and_to_serving_ones_that_terminate_only_without_any() -> None:
    ready = Target("10.64.0.1", 80)
    leaving = Target("10.64.0.2", 80, ready=False, terminating=True)
    gone = Target("10.64.0.3", 80, ready=False, serving=False, terminating=True)
    starting = Target("10.64.0.4", 80, ready=False, serving=False)
    assert usable([leaving, ready, gone, starting]) == (ready,)
    assert usable([leaving, gone, starting]) == (leaving,)
    assert usable([gone, starting]) == ()


def test_an_endpoint_knows_its_node_zone_hostname_and_pod() -> None:
    whole = {**endpoint("10.64.0.1", "n1"), "zone": "z1", "hostname": "web-0", "targetRef": {"kind": "Pod", "name": "web-0"}}
    target = by_port([a_slice(whole)])["http"][0]
    assert (target.node, target.zone, target.hostname, target.pod) == ("n1", "z1", "web-0", "web-0")


def test_a_port_of_a_service_is_found_by_its_number_and_protocol() -> None:
    service: Obj = {"spec": {"ports": [{"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}]}}
    assert port_of(service, 53) == {"name": "tcp", "port": 53}
    assert port_of(service, 53, "UDP") == {"name": "udp", "port": 53, "protocol": "UDP"}
    assert port_of(service, 80) is None


def test_a_service_that_does_not_say_has_one_family() -> None:
    assert families({"spec": {}}) == ("IPv4",)
    assert families({"spec": {"ipFamilies": ["IPv6", "IPv4"]}}) == ("IPv6", "IPv4")


class Followed:
    """A follower over a fake server, and what it told."""

    def __init__(self, server: FakeServer, clock: VirtualClock) -> None:
        self._server = server
        self._clock = clock
        self.told: list[set[str]] = []
        self.slices = Informer(server, clock, "/apis/discovery.k8s.io/v1/endpointslices")
        self.nodes = Informer(server, clock, "/api/v1/nodes")
        self.endpoints = ServiceEndpoints(self.slices, self.nodes, lambda keys: self.told.append(set(keys)))

    def put_slice(self, name: str, obj: Obj) -> None:
        self._server.put(f"/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/{name}", obj)

    def remove_slice(self, name: str) -> None:
        self._server.remove(f"/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/{name}")

    def put_node(self, name: str, labels: dict[str, str]) -> None:
        self._server.put(f"/api/v1/nodes/{name}", {"metadata": {"labels": labels}})

    async def news(self) -> list[set[str]]:
        await self._clock.settle()
        told, self.told[:] = list(self.told), []
        return told


@contextlib.asynccontextmanager
async def followed() -> AsyncIterator[Followed]:
    clock = VirtualClock()
    out = Followed(FakeServer(), clock)
    tasks = [asyncio.create_task(i.run()) for i in (out.slices, out.nodes)]
    await clock.settle()
    yield out
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_change_is_told_for_its_own_service_only_and_is_seen_in_what_is_asked_then() -> None:
    async with followed() as world:
        world.put_slice("web-1", a_slice(endpoint("10.64.0.1")))
        world.put_slice("db-1", a_slice(endpoint("10.64.0.9"), service="db"))
        assert set.union(*await world.news()) == {"a/web", "a/db"}
        assert addresses(world.endpoints.of("a/web", "http")) == ["10.64.0.1:8080"]

        world.put_slice("web-1", a_slice(endpoint("10.64.0.1"), endpoint("10.64.0.2")))
        assert await world.news() == [{"a/web"}]
        assert addresses(world.endpoints.of("a/web", "http")) == ["10.64.0.1:8080", "10.64.0.2:8080"]

        world.remove_slice("web-1")
        assert await world.news() == [{"a/web"}]
        assert world.endpoints.of("a/web", "http") == ()


async def test_a_slice_that_changes_in_its_annotations_only_is_no_news() -> None:
    async with followed() as world:
        world.put_slice("web-1", a_slice(endpoint("10.64.0.1")))
        await world.news()
        world.put_slice("web-1", a_slice(endpoint("10.64.0.1"), annotations={"seen": "yes"}))
        assert await world.news() == []


async def test_a_slice_that_changes_its_service_is_told_for_both() -> None:
    async with followed() as world:
        world.put_slice("web-1", a_slice(endpoint("10.64.0.1")))
        await world.news()
        world.put_slice("web-1", a_slice(endpoint("10.64.0.1"), service="other"))
        assert await world.news() == [{"a/web", "a/other"}]
        assert world.endpoints.of("a/web", "http") == ()


async def test_endpoints_on_simulated_nodes_are_reached_at_their_twins_and_others_at_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback, "first_port", lambda: 1024)
    async with followed() as world:
        world.put_node("real", {})
        world.put_node("sim", {"pilothouse.dev/simulated": "true"})
        await world.news()
        reach = world.endpoints.reach
        assert reach(Target("10.64.0.1", 8080, node="sim")) == ("127.64.0.1", 8080)
        assert reach(Target("10.64.0.1", 80, node="sim")) == ("127.64.0.1", 40080)
        assert reach(Target("10.64.0.1", 80, node="real")) == ("10.64.0.1", 80)
        assert reach(Target("192.0.2.1", 80)) == ("192.0.2.1", 80)


async def test_a_node_that_is_heard_of_after_its_endpoints_is_news_for_their_services() -> None:
    async with followed() as world:
        world.put_slice("web-1", a_slice(endpoint("10.64.0.1", "sim")))
        world.put_slice("db-1", a_slice(endpoint("10.64.0.2", "real"), service="db"))
        await world.news()
        world.put_node("real", {})
        world.put_node("sim", {"pilothouse.dev/simulated": "true"})
        assert await world.news() == [{"a/web"}]
        assert world.endpoints.reach(world.endpoints.of("a/web", "http")[0]) == ("127.64.0.1", 8080)

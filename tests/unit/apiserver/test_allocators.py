from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.allocators import NodePortRange, families
from pilothouse.apiserver.allocators import repair as repairs
from pilothouse.apiserver.allocators.bands import candidates, static_band
from pilothouse.clock import SystemClock, VirtualClock, rfc3339
from pilothouse.store.sqlite import SqliteStore

from .cluster_kit import cluster

SERVICES = "/api/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


@pytest.mark.parametrize(("size", "band"), [(8, 0), (16, 0), (32, 16), (256, 16), (65536, 256), (1 << 20, 256)])
def test_the_static_band_is_a_small_part_of_a_range(size: int, band: int) -> None:
    assert static_band(size, 16, 256) == band


@given(st.integers(1, 300), st.sets(st.integers(0, 299)), st.integers(0, 5))
def test_every_free_number_is_found_and_no_other(size: int, taken: set[int], seed: int) -> None:
    found = set(candidates(size, static_band(size, 16, 256), Random(seed), lambda o: o not in taken))
    assert found == set(range(size)) - taken


@given(st.integers(20, 300), st.integers(0, 5))
def test_the_upper_band_comes_first(size: int, seed: int) -> None:
    band = static_band(size, 16, 256)
    assert next(candidates(size, band, Random(seed), lambda o: True)) >= band


def test_node_port_ranges_are_read_as_kubernetes_writes_them() -> None:
    assert NodePortRange.parse("30000-32767") == NodePortRange() == NodePortRange.parse("30000+2767")
    for bad in ("x", "5-4", "0-3", "1-70000"):
        with pytest.raises(ValueError):
            NodePortRange.parse(bad)


async def test_a_service_gets_an_address_of_its_own() -> None:
    async with cluster() as call:
        got = await asyncio.gather(*(call("POST", SERVICES, service(f"s{i}")) for i in range(8)))
        addresses = [g.body["spec"]["clusterIP"] for g in got]
        assert len(set(addresses)) == 8 and all(a.startswith("10.96.") for a in addresses)
        held = await call("GET", "/apis/networking.k8s.io/v1/ipaddresses")
        assert set(addresses) <= {i["metadata"]["name"] for i in held.body["items"]}


async def test_an_address_is_free_again_when_its_service_is_gone() -> None:
    async with cluster() as call:
        assert (await call("POST", SERVICES, service("a", clusterIP="10.96.0.7"))).code == 201
        got = await call("POST", SERVICES, service("b", clusterIP="10.96.0.7"))
        assert got.code == 422 and got.body["message"].endswith("provided IP is already allocated")
        await call("DELETE", f"{SERVICES}/a")
        assert (await call("POST", SERVICES, service("b", clusterIP="10.96.0.7"))).code == 201


async def test_a_service_that_is_not_stored_holds_nothing() -> None:
    async with cluster() as call:
        assert (await call("POST", SERVICES, service("a", clusterIP="10.96.0.7"), query={"dryRun": "All"})).code == 201
        assert (await call("POST", SERVICES, service("Bad_", clusterIP="10.96.0.7"))).code == 422
        assert (await call("POST", SERVICES, service("b", clusterIP="10.96.0.7"))).code == 201


async def test_a_full_range_says_so() -> None:
    async with cluster(service_ranges=("10.0.0.0/29",)) as call:
        codes = [(await call("POST", SERVICES, service(f"s{i}"))).code for i in range(5)]
        got = await call("POST", SERVICES, service("more"))
        assert codes == [201] * 5
        assert (got.code, got.body["message"]) == (500, "Internal error occurred: failed to allocate a serviceIP: range is full")


async def test_node_ports_follow_the_services_type() -> None:
    async with cluster(node_ports=NodePortRange(30000, 30001)) as call:
        got = await call("POST", SERVICES, service("a", type="NodePort"))
        port = got.body["spec"]["ports"][0]["nodePort"]
        assert port in (30000, 30001)
        taken = service("b", type="NodePort", ports=[{"port": 1, "nodePort": port}])
        got = await call("POST", SERVICES, taken)
        assert (got.code, got.body["details"]["causes"][0]["field"]) == (422, "spec.ports[0].nodePort")
        got = await call("PATCH", f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}}, media=MERGE)
        assert "nodePort" not in got.body["spec"]["ports"][0]
        assert (await call("POST", SERVICES, taken)).code == 201


async def test_an_update_keeps_what_it_leaves_out() -> None:
    async with cluster() as call:
        made = (await call("POST", SERVICES, service("a", type="NodePort"))).body["spec"]
        got = await call("PUT", f"{SERVICES}/a", service("a", type="NodePort"))
        assert got.body["spec"]["clusterIP"] == made["clusterIP"]
        assert got.body["spec"]["ports"][0]["nodePort"] == made["ports"][0]["nodePort"]


async def test_one_port_number_in_two_protocols_shares_a_node_port() -> None:
    async with cluster() as call:
        ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
        got = await call("POST", SERVICES, service("dns", type="NodePort", ports=ports))
        assert len({p["nodePort"] for p in got.body["spec"]["ports"]}) == 1


async def test_an_external_name_needs_no_address() -> None:
    async with cluster() as call:
        made = (await call("POST", SERVICES, service("a"))).body["spec"]["clusterIP"]
        got = await call("PATCH", f"{SERVICES}/a", {"spec": {"type": "ExternalName", "externalName": "x.io"}}, media=MERGE)
        assert not got.body["spec"].get("clusterIP")
        assert (await call("GET", f"/apis/networking.k8s.io/v1/ipaddresses/{made}")).code == 404


async def test_two_families_where_the_cluster_has_two() -> None:
    async with cluster(service_ranges=("10.96.0.0/16", "fd00::/112")) as call:
        got = await call("POST", SERVICES, service("a", ipFamilyPolicy="PreferDualStack"))
        assert got.code == 201, got.body
        spec = got.body["spec"]
        assert spec["ipFamilies"] == ["IPv4", "IPv6"] and spec["clusterIPs"][1].startswith("fd00::")
        got = await call("POST", SERVICES, service("b"))
        assert len(got.body["spec"]["clusterIPs"]) == 1


def test_an_address_must_be_of_its_family() -> None:
    errors = families.check({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"], "ipFamilies": ["IPv4"]})
    assert [e.field for e in errors] == ["spec.clusterIPs[0]"] and "expected an IPv4 value" in errors[0].detail


# --- dual stack, headless, and further ranges ----------------------------------------------------------------------------------------

ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


async def held(call: Any) -> set[str]:
    return {item["metadata"]["name"] for item in (await call("GET", ADDRESSES)).body["items"]} - {"10.96.0.1"}


async def test_a_service_gets_a_second_family_and_gives_it_back() -> None:
    async with cluster(service_ranges=("10.96.0.0/16", "fd00::/112")) as call:
        first = (await call("POST", SERVICES, service("a"))).body["spec"]["clusterIPs"]
        both = (await call("PATCH", f"{SERVICES}/a", {"spec": {"ipFamilyPolicy": "RequireDualStack"}}, media=MERGE)).body["spec"]
        assert both["clusterIPs"][:1] == first and both["ipFamilies"] == ["IPv4", "IPv6"]
        assert await held(call) == set(both["clusterIPs"])
        one = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": first}
        assert (await call("PATCH", f"{SERVICES}/a", {"spec": one}, media=MERGE)).body["spec"]["clusterIPs"] == first
        assert await held(call) == set(first)


async def test_a_service_of_two_families_is_refused_where_there_is_one() -> None:
    async with cluster() as call:
        got = await call("POST", SERVICES, service("a", ipFamilyPolicy="RequireDualStack"))
        assert got.code == 422 and "not configured for dual-stack" in got.body["message"]
        assert (await call("POST", SERVICES, service("a", ipFamilyPolicy="PreferDualStack"))).body["spec"]["ipFamilies"] == [
            "IPv4"
        ]


async def test_a_headless_service_holds_no_address_and_stays_headless() -> None:
    async with cluster() as call:
        headless = {"clusterIP": "None", "selector": {"app": "a"}}
        spec = (await call("POST", SERVICES, service("a", **headless))).body["spec"]
        assert (spec["clusterIP"], spec["clusterIPs"]) == ("None", ["None"])
        assert await held(call) == set()
        got = await call("PUT", f"{SERVICES}/a", service("a", **{**headless, "clusterIP": "10.96.0.9"}))
        assert got.code == 422 and got.body["details"]["causes"][0]["field"] == "spec.clusterIPs[0]"


async def test_addresses_come_from_further_ranges_once_they_are_ready() -> None:
    async with cluster(service_ranges=("10.0.0.0/29",)) as call:
        for n in range(5):
            assert (await call("POST", SERVICES, service(f"s{n}"))).code == 201
        await call("POST", CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.1.0.0/28"]}})
        assert (await call("POST", SERVICES, service("a"))).code == 500
        ready = {"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": rfc3339(0)}
        await call("PATCH", f"{CIDRS}/more/status", {"status": {"conditions": [ready]}}, media=MERGE)
        assert (await call("POST", SERVICES, service("a"))).body["spec"]["clusterIP"].startswith("10.1.0.")


# --- persistence and repair ---------------------------------------------------------------------------------------------------------


async def test_addresses_and_ports_are_remembered_over_a_restart(tmp_path: Path) -> None:
    async with cluster(store=SqliteStore(tmp_path, SystemClock()), node_ports=NodePortRange(30000, 30001)) as call:
        spec = (await call("POST", SERVICES, service("a", type="NodePort"))).body["spec"]
    async with cluster(store=SqliteStore(tmp_path, SystemClock()), node_ports=NodePortRange(30000, 30001)) as call:
        assert (await call("POST", SERVICES, service("b", clusterIP=spec["clusterIP"]))).code == 422
        taken = [{"port": 1, "nodePort": spec["ports"][0]["nodePort"]}]
        assert (await call("POST", SERVICES, service("b", type="NodePort", ports=taken))).code == 422
        other = (await call("POST", SERVICES, service("b", type="NodePort"))).body["spec"]["ports"][0]["nodePort"]
        assert other != taken[0]["nodePort"]


async def test_addresses_are_put_right_at_a_start(tmp_path: Path) -> None:
    addresses = "/apis/networking.k8s.io/v1/ipaddresses"
    async with cluster(store=SqliteStore(tmp_path, SystemClock())) as call:
        await call("POST", SERVICES, service("a", clusterIP="10.96.0.7"))
        await call("DELETE", f"{addresses}/10.96.0.7")
        orphan = {"metadata": {"name": "10.96.0.9", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}}}
        parent = {"resource": "services", "name": "gone", "namespace": "default"}
        await call("POST", addresses, {**orphan, "spec": {"parentRef": parent}})
    async with cluster(store=SqliteStore(tmp_path, SystemClock())) as call:
        assert (await call("GET", f"{addresses}/10.96.0.7")).code == 200
        assert (await call("GET", f"{addresses}/10.96.0.9")).code == 404


async def test_what_goes_wrong_while_the_server_runs_is_mended_and_told() -> None:
    clock = VirtualClock()
    async with cluster(clock=clock) as call:
        await call("POST", SERVICES, service("a", clusterIP="10.96.0.7"))
        await call("DELETE", f"{ADDRESSES}/10.96.0.7")
        await clock.advance(repairs.SECONDS + 1)
        await clock.settle()
        assert (await call("GET", f"{ADDRESSES}/10.96.0.7")).body["spec"]["parentRef"]["name"] == "a"
        (event,) = (await call("GET", "/apis/events.k8s.io/v1/namespaces/default/events")).body["items"]
        assert (event["reason"], event["type"]) == ("ClusterIPNotAllocated", "Warning")
        assert event["note"] == "Cluster IP [IPv4]: 10.96.0.7 is not allocated; repairing"


def stored(name: str, address: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "creationTimestamp": rfc3339(1), "uid": name}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"clusterIPs": [address]}}


def address(name: str, owner: str, age: float = 100.0) -> dict[str, Any]:
    labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    metadata = {"name": name, "labels": labels, "creationTimestamp": rfc3339(1000.0 - age)}
    return {"metadata": metadata, "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": owner}}}


@pytest.mark.parametrize(
    ("services", "addresses", "release", "take", "reasons"),
    [
        ([stored("a", "10.96.0.7")], [address("10.96.0.7", "a")], [], [], []),
        ([stored("a", "None"), stored("b", "")], [], [], [], []),
        ([stored("a", "10.96.0.7")], [], [], ["10.96.0.7"], ["ClusterIPNotAllocated"]),
        ([stored("a", "10.96.0.7")], [address("10.96.0.7", "gone")], ["10.96.0.7"], ["10.96.0.7"], ["IPAddressWrongReference"]),
        (
            [stored("a", "10.96.0.7"), stored("b", "10.96.0.7")],
            [address("10.96.0.7", "a")],
            [],
            [],
            ["ClusterIPAlreadyAllocated"],
        ),
        ([stored("a", "1.2.3.4")], [], [], [], ["ClusterIPOutOfRange"]),
        ([], [address("10.96.0.7", "gone")], ["10.96.0.7"], [], ["IPAddressNotAllocated"]),
        ([], [address("10.96.0.7", "soon", age=5)], [], [], []),
    ],
)
def test_services_and_addresses_are_made_to_agree(
    services: list[Any], addresses: list[Any], release: list[str], take: list[str], reasons: list[str]
) -> None:
    by_name = {obj["metadata"]["name"]: obj for obj in addresses}
    found = repairs.plan(services, by_name, lambda a: a.startswith("10.96."), 1000.0, repairs.GRACE_SECONDS)
    assert [obj["metadata"]["name"] for obj in found.release] == release
    assert [wanted for wanted, _ in found.take] == take
    assert [told.reason for told in found.told] == reasons


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"clusterIP": "10.96.0.8"}, 'spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set'),
        ({"clusterIP": "None"}, 'spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set'),
        ({"ipFamilies": ["IPv6"], "clusterIPs": None, "clusterIP": ""}, None),
    ],
)
async def test_an_address_stays_what_it_is(change: dict[str, Any], told: str | None) -> None:
    async with cluster() as call:
        await call("POST", SERVICES, service("a", clusterIP="10.96.0.7"))
        got = await call("PATCH", f"{SERVICES}/a", {"spec": change}, media=MERGE)
        assert got.code == 422
        if told is not None:
            assert got.body["message"] == f'Service "a" is invalid: {told}'
        assert await held(call) == {"10.96.0.7"}

"""The ways to a Service: which addresses and ports, and which endpoints take what comes there."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.client.service_endpoints import Target
from pilothouse.nodes.proxy.ways import Way, health_check, is_proxied, refused, ways

Obj = dict[str, Any]


def service(labels: Obj | None = None, status: Obj | None = None, **spec: Any) -> Obj:
    ports = spec.pop("ports", [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}])
    full = {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": ports, **spec}
    return {"metadata": {"namespace": "a", "name": "b", "labels": labels or {}}, "spec": full, "status": status or {}}


def target(last: int, node: str = "n1", **conditions: Any) -> Target:
    return Target(f"10.64.0.{last}", 8080, node, **conditions)


def found(obj: Obj, *targets: Target) -> dict[str, list[str]]:
    """Addresses and ports, with the last numbers of their endpoints."""
    addresses = {"n1": "10.192.0.1", "n2": "10.192.0.2"}
    every = ways(obj, {"http": targets}, lambda t: (t.address, t.port), lambda node: addresses.get(node, ""))
    return {f"{w.kind} {w.address}:{w.port}": [host.rpartition(".")[2] for host, _ in w.endpoints] for w in every}


def test_a_cluster_ip_leads_to_the_endpoints_that_are_ready() -> None:
    told = found(service(), target(1), target(2, ready=False, serving=False), target(3, "n2"))
    assert told == {"cluster 10.96.0.7:80": ["1", "3"]}


def test_endpoints_that_terminate_serve_where_no_other_is_left() -> None:
    ending = target(1, ready=False, serving=True, terminating=True)
    assert found(service(), ending) == {"cluster 10.96.0.7:80": ["1"]}
    assert found(service(), ending, target(2)) == {"cluster 10.96.0.7:80": ["2"]}


def test_internal_traffic_policy_local_means_all_nodes_since_all_are_this_machine() -> None:
    told = found(service(internalTrafficPolicy="Local"), target(1), target(2, "n2"))
    assert told == {"cluster 10.96.0.7:80": ["1", "2"]}


def test_a_node_port_is_open_at_every_node_for_all_endpoints() -> None:
    told = found(service(type="NodePort"), target(1), target(2, "n2"))
    assert told["node :30080"] == ["1", "2"]
    assert len(told) == 2


def test_with_the_local_policy_a_node_has_its_own_endpoints_and_those_that_terminate_if_it_has_no_others() -> None:
    obj = service(type="NodePort", externalTrafficPolicy="Local")
    ending = target(3, "n2", ready=False, serving=True, terminating=True)
    told = found(obj, target(1), target(2), ending, target(4, "elsewhere"))
    assert told["node 10.192.0.1:30080"] == ["1", "2"]
    assert told["node 10.192.0.2:30080"] == ["3"]
    assert told["node :30080"] == ["1", "2", "4"]
    assert len(told) == 4


def test_addresses_outside_are_short_cuts_where_they_are_not_this_machines() -> None:
    ingress = [
        {"ip": "203.0.113.1", "ipMode": "VIP"},
        {"ip": "203.0.113.2", "ipMode": "Proxy"},
        {"ip": "127.80.0.1"},
        {"hostname": "x"},
    ]
    obj = service(type="LoadBalancer", externalIPs=["203.0.113.9"], status={"loadBalancer": {"ingress": ingress}})
    told = found(obj, target(1))
    assert [name for name in told if name.startswith("external")] == ["external 203.0.113.9:80", "external 203.0.113.1:80"]


@pytest.mark.parametrize(
    "obj",
    [
        service(clusterIP="None", clusterIPs=["None"]),
        service(type="ExternalName", clusterIP="", externalName="x"),
        service(labels={"service.kubernetes.io/service-proxy-name": "other"}),
        service(labels={"service.kubernetes.io/headless": ""}),
    ],
)
def test_what_is_not_for_the_proxy_has_no_ways(obj: Obj) -> None:
    assert not is_proxied(obj)
    assert found(obj, target(1)) == {}


def test_sctp_is_refused_and_the_other_ports_are_served() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "s", "port": 81, "protocol": "SCTP"}]
    assert refused(service(ports=ports)) == ("SCTP",)
    assert found(service(ports=ports), target(1)) == {"cluster 10.96.0.7:80": ["1"]}


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 0),
        ({"sessionAffinity": "ClientIP"}, 10_800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 9}}}, 9),
    ],
)
def test_clients_stay_for_as_long_as_the_service_says(spec: Obj, seconds: int) -> None:
    assert ways(service(**spec), {}, lambda t: (t.address, t.port), str) == (
        Way("cluster", "10.96.0.7", 80, "TCP", affinity=seconds),
    )


def test_a_load_balancers_health_port_counts_the_endpoints_of_each_node() -> None:
    obj = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32000)
    check = health_check(obj, {"http": (target(1), target(2, "n2"), target(3, "n2")), "more": (target(1),)})
    assert check is not None
    assert (check.port, check.counts) == (32000, {"n1": 1, "n2": 2})
    assert health_check(service(type="LoadBalancer"), {}) is None

"""Services: defaults, rules by type, and what goes with a former type."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

services = Kind("", "v1", "services")
PORTS = [{"port": 80}]


def test_a_service_is_a_cluster_ip_over_tcp_to_the_same_port() -> None:
    assert services.stored({"spec": {"ports": PORTS}}) == {
        "spec": {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        },
        "status": {"loadBalancer": {}},
    }


def test_a_load_balancer_gets_node_ports_and_an_external_policy() -> None:
    spec = services.stored({"spec": {"type": "LoadBalancer", "ports": PORTS}})["spec"]
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["externalTrafficPolicy"] == "Cluster"


def test_external_addresses_make_the_external_policy_matter() -> None:
    spec = services.stored({"spec": {"ports": PORTS, "externalIPs": ["192.0.2.1"]}})["spec"]
    assert spec["externalTrafficPolicy"] == "Cluster"


def test_client_affinity_lasts_three_hours() -> None:
    spec = services.stored({"spec": {"ports": PORTS, "sessionAffinity": "ClientIP"}})["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({}, ["spec.ports: Required value"]),
        ({"clusterIP": "None"}, []),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        ({"type": "ExternalName", "externalName": "a.example.com."}, []),
        (
            {"ports": PORTS, "type": "Bad"},
            ['spec.type: Unsupported value: "Bad": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'],
        ),
        (
            {"ports": [{"port": 80}, {"port": 81}]},
            ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
        ),
        (
            {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]},
            ['spec.ports[1].name: Duplicate value: "a"'],
        ),
        (
            {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]},
            [
                'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}'
            ],
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30080}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"ports": [{"port": 80, "targetPort": "Bad_Name"}]},
            [
                'spec.ports[0].targetPort: Invalid value: "Bad_Name": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)'
            ],
        ),
        (
            {"ports": PORTS, "type": "NodePort", "clusterIP": "None"},
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (
            {"ports": PORTS, "externalTrafficPolicy": "Local"},
            ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
        ),
        (
            {"ports": PORTS, "loadBalancerSourceRanges": ["10.0.0.0/8"], "loadBalancerClass": "a/b"},
            [
                "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ],
        ),
        (
            {"ports": PORTS, "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.1.2.3/8", "x"]},
            [
                'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.1.2.3/8": must not have bits set beyond the prefix length',
                'spec.LoadBalancerSourceRanges[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
            ],
        ),
        (
            {"ports": PORTS, "externalIPs": ["127.0.0.1", "01.2.3.4"]},
            [
                'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
                'spec.externalIPs[1]: Invalid value: "01.2.3.4": must not have leading 0s',
            ],
        ),
    ],
)
def test_new_services_are_checked(spec: dict[str, Any], wrong: list[str]) -> None:
    assert services.wrong({"spec": spec}) == wrong


def test_a_name_is_one_label() -> None:
    assert services.wrong({"spec": {"ports": PORTS}}, "a.b") == ['metadata.name: Invalid value: "a.b": must not contain dots']
    assert services.wrong({"spec": {"ports": PORTS}}, "1abc") == []


def test_what_belonged_to_the_former_type_goes_with_it() -> None:
    balancer = {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30001}], "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 30002, "loadBalancerClass": "a/b"}  # fmt: skip
    new, wrong = services.update(
        {"spec": balancer}, {"spec": {**balancer, "allocateLoadBalancerNodePorts": True, "type": "ClusterIP"}}
    )
    assert wrong == []
    assert new["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    gone = ("externalTrafficPolicy", "healthCheckNodePort", "loadBalancerClass", "allocateLoadBalancerNodePorts")
    assert not any(key in new["spec"] for key in gone)


def test_a_node_port_asked_for_anew_does_not_go_with_the_type() -> None:
    _, wrong = services.update(
        {"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}},
        {"spec": {"ports": [{"port": 80, "nodePort": 30009}]}},
    )
    assert wrong == ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]


def test_a_load_balancer_class_stays() -> None:
    spec = {"type": "LoadBalancer", "ports": PORTS, "loadBalancerClass": "a/b"}
    _, wrong = services.update({"spec": spec}, {"spec": {**spec, "loadBalancerClass": "a/c"}})
    assert wrong == ['spec.loadBalancerClass: Invalid value: "a/c": may not change once set']


def test_only_load_balancers_have_addresses_in_their_status() -> None:
    ingress = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    _, wrong = services.write_status({"spec": {"ports": PORTS}}, ingress)
    assert wrong == ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    new, wrong = services.write_status({"spec": {"type": "LoadBalancer", "ports": PORTS}}, ingress)
    assert wrong == []
    assert new["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]


def test_what_headless_services_ignore_is_told() -> None:
    made, _ = services.create({"spec": {"clusterIP": "None", "loadBalancerIP": "192.0.2.9", "sessionAffinity": "ClientIP"}})
    assert services.strategy.warnings(made, None) == [
        "spec.loadBalancerIP is ignored for headless services",
        "spec.SessionAffinity is ignored for headless services",
    ]

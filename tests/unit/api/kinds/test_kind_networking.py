"""Ingresses and their classes, network policies, addresses of services and the ranges that they come from."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

G = "networking.k8s.io"
ingresses = Kind(G, "v1", "ingresses")
classes = Kind(G, "v1", "ingressclasses")
policies = Kind(G, "v1", "networkpolicies")
addresses = Kind(G, "v1", "ipaddresses")
ranges = Kind(G, "v1", "servicecidrs")

BACKEND = {"service": {"name": "s", "port": {"number": 80}}}


def path(**more: Any) -> dict[str, Any]:
    return {"rules": [{"http": {"paths": [{"backend": BACKEND, **more}]}}]}


# --- ingresses ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {"defaultBackend": BACKEND},
        {"defaultBackend": {"resource": {"apiGroup": "a.b", "kind": "K", "name": "n"}}},
        path(path="/x", pathType="Prefix"),
        {**path(pathType="ImplementationSpecific"), "ingressClassName": "c", "tls": [{"hosts": ["a.b"], "secretName": "s"}]},
    ],
)
def test_good_ingresses_are_stored_as_they_are(spec: dict[str, Any]) -> None:
    assert ingresses.stored({"spec": spec})["spec"] == spec


PATHS = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (path(path="/"), f"{PATHS}.pathType: Required value: pathType must be specified"),
        (path(path="x", pathType="Prefix"), f'{PATHS}.path: Invalid value: "x": must be an absolute path'),
        (path(path="/a//b", pathType="Exact"), f"{PATHS}.path: Invalid value: \"/a//b\": must not contain '//'"),
        (
            path(path="/a", pathType="X"),
            f'{PATHS}.pathType: Unsupported value: "X": supported values: "Exact", "ImplementationSpecific", "Prefix"',
        ),
        ({"defaultBackend": {}}, 'spec.defaultBackend: Invalid value: "": resource or service backend is required'),
        (
            {"defaultBackend": {"service": {"name": "s", "port": {"number": 80, "name": "x"}}}},
            'spec.defaultBackend: Invalid value: "": cannot set both port name & port number',
        ),
        (
            {"defaultBackend": {**BACKEND, "resource": {"kind": "K", "name": "n"}}},
            'spec.defaultBackend: Invalid value: "": cannot set both resource and service backends',
        ),
        (
            {"defaultBackend": BACKEND, "rules": [{"host": "1.2.3.4"}]},
            'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
        ),
    ],
)
def test_a_bad_ingress_is_refused(spec: dict[str, Any], told: str) -> None:
    assert ingresses.wrong({"spec": spec}) == [told]


def test_an_ingress_has_one_class() -> None:
    obj = {"metadata": {"name": "a", "annotations": {"kubernetes.io/ingress.class": "a"}}}
    spec = {"defaultBackend": BACKEND, "ingressClassName": "b"}
    assert ingresses.wrong({**obj, "spec": spec}) == [
        'annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified'
    ]


def test_a_classes_parameters_are_cluster_wide_unless_it_says_otherwise() -> None:
    parameters = {"kind": "K", "name": "n"}
    stored = classes.stored({"spec": {"controller": "a.b/c", "parameters": parameters}})
    assert stored["spec"]["parameters"] == {**parameters, "scope": "Cluster"}
    assert classes.update({"spec": {"controller": "a.b/c"}}, {"spec": {"controller": "a.b/d"}})[1] == [
        'spec.controller: Invalid value: "a.b/d": field is immutable'
    ]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "controller: Required value"),
        ({"controller": "x"}, 'controller: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")'),
        (
            {"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}},
            "parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ),
        (
            {"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "namespace": "x"}},
            "parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
        ),
    ],
)
def test_a_bad_class_is_refused(spec: dict[str, Any], told: str) -> None:
    assert classes.wrong({"spec": spec}) == [f"spec.{told}"]


# --- network policies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ["Ingress"]),
        ({"egress": []}, ["Ingress"]),
        ({"egress": [{}]}, ["Ingress", "Egress"]),
        ({"policyTypes": ["Egress"]}, ["Egress"]),
    ],
)
def test_a_policy_is_about_what_it_has_rules_for(spec: dict[str, Any], types: list[str]) -> None:
    assert policies.stored({"spec": {"podSelector": {}, **spec}})["spec"]["policyTypes"] == types


def test_a_port_is_tcp_by_default() -> None:
    stored = policies.stored({"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}})
    assert stored["spec"]["ingress"] == [{"ports": [{"port": 80, "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"ports": [{"port": 70000}]}, "ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ({"ports": [{"endPort": 5}]}, "ports[0].endPort: Invalid value: 5: may not be specified when `port` is not specified"),
        (
            {"ports": [{"port": "http", "endPort": 5}]},
            "ports[0].endPort: Invalid value: 5: may not be specified when `port` is non-numeric",
        ),
        ({"from": [{}]}, "from[0]: Required value: must specify a peer"),
        (
            {"from": [{"ipBlock": {"cidr": "1.2.3.0/24", "except": ["1.2.4.0/25"]}}]},
            'from[0].ipBlock.except[0]: Invalid value: "1.2.4.0/25": must be a strict subset of `cidr`',
        ),
        (
            {"from": [{"ipBlock": {"cidr": "1.2.3.0/24"}, "podSelector": {}}]},
            "from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
    ],
)
def test_a_bad_rule_is_refused(rule: dict[str, Any], told: str) -> None:
    assert policies.wrong({"spec": {"podSelector": {}, "ingress": [rule]}}) == [f"spec.ingress[0].{told}"]


# --- addresses and ranges -----------------------------------------------------------------------------------------------------------

PARENT = {"resource": "services", "namespace": "d", "name": "s"}


@pytest.mark.parametrize(
    ("name", "parent", "told"),
    [
        ("10.0.0.1", PARENT, []),
        ("10.0.0.01", PARENT, ['metadata.name: Invalid value: "10.0.0.01": must not have leading 0s']),
        ("FD00::1", PARENT, ['metadata.name: Invalid value: "FD00::1": must be in canonical form ("fd00::1")']),
        ("10.0.0.1", {}, ["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"]),
    ],
)
def test_an_address_is_named_after_itself_and_belongs_to_something(name: str, parent: Any, told: list[str]) -> None:
    assert addresses.wrong({"spec": {"parentRef": parent}}, name) == told


def test_an_address_keeps_its_owner() -> None:
    before = {"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": PARENT}}
    (wrong,) = addresses.update(before, {"spec": {"parentRef": {**PARENT, "name": "t"}}})[1]
    assert wrong.startswith("spec.parentRef: Invalid value: ") and wrong.endswith("field is immutable")


@pytest.mark.parametrize(
    ("cidrs", "told"),
    [
        (["10.0.0.0/24", "fd00::/64"], ""),
        ([], "spec.cidrs: Required value: at least one CIDR required"),
        (["10.0.0.1/24"], 'spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length'),
        (["10.0.0.0/24", "10.1.0.0/24"], "may specify no more than one IP for each IP family"),
    ],
)
def test_a_range_is_one_of_each_family(cidrs: list[str], told: str) -> None:
    assert told in "".join(ranges.wrong({"spec": {"cidrs": cidrs}}))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (["10.0.0.0/24", "fd00::/64"], []),
        (["10.1.0.0/24"], ['spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable']),
    ],
)
def test_a_range_gets_a_second_family_and_changes_no_further(after: list[str], told: list[str]) -> None:
    assert ranges.update({"spec": {"cidrs": ["10.0.0.0/24"]}}, {"spec": {"cidrs": after}})[1] == told

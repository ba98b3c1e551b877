"""Namespaces, nodes, config maps, secrets, service accounts, leases, endpoints, roles and priority classes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from kind_kit import Kind

namespaces = Kind("", "v1", "namespaces")
nodes = Kind("", "v1", "nodes")
config_maps = Kind("", "v1", "configmaps")
secrets = Kind("", "v1", "secrets")
accounts = Kind("", "v1", "serviceaccounts")
leases = Kind("coordination.k8s.io", "v1", "leases")
endpoints = Kind("", "v1", "endpoints")
slices = Kind("discovery.k8s.io", "v1", "endpointslices")
roles = Kind("rbac.authorization.k8s.io", "v1", "roles")
cluster_roles = Kind("rbac.authorization.k8s.io", "v1", "clusterroles")
bindings = Kind("rbac.authorization.k8s.io", "v1", "rolebindings")
priorities = Kind("scheduling.k8s.io", "v1", "priorityclasses")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# --- namespaces ---------------------------------------------------------------------------------------------------------------------


def test_a_namespace_is_active_labelled_with_its_name_and_kept_by_a_finalizer() -> None:
    made, wrong = namespaces.create({})
    assert wrong == []
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


def test_a_namespace_that_lives_cannot_be_called_terminating() -> None:
    _, wrong = namespaces.write_status({}, {"phase": "Terminating"})
    assert wrong == ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"]


def test_a_namespace_finalizer_has_a_domain() -> None:
    assert namespaces.wrong({"spec": {"finalizers": ["a.b/c", "mine"]}}) == [
        'spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified'
    ]


# --- nodes --------------------------------------------------------------------------------------------------------------------------


def test_a_nodes_one_range_is_the_first_of_its_ranges() -> None:
    assert nodes.stored({"spec": {"podCIDR": "10.1.0.0/24"}})["spec"]["podCIDRs"] == ["10.1.0.0/24"]
    assert nodes.stored({"spec": {"podCIDRs": ["10.1.0.0/24", "fd00::/64"]}})["spec"]["podCIDR"] == "10.1.0.0/24"


def test_a_node_brings_its_status_and_can_give_away_what_it_has() -> None:
    status = nodes.stored({"status": {"capacity": {"cpu": "4"}}})["status"]
    assert status["allocatable"] == {"cpu": "4"}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]}, []),
        ({"taints": [{"key": "a"}]}, ["metadata.taints[0].effect: Required value"]),
        (
            {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule", "value": "2"}]},
            [
                'metadata.taints[1]: Duplicate value: {"Key":"a","Value":"2","Effect":"NoSchedule","TimeAdded":null}: '
                "taints must be unique by key and effect pair"
            ],
        ),
        (
            {"podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]},
            ['spec.podCIDRs: Invalid value: ["10.1.0.0/24","10.2.0.0/24"]: may specify no more than one CIDR for each IP family'],
        ),
    ],
)
def test_new_nodes_are_checked(spec: dict[str, Any], wrong: list[str]) -> None:
    assert nodes.wrong({"spec": spec}) == wrong


def test_a_nodes_provider_is_set_once() -> None:
    assert nodes.update({}, {"spec": {"providerID": "x://1"}})[1] == []
    assert nodes.update({"spec": {"providerID": "x://1"}}, {"spec": {"providerID": "x://2"}})[1] == [
        'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid'
    ]


def test_a_node_says_what_it_is_for_and_whether_it_is_ready() -> None:
    made, _ = nodes.create({"metadata": {"name": "a", "labels": {"node-role.kubernetes.io/x": "", "kubernetes.io/role": "old"}},
                            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})  # fmt: skip
    assert nodes.strategy.cells(made, 0.0)[1:3] == ["NotReady", "old,x"]


# --- config maps, secrets, accounts, leases --------------------------------------------------------------------------------------------


def test_string_data_becomes_data() -> None:
    made = secrets.stored({"stringData": {"a": "x"}, "data": {"a": encoded("y"), "b": encoded("z")}})
    assert made == {"type": "Opaque", "data": {"a": encoded("x"), "b": encoded("z")}}


@pytest.mark.parametrize(
    ("kind", "data", "wrong"),
    [
        ("kubernetes.io/tls", {"tls.crt": "a"}, ["data[tls.key]: Required value"]),
        ("kubernetes.io/ssh-auth", {"ssh-privatekey": ""}, ["data[ssh-privatekey]: Required value"]),
        ("kubernetes.io/basic-auth", {"username": "a"}, []),
        ("kubernetes.io/basic-auth", {}, ["data[username]: Required value", "data[password]: Required value"]),
        ("kubernetes.io/service-account-token", {}, ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]),
        ("own/type", {"..": "x"}, ["data[..]: Invalid value: \"..\": must not be '..'"]),
    ],
)
def test_a_secrets_type_asks_for_its_keys(kind: str, data: dict[str, str], wrong: list[str]) -> None:
    assert secrets.wrong({"type": kind, "data": {k: encoded(v) for k, v in data.items()}}) == wrong


def test_what_is_immutable_stays_immutable() -> None:
    told = "Forbidden: field is immutable when `immutable` is set"
    assert config_maps.update({"immutable": True, "data": {"a": "1"}}, {"immutable": False, "data": {"a": "2"}})[1] == [
        f"immutable: {told}",
        f"data: {told}",
    ]
    assert secrets.update({}, {"type": "other"})[1] == ['type: Invalid value: "other": field is immutable']


def test_a_key_is_either_text_or_bytes() -> None:
    assert config_maps.wrong({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}) == [
        'data[a]: Invalid value: "a": duplicate of key present in binaryData'
    ]


def test_too_much_data_is_refused() -> None:
    assert config_maps.wrong({"data": {"a": "x" * (1024 * 1024 + 1)}}) == ["[]: Too long: may not be more than 1048576 bytes"]


def test_an_account_names_its_secrets_and_no_more() -> None:
    assert accounts.stored({"secrets": [{"name": "s", "kind": "Secret", "namespace": "other"}]}) == {"secrets": [{"name": "s"}]}


def test_a_lease_lasts_some_time() -> None:
    assert leases.wrong({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
    ]
    assert "strategy" not in leases.stored({"spec": {"strategy": "OldestEmulationVersion"}})["spec"]


# --- endpoints ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subset", "wrong"),
    [
        ({"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}, []),
        ({}, ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        (
            {"addresses": [{"ip": "bad"}]},
            [
                'subsets[0].addresses[0].ip: Invalid value: "bad": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
                'subsets[0].addresses[0].ip: Invalid value: "bad": must be a valid IP address',
            ],
        ),
        (
            {"addresses": [{"ip": "0.0.0.0"}, {"ip": "224.0.0.1"}]},
            [
                'subsets[0].addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)',
                'subsets[0].addresses[1].ip: Invalid value: "224.0.0.1": may not be in the link-local multicast range '
                "(224.0.0.0/24, ff02::/10)",
            ],
        ),
        (
            {"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 1}, {"port": 0, "name": "b"}]},
            [
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
    ],
)
def test_endpoints_are_checked(subset: dict[str, Any], wrong: list[str]) -> None:
    assert endpoints.wrong({"subsets": [subset]}) == wrong


def test_a_slice_without_endpoints_has_none() -> None:
    made = slices.stored({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]})
    assert made == {"addressType": "IPv4", "endpoints": None, "ports": [{"name": "", "protocol": "TCP", "port": 80}]}


@pytest.mark.parametrize(
    ("kind", "addresses", "wrong"),
    [
        ("IPv4", ["::1"], ['endpoints[0].addresses: Invalid value: "::1": must be an IPv4 address',
                           'endpoints[0].addresses[0]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
        ("IPv6", ["FD00::1"], ['endpoints[0].addresses[0]: Invalid value: "FD00::1": must be in canonical form ("fd00::1")']),
        ("IPv4", ["01.2.3.4"], ['endpoints[0].addresses[0]: Invalid value: "01.2.3.4": must not have leading 0s']),
        ("FQDN", [""], ["endpoints[0].addresses[0]: Required value"]),
        ("IPv4", [], ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
        ("IPv4", ["1.2.3.4"] * 101, ["endpoints[0].addresses: Too many: 101: must have at most 100 items"]),
    ],
)  # fmt: skip
def test_addresses_are_of_the_slices_kind(kind: str, addresses: list[str], wrong: list[str]) -> None:
    assert slices.wrong({"addressType": kind, "endpoints": [{"addresses": addresses}]}) == wrong


def test_a_slice_counts_changes_of_its_labels() -> None:
    new, wrong = slices.update({"addressType": "IPv4", "endpoints": []}, {"metadata": {"labels": {"a": "b"}}})
    assert (new["metadata"]["generation"], wrong) == (2, [])


# --- roles ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rule", "wrong"),
    [
        (roles, {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, []),
        (roles, {}, ["rules[0].verbs: Required value: verbs must contain at least one value",
                     "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                     "rules[0].resources: Required value: resource rules must supply at least one resource"]),
        (roles, {"verbs": ["get"], "nonResourceURLs": ["/a"]},
         ['rules[0].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs']),
        (cluster_roles, {"verbs": ["get"], "nonResourceURLs": ["/a"]}, []),
    ],
)  # fmt: skip
def test_rules_are_checked(kind: Kind, rule: dict[str, Any], wrong: list[str]) -> None:
    assert kind.wrong({"rules": [rule]}) == wrong


def test_an_aggregated_role_says_what_it_aggregates() -> None:
    assert cluster_roles.wrong({"rules": None, "aggregationRule": {}}) == [
        "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
    ]


def test_a_bindings_role_stays() -> None:
    ref = {"kind": "Role", "name": "r"}
    made = bindings.stored({"roleRef": ref, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]})
    group = "rbac.authorization.k8s.io"
    assert made["roleRef"]["apiGroup"] == group
    assert [s.get("apiGroup") for s in made["subjects"]] == [group, None]
    assert bindings.update({"roleRef": ref}, {"roleRef": {**ref, "name": "q"}})[1] == [
        'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"q"}: cannot change roleRef'
    ]


def test_role_names_may_be_anything_that_fits_a_path() -> None:
    assert roles.wrong({"rules": []}, "system:X") == []
    assert roles.wrong({"rules": []}, "a/b") == ["metadata.name: Invalid value: \"a/b\": may not contain '/'"]


# --- priority classes ---------------------------------------------------------------------------------------------------------------


def test_a_priority_class_preempts_and_its_value_stays() -> None:
    assert priorities.stored({}) == {"value": 0, "preemptionPolicy": "PreemptLowerPriority"}
    new, wrong = priorities.update({"value": 1}, {"value": 2})
    assert wrong == ["value: Forbidden: may not be changed in an update."]
    assert new["metadata"]["generation"] == 1


def test_the_highest_priorities_are_the_systems_own() -> None:
    assert priorities.wrong({"value": 1_000_000_001}) == [
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
    ]
    assert priorities.wrong({"value": 2_000_000_000}, "system-cluster-critical") == []
    assert priorities.strategy.undeletable("system-node-critical") == "this is a system priority class and cannot be deleted"


def test_a_nodes_ranges_are_set_once() -> None:
    ranges = {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}
    assert nodes.update({"spec": {}}, {"spec": ranges})[1] == []
    changed = {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}
    assert nodes.update({"spec": ranges}, {"spec": changed})[1] == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    ]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"leaseDurationSeconds": 0}, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
        ({"leaseTransitions": -1}, "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_a_lease_counts_upwards(spec: dict[str, Any], told: str) -> None:
    assert leases.wrong({"spec": spec}) == [told]

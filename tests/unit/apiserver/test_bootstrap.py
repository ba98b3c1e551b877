from __future__ import annotations

from pathlib import Path
from typing import Any

from pilothouse.apiserver.bootstrap import flowcontrol, objects, rbac_policy
from pilothouse.apiserver.bootstrap.reconcile import merge
from pilothouse.clock import SystemClock
from pilothouse.store.sqlite import SqliteStore

from .cluster_kit import cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"


async def _names(call: Any, path: str) -> list[str]:
    got = await call("GET", path)
    assert got.code == 200, got.body
    return [i["metadata"]["name"] for i in got.body["items"]]


async def test_a_new_cluster_has_what_kubernetes_has() -> None:
    async with cluster() as call:
        assert await _names(call, "/api/v1/namespaces") == ["default", "kube-node-lease", "kube-public", "kube-system"]
        counts = {
            p: len(await _names(call, f"{RBAC}/{p}")) for p in ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
        }
        assert counts == {"clusterroles": 69, "clusterrolebindings": 50, "roles": 7, "rolebindings": 7}
        flow = "/apis/flowcontrol.apiserver.k8s.io/v1"
        assert len(await _names(call, f"{flow}/flowschemas")) == 11
        assert len(await _names(call, f"{flow}/prioritylevelconfigurations")) == 8
        assert await _names(call, "/apis/scheduling.k8s.io/v1/priorityclasses") == [
            "system-cluster-critical",
            "system-node-critical",
        ]
        assert len(await _names(call, "/apis/apiregistration.k8s.io/v1/apiservices")) == 21
        assert await _names(call, "/apis/networking.k8s.io/v1/servicecidrs") == ["kubernetes"]
        assert await _names(call, "/apis/networking.k8s.io/v1/ipaddresses") == ["10.96.0.1"]
        assert await _names(call, "/api/v1/namespaces/default/services") == ["kubernetes"]
        configuration = await _names(call, "/api/v1/namespaces/kube-system/configmaps")
        assert configuration == ["extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking"]
        assert len(await _names(call, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")) == 1


async def test_the_kubernetes_service_has_the_ranges_first_address() -> None:
    async with cluster(service_ranges=("10.0.0.0/24",)) as call:
        got = await call("GET", "/api/v1/namespaces/default/services/kubernetes")
        assert got.body["spec"]["clusterIPs"] == ["10.0.0.1"]


async def test_a_restart_brings_back_what_is_missing_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    async with cluster(store=SqliteStore(tmp_path, SystemClock())) as call:
        await call("DELETE", f"{RBAC}/clusterroles/view")
        edit = (await call("GET", f"{RBAC}/clusterroles/system:basic-user")).body
        extra = {"verbs": ["get"], "apiGroups": ["x.io"], "resources": ["things"]}
        await call("PUT", f"{RBAC}/clusterroles/system:basic-user", {**edit, "rules": [extra]})
        mine = (await call("GET", f"{RBAC}/clusterroles/system:discovery")).body
        mine["metadata"]["annotations"] = {rbac_policy.AUTOUPDATE: "false"}
        await call("PUT", f"{RBAC}/clusterroles/system:discovery", {**mine, "rules": []})
        before = (await call("GET", f"{RBAC}/clusterroles/admin")).body["metadata"]["resourceVersion"]
    async with cluster(store=SqliteStore(tmp_path, SystemClock())) as call:
        assert (await call("GET", f"{RBAC}/clusterroles/view")).code == 200
        rules = (await call("GET", f"{RBAC}/clusterroles/system:basic-user")).body["rules"]
        assert rules[0] == extra and len(rules) > 1
        assert not (await call("GET", f"{RBAC}/clusterroles/system:discovery")).body["rules"]
        assert (await call("GET", f"{RBAC}/clusterroles/admin")).body["metadata"]["resourceVersion"] == before


async def test_the_kubernetes_service_follows_the_server_to_another_port(tmp_path: Path) -> None:
    for port in (16443, 16444):
        async with cluster(store=SqliteStore(tmp_path, SystemClock()), port=port) as call:
            ports = (await call("GET", "/api/v1/namespaces/default/services/kubernetes")).body["spec"]["ports"]
            assert ports == [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}]


def test_merging_adds_subjects_and_rules_but_takes_none_away() -> None:
    wanted = {"metadata": {"labels": {"a": "b"}}, "subjects": [{"kind": "User", "name": "x"}], "roleRef": {"name": "r"}}
    found = {"metadata": {"labels": {}}, "subjects": [{"kind": "User", "name": "y"}], "roleRef": {"name": "r"}}
    out = merge(found, wanted)
    assert [s["name"] for s in out["subjects"]] == ["y", "x"] and out["metadata"]["labels"] == {"a": "b"}
    assert merge(out, wanted) == out


def test_every_flow_schema_names_a_level_that_exists() -> None:
    levels = {level["metadata"]["name"] for level in flowcontrol.priority_levels()}
    assert {s["spec"]["priorityLevelConfiguration"]["name"] for s in flowcontrol.flow_schemas()} <= levels


def test_every_default_binding_names_a_role_that_exists() -> None:
    made = rbac_policy.objects()
    roles = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in made if "roleRef" not in o}
    for binding in (o for o in made if "roleRef" in o):
        ref = binding["roleRef"]
        where = "" if ref["kind"] == "ClusterRole" else binding["metadata"]["namespace"]
        assert (ref["kind"], where, ref["name"]) in roles


def test_a_server_has_the_same_name_after_a_restart() -> None:
    assert objects.identity("host") == objects.identity("host") != objects.identity("other")
    assert objects.identity("host").startswith("apiserver-")

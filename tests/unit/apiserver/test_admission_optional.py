"""Admission plugins that are off unless somebody asks for them, and what configurations say."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from pilothouse.apiserver.admission import chain, config
from pilothouse.apiserver.admission.pod_node_selector import labels_of
from pilothouse.apiserver.admission.pod_toleration_restriction import covers, merged
from pilothouse.clock import VirtualClock

from .cluster_kit import PODS, acting, cluster, pod
from .kit import Caller

MERGE = "application/merge-patch+json"
NODE = {"metadata": {"name": "n1", "labels": {"kubernetes.io/os": "linux"}}}


def with_plugins(
    *names: str, configs: dict[str, Any] | None = None, folder: Path | None = None, **more: Any
) -> AbstractAsyncContextManager[Caller]:
    """A cluster with these plugins on, and configurations for some."""
    if configs is not None and folder is not None:
        plugins = [{"name": name, "configuration": content} for name, content in configs.items()]
        document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
        (folder / "admission.yaml").write_text(json.dumps(document))
        more["admission_control_config_file"] = folder / "admission.yaml"
    return cluster(enable_admission_plugins=names, **more)


async def annotate(call: Caller, **annotations: str) -> None:
    names = {key.replace("_", "-"): value for key, value in annotations.items()}
    body = {"metadata": {"annotations": {f"scheduler.alpha.kubernetes.io/{key}": value for key, value in names.items()}}}
    assert (await call("PATCH", "/api/v1/namespaces/default", body, media=MERGE)).code == 200


# --- which there are ----------------------------------------------------------------------------------------------------------------


def test_every_plugin_runs_or_says_what_it_waits_for() -> None:
    idle = {name for name, _, where in chain.PLUGINS if not where}
    assert idle == set(chain.INERT)


async def test_a_server_that_denies_everything_still_starts() -> None:
    async with with_plugins("AlwaysDeny") as call:
        got = await call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
        assert (got.code, got.body["message"]) == (
            403,
            'configmaps "a" is forbidden: admission control is denying all modifications',
        )
        assert (await call("GET", "/api/v1/namespaces/kube-system")).code == 200


# --- namespaces ---------------------------------------------------------------------------------------------------------------------


async def test_a_missing_namespace_is_made_for_who_needs_it() -> None:
    async with with_plugins("NamespaceAutoProvision") as call:
        assert (await call("POST", "/api/v1/namespaces/new/configmaps", {"metadata": {"name": "a"}})).code == 201
        assert (await call("GET", "/api/v1/namespaces/new")).body["status"]["phase"] == "Active"


async def test_nothing_happens_in_a_namespace_that_does_not_exist() -> None:
    async with with_plugins("NamespaceExists", disable_admission_plugins=("NamespaceLifecycle",)) as call:
        got = await call("POST", "/api/v1/namespaces/none/configmaps", {"metadata": {"name": "a"}})
        assert (got.code, got.body["message"]) == (404, 'namespaces "none" not found')


# --- pods ---------------------------------------------------------------------------------------------------------------------------


async def test_images_are_always_pulled_also_where_an_update_brings_a_new_one() -> None:
    async with with_plugins("AlwaysPullImages") as call:
        wanted = pod(containers=[{"name": "c", "image": "nginx:1", "imagePullPolicy": "Never"}])
        made = await call("POST", PODS, wanted)
        assert made.body["spec"]["containers"][0]["imagePullPolicy"] == "Always"


@pytest.mark.parametrize(("topology", "code"), [("kubernetes.io/hostname", 201), ("topology.kubernetes.io/zone", 403)])
async def test_pods_keep_others_off_their_node_only(topology: str, code: int) -> None:
    async with with_plugins("LimitPodHardAntiAffinityTopology") as call:
        term = {"topologyKey": topology, "labelSelector": {}}
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        got = await call("POST", PODS, pod(affinity=affinity))
        assert got.code == code
        if code == 403:
            assert f"has TopologyKey {topology} but only key kubernetes.io/hostname is allowed" in got.body["message"]


async def test_pods_tolerate_the_taints_of_the_devices_that_they_want() -> None:
    async with with_plugins("ExtendedResourceToleration") as call:
        resources = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
        made = await call("POST", PODS, pod(containers=[{"name": "c", "image": "i", "resources": resources}]))
        assert {"key": "example.com/gpu", "operator": "Exists"} in made.body["spec"]["tolerations"]


async def test_a_namespaces_pods_go_to_its_nodes(tmp_path: Path) -> None:
    configs = {
        "PodNodeSelector": {
            "podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "env=test", "default": "env=test,disk=ssd"}
        }
    }
    async with with_plugins("PodNodeSelector", configs=configs, folder=tmp_path) as call:
        made = await call("POST", PODS, pod("a", nodeSelector={"disk": "ssd"}))
        assert made.body["spec"]["nodeSelector"] == {"env": "test", "disk": "ssd"}
        refused = await call("POST", PODS, pod("b", nodeSelector={"disk": "hdd"}))
        assert refused.body["message"].endswith("pod node label selector labels conflict with its namespace whitelist")
        await annotate(call, node_selector="env=prod")
        refused = await call("POST", PODS, pod("b", nodeSelector={"env": "test"}))
        assert refused.body["message"].endswith("pod node label selector conflicts with its namespace node label selector")


async def test_a_namespaces_pods_tolerate_what_it_says(tmp_path: Path) -> None:
    own, other = {"key": "own", "operator": "Exists"}, {"key": "other", "operator": "Exists"}
    async with with_plugins("PodTolerationRestriction") as call:
        await annotate(call, defaultTolerations=json.dumps([own]))
        made = await call("POST", PODS, pod("a"))
        assert own in made.body["spec"]["tolerations"]
        await annotate(call, tolerationsWhitelist=json.dumps([own, {"operator": "Exists", "effect": "NoExecute"}]))
        assert (await call("POST", PODS, pod("b"))).code == 201
        refused = await call("POST", PODS, pod("c", tolerations=[other]))
        assert refused.code == 403 and "conflict with its namespace whitelist" in refused.body["message"]


def test_of_tolerations_that_cover_each_other_the_widest_stays() -> None:
    narrow, wide = {"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"}, {"key": "a", "operator": "Exists"}
    assert merged([narrow], [wide]) == [wide] == merged([wide], [narrow, wide])
    brief = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    assert not covers(brief, {**brief, "tolerationSeconds": 9}) and covers(brief, {**brief, "tolerationSeconds": 1})


@pytest.mark.parametrize("text", ["a", "a,b=c"])
def test_a_node_selector_is_made_of_equalities(text: str) -> None:
    with pytest.raises(ValueError, match="invalid selector"):
        labels_of(text)


@pytest.mark.parametrize(
    ("requests", "os", "cause"),
    [
        ({"cpu": "2"}, "linux", None),
        ({"cpu": "5", "memory": "1Gi"}, "linux", "NodeCapacity"),
        ({"cpu": "2"}, "windows", "UnsupportedPlatform"),
    ],
)
async def test_a_pod_is_resized_within_its_node(requests: dict[str, str], os: str, cause: str | None) -> None:
    async with cluster() as call:
        await call("POST", "/api/v1/nodes", {"metadata": {"name": "n1", "labels": {"kubernetes.io/os": os}}})
        status = {
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "capacity": {"cpu": "4", "memory": "8Gi"}}
        }
        await call("PATCH", "/api/v1/nodes/n1/status", status, media=MERGE)
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
        assert (await call("POST", PODS, pod(containers=[container], nodeName="n1"))).code == 201
        change = {"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}
        got = await call("PATCH", f"{PODS}/p/resize", change, media="application/strategic-merge-patch+json")
        assert got.code == (403 if cause else 200)
        if cause == "NodeCapacity":
            assert got.body["message"].endswith(
                "Node didn't have enough allocatable resources: cpu, requested: 5000, allocatable: 4000"
            )
        if cause:
            assert got.body["details"]["causes"] == [{"reason": cause}]


# --- services, owners, events -------------------------------------------------------------------------------------------------------


async def test_external_ips_stay_and_do_not_come() -> None:
    services = "/api/v1/namespaces/default/services"
    async with with_plugins("DenyServiceExternalIPs") as call:
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["1.2.3.4"]}}
        got = await call("POST", services, service)
        assert got.code == 403 and got.body["message"].endswith("Use of external IPs is denied by admission control")


async def test_only_who_may_delete_an_object_says_whose_it_is() -> None:
    async with with_plugins("OwnerReferencesPermissionEnforcement") as call:
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update"]}
        role = {"metadata": {"name": "r"}, "rules": [rule]}
        await call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
        binding = {
            "metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        }  # fmt: skip
        await call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        jane, path = acting(call, "jane"), "/api/v1/namespaces/default/configmaps"
        assert (await jane("POST", path, {"metadata": {"name": "a"}})).code == 201
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u", "blockOwnerDeletion": True}
        owned = {"metadata": {"name": "b", "ownerReferences": [owner]}}
        refused = await jane("POST", path, owned)
        assert refused.code == 403 and "cannot set an ownerRef on a resource you can't delete: " in refused.body["message"]
        rule["verbs"].append("delete")
        await call("PUT", "/apis/rbac.authorization.k8s.io/v1/clusterroles/r", role)
        refused = await jane("POST", path, owned)
        assert "an ownerReference refers to a resource you can't set finalizers on" in refused.body["message"]
        assert (await call("POST", path, owned)).code == 201


async def test_events_come_only_so_fast(tmp_path: Path) -> None:
    limits = {"EventRateLimit": {"limits": [{"type": "Namespace", "qps": 1, "burst": 2}]}}
    clock = VirtualClock()
    async with with_plugins("EventRateLimit", configs=limits, folder=tmp_path, clock=clock) as call:

        async def event(name: str) -> int:
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            body = {"metadata": {"name": name}, "involvedObject": about, "reason": "R", "type": "Normal"}
            return (await call("POST", "/api/v1/namespaces/default/events", body)).code

        assert [await event(f"e{n}") for n in range(3)] == [201, 201, 429]
        await clock.advance(1)
        assert [await event(f"f{n}") for n in range(2)] == [201, 429]


# --- configurations -----------------------------------------------------------------------------------------------------------------


async def test_pod_security_is_configured_for_namespaces_that_do_not_say(tmp_path: Path) -> None:
    configs = {
        "PodSecurity": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": {"enforce": "baseline"}, "exemptions": {"namespaces": ["kube-system"], "usernames": ["jane"]},
        }
    }  # fmt: skip
    async with with_plugins(configs=configs, folder=tmp_path) as call:
        refused = await call("POST", PODS, pod(hostNetwork=True))
        assert 'violates PodSecurity "baseline:latest"' in refused.body["message"]
        labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
        await call("PATCH", "/api/v1/namespaces/default", labels, media=MERGE)
        assert (await call("POST", PODS, pod(hostNetwork=True))).code == 201


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Other", "want an AdmissionConfiguration"),
        ("a: [", "expected the node content"),
        (
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: X}]",
            "want an object in `configuration`",
        ),
    ],
)
def test_a_configuration_that_says_nothing_is_an_error_of_one_line(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=told) as caught:
        config.load(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


async def test_plugins_that_take_no_configuration_and_unknown_ones_say_so() -> None:
    async with cluster() as call:
        with pytest.raises(ValueError, match="admission plugin Priority takes no configuration"):
            chain.build(call.server, configs={"Priority": {}})
        with pytest.raises(ValueError, match='plugin "Nope" is unknown'):
            chain.build(call.server, configs={"Nope": {}})
        with pytest.raises(ValueError, match="EventRateLimit: limits must not be empty"):
            chain.build(call.server, enable=["EventRateLimit"])


# --- ResourceQuota ------------------------------------------------------------------------------------------------------------------


async def with_quota(call: Caller, hard: dict[str, str], **spec: Any) -> None:
    quotas = "/api/v1/namespaces/default/resourcequotas"
    got = await call("POST", quotas, {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})
    assert got.code == 201, got.body
    status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
    assert (await call("PATCH", f"{quotas}/q/status", status, media=MERGE)).code == 200


def limited(*entries: dict[str, Any]) -> dict[str, Any]:
    content = {"kind": "ResourceQuotaConfiguration", "apiVersion": "apiserver.config.k8s.io/v1", "limitedResources": entries}
    return {"ResourceQuota": content}


async def test_a_limited_priority_needs_a_quota_for_it(tmp_path: Path) -> None:
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    configs = limited({"resource": "pods", "matchScopes": [scope]})
    async with with_plugins(configs=configs, folder=tmp_path) as call:
        await call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "high"}, "value": 9})
        assert (await call("POST", PODS, pod("a"))).code == 201
        got = await call("POST", PODS, pod("b", priorityClassName="high"))
        why = "insufficient quota to match these scopes: [{PriorityClass In [high]}]"
        assert (got.code, got.body["message"]) == (403, f'pods "b" is forbidden: {why}')
        await with_quota(call, {"pods": "1"}, scopeSelector={"matchExpressions": [scope]})
        assert (await call("POST", PODS, pod("b", priorityClassName="high"))).code == 201
        assert (await call("POST", PODS, pod("c", priorityClassName="high"))).code == 403


async def test_a_limited_class_of_storage_needs_a_quota_for_it(tmp_path: Path) -> None:
    configs = limited(
        {"resource": "persistentvolumeclaims", "matchContains": ["gold.storageclass.storage.k8s.io/requests.storage"]}
    )
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"

    def claim(name: str, of: str) -> dict[str, Any]:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": of}
        return {"metadata": {"name": name}, "spec": spec}

    async with with_plugins(configs=configs, folder=tmp_path) as call:
        assert (await call("POST", claims, claim("a", "tin"))).code == 201
        got = await call("POST", claims, claim("b", "gold"))
        wanted = "insufficient quota to consume: gold.storageclass.storage.k8s.io/requests.storage"
        assert got.code == 403 and wanted in got.body["message"]
        await with_quota(call, {"gold.storageclass.storage.k8s.io/requests.storage": "2Gi"})
        assert (await call("POST", claims, claim("b", "gold"))).code == 201


async def test_devices_of_a_class_are_bounded() -> None:
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    def claim(name: str, **request: Any) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", **request}]}}}

    async with cluster() as call:
        await with_quota(call, {"gpu.deviceclass.resource.k8s.io/devices": "5", "count/resourceclaims.resource.k8s.io": "9"})
        assert (await call("POST", claims, claim("a", exactly={"deviceClassName": "gpu", "count": 2}))).code == 201
        either = [{"name": f"s{n}", "deviceClassName": of, "count": n} for n, of in ((1, "gpu"), (3, "gpu"), (7, "cpu"))]
        assert (await call("POST", claims, claim("b", firstAvailable=either))).code == 201
        for request in ({"count": 1}, {"allocationMode": "All"}):
            got = await call("POST", claims, claim("c", exactly={"deviceClassName": "gpu", **request}))
            assert got.code == 403 and "exceeded quota: q" in got.body["message"], got.body

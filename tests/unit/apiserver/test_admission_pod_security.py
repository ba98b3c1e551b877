from __future__ import annotations

from typing import Any

import pytest

from pilothouse.apiserver.admission.pod_security import Policy, policy_of
from pilothouse.apiserver.admission.pod_security_checks import evaluate

from .cluster_kit import PODS, cluster, pod

SAFE = {
    "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
MERGE = "application/merge-patch+json"


def spec(context: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "i", "securityContext": {**SAFE, **(context or {})}}], **more}


def found(level: str, version: int, wanted: dict[str, Any]) -> list[str]:
    return [str(v) for v in evaluate(level, version, {}, wanted)]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (spec({"capabilities": {"add": ["SYS_ADMIN"]}}), 'non-default capabilities (container "c" must not include "SYS_ADMIN" in '
         "securityContext.capabilities.add)"),
        (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (spec(securityContext={"sysctls": [{"name": "kernel.sem", "value": "1"}]}), "forbidden sysctls (kernel.sem)"),
        (spec({"seccompProfile": {"type": "Unconfined"}}), 'seccompProfile (container "c" must not set '
         'securityContext.seccompProfile.type to "Unconfined")'),
        (spec(securityContext={"seLinuxOptions": {"type": "bad_t", "user": "u"}}), "seLinuxOptions (pod set forbidden "
         'securityContext.seLinuxOptions: type "bad_t"; user may not be set)'),
    ],
)  # fmt: skip
def test_baseline_forbids_known_ways_out_of_a_container(wanted: dict[str, Any], text: str) -> None:
    assert found("baseline", 36, wanted) == [text]
    assert found("privileged", 36, wanted) == []


def test_restricted_wants_to_be_told_that_a_pod_is_harmless() -> None:
    assert found("restricted", 36, spec()) == []
    reasons = [v.reason for v in evaluate("restricted", 36, {}, {"containers": [{"name": "c"}]})]
    assert reasons == ["allowPrivilegeEscalation != false", "unrestricted capabilities", "runAsNonRoot != true", "seccompProfile"]


def test_what_the_pod_says_counts_for_its_containers() -> None:
    wanted = spec(securityContext={"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}})
    for key in ("runAsNonRoot", "seccompProfile"):
        del wanted["containers"][0]["securityContext"][key]
    assert found("restricted", 36, wanted) == []


def test_a_namespace_can_stay_with_the_rules_of_a_version() -> None:
    keepalive = spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}]})
    assert found("baseline", 25, keepalive) and not found("baseline", 36, keepalive)
    probe = spec()
    probe["containers"][0]["livenessProbe"] = {"httpGet": {"port": 1, "host": "10.0.0.1"}}
    assert found("baseline", 36, probe) and not found("baseline", 25, probe)


def test_labels_make_a_policy() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.25"}
    assert policy_of(labels, "enforce") == Policy("baseline", "v1.25")
    assert policy_of(labels, "warn") == Policy("baseline", "v1.25")
    assert policy_of({**labels, "pod-security.kubernetes.io/warn": "privileged"}, "warn").level == "privileged"
    assert policy_of({"pod-security.kubernetes.io/enforce": "bogus"}, "enforce").level == "restricted"


async def test_pods_are_refused_and_templates_warned_about() -> None:
    async with cluster() as call:
        labels = {"pod-security.kubernetes.io/enforce": "baseline"}
        await call("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": labels}}, media=MERGE)
        got = await call("POST", PODS, pod(hostNetwork=True))
        assert (
            got.body["message"]
            == 'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
        )
        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "hostNetwork": True},
        }
        body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
        got = await call("POST", "/apis/apps/v1/namespaces/default/deployments", body)
        assert got.code == 201 and "would violate PodSecurity" in got.headers["Warning"]


async def test_a_stricter_namespace_names_the_pods_that_would_not_be_let_in() -> None:
    async with cluster() as call:
        for name in ("a", "b"):
            await call("POST", PODS, pod(name, hostNetwork=True))
        labels = {"pod-security.kubernetes.io/enforce": "baseline"}
        got = await call("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": labels}}, media=MERGE)
        warnings = [value for key, value in got.response.headers if key == "Warning"]
        assert len(warnings) == 2 and "a (and 1 other pod): host namespaces" in warnings[1]


async def test_a_namespace_with_a_bad_level_is_invalid() -> None:
    async with cluster() as call:
        got = await call(
            "POST", "/api/v1/namespaces", {"metadata": {"name": "x", "labels": {"pod-security.kubernetes.io/warn": "high"}}}
        )
        assert (got.code, got.body["details"]["causes"][0]["field"]) == (422, "metadata.labels[pod-security.kubernetes.io/warn]")

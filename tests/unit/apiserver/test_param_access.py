"""Admission policies with parameters: only for those who may read the parameters."""

from __future__ import annotations

from typing import Any

import pytest

from .cluster_kit import acting, cluster
from .kit import Caller

GROUP = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MERGE = "application/merge-patch+json"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap"}
JANE = "&{jane  [devs ops system:authenticated] map[]}"


def rule(verbs: list[str], resource: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs, "resources": [resource], "apiGroups": [group], **more}


async def grant(call: Caller, *rules: dict[str, Any]) -> None:
    """What jane may do in the whole cluster, besides writing policies."""
    policies = rule(["create", "patch"], "*", "admissionregistration.k8s.io")
    body = {"metadata": {"name": "jane"}, "rules": [policies, *rules]}
    await call("POST", f"{RBAC}/clusterroles", body)
    await call("PUT", f"{RBAC}/clusterroles/jane", body)
    ref = {"kind": "ClusterRole", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    await call("POST", f"{RBAC}/clusterrolebindings", {"metadata": {"name": "jane"}, "roleRef": ref, "subjects": [subject]})


def policy(which: str, name: str = "p", kind: dict[str, str] | None = None) -> tuple[str, dict[str, Any]]:
    spec: dict[str, Any] = {"matchConstraints": {"resourceRules": [RULE]}, "paramKind": kind or CONFIG}
    if which == "validating":
        spec["validations"] = [{"expression": "true"}]
    else:
        spec["reinvocationPolicy"] = "Never"
        spec["mutations"] = [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/x'}]"}}]
    return f"{GROUP}/{which}admissionpolicies", {"metadata": {"name": name}, "spec": spec}


def binding(which: str, called: str, **ref: Any) -> tuple[str, dict[str, Any]]:
    spec: dict[str, Any] = {"policyName": "p", "paramRef": {"parameterNotFoundAction": "Allow", **ref}}
    if which == "validating":
        spec["validationActions"] = ["Deny"]
    return f"{GROUP}/{which}admissionpolicybindings", {"metadata": {"name": called}, "spec": spec}


@pytest.mark.parametrize("which", ["validating", "mutating"])
async def test_a_policy_needs_a_reader_of_all_its_parameters(which: str) -> None:
    async with cluster() as call:
        jane = acting(call, "jane")
        await grant(call, rule(["get"], "configmaps", resourceNames=["c"]))
        got = await jane("POST", *policy(which))
        assert (got.code, got.body["reason"]) == (422, "Invalid")
        cause = got.body["details"]["causes"][0]
        what = "(kind=ConfigMap, apiVersion=v1)"
        why = f'user {JANE} must have "get" permission on all objects of the referenced paramKind {what}'
        assert (cause["reason"], cause["field"]) == ("FieldValueForbidden", "spec.paramKind")
        assert cause["message"] == f"Forbidden: {why}"
        await grant(call, rule(["get"], "configmaps"))
        assert (await jane("POST", *policy(which))).code == 201
        await grant(call)
        path = f"{policy(which)[0]}/p"
        same = {"metadata": {"labels": {"a": "b"}}, "spec": {"paramKind": CONFIG}}
        assert (await jane("PATCH", path, same, media=MERGE)).code == 200
        other = {"spec": {"paramKind": {"kind": "Secret"}}}
        assert (await jane("PATCH", path, other, media=MERGE)).code == 422


async def test_parameters_of_an_unknown_kind_need_a_reader_of_their_whole_group() -> None:
    async with cluster() as call:
        jane = acting(call, "jane")
        kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
        await grant(call, rule(["get"], "limits", "example.com"))
        assert (await jane("POST", *policy("validating", kind=kind))).code == 422
        await grant(call, rule(["get"], "*", "example.com"))
        assert (await jane("POST", *policy("validating", kind=kind))).code == 201


@pytest.mark.parametrize("which", ["validating", "mutating"])
async def test_a_binding_needs_a_reader_of_what_it_refers_to(which: str) -> None:
    async with cluster() as call:
        jane = acting(call, "jane")
        await grant(call, rule(["get"], "configmaps", resourceNames=["mine"]))
        assert (await jane("POST", *binding(which, "early", name="mine", namespace="default"))).code == 422, "no policy: any kind"
        assert (await call("POST", *policy(which))).code == 201
        assert (await jane("POST", *binding(which, "mine", name="mine", namespace="default"))).code == 201
        got = await jane("POST", *binding(which, "other", name="other", namespace="default"))
        cause = got.body["details"]["causes"][0]
        assert (got.code, cause["field"]) == (422, "spec.paramRef")
        assert cause["message"].endswith("permission on the object referenced by paramRef")
        chosen = binding(which, "chosen", selector={"matchLabels": {"a": "b"}})
        assert (await jane("POST", *chosen)).code == 422
        await grant(call, rule(["list" if which == "mutating" else "get"], "configmaps"))
        assert (await jane("POST", *chosen)).code == 201


async def test_whoever_may_do_everything_is_not_asked() -> None:
    async with cluster(authorization_modes=("AlwaysDeny",)) as call:
        assert (await call("POST", *policy("validating"))).code == 201
        assert (await call("POST", *binding("validating", "b", name="x", namespace="default"))).code == 201

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.authz import modes
from pilothouse.apiserver.authz.rules import allows, compact, text, uncovered
from pilothouse.apiserver.interface import Attributes, User

from .cluster_kit import PODS, acting, cluster, pod

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES, BINDINGS = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"
BOB = User("bob")


def rule(verbs: str, resources: str, groups: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": groups.split(",") if groups else [""], **more}


def asks(verb: str, resource: str, name: str = "", group: str = "", sub: str = "") -> Attributes:
    return Attributes(BOB, verb, group, "v1", resource, sub, "default", name)


@pytest.mark.parametrize(
    ("granted", "asked", "expected"),
    [
        (rule("get", "pods"), asks("get", "pods"), True),
        (rule("get", "pods"), asks("list", "pods"), False),
        (rule("*", "pods"), asks("list", "pods"), True),
        (rule("get", "*"), asks("get", "secrets"), True),
        (rule("get", "pods"), asks("get", "pods", sub="log"), False),
        (rule("get", "pods/log"), asks("get", "pods", sub="log"), True),
        (rule("update", "*/scale"), asks("update", "deployments", sub="scale"), True),
        (rule("get", "pods", "apps"), asks("get", "pods"), False),
        (rule("get", "pods", "*"), asks("get", "pods", group="metrics.k8s.io"), True),
        (rule("get", "pods", resourceNames=["a"]), asks("get", "pods", "a"), True),
        (rule("get", "pods", resourceNames=["a"]), asks("get", "pods", "b"), False),
        (rule("list", "pods", resourceNames=["a"]), asks("list", "pods"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}, Attributes(BOB, "get", path="/healthz/etcd"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}, Attributes(BOB, "get", path="/healthz"), False),
    ],
)
def test_a_rule_permits_what_it_names(granted: dict[str, Any], asked: Attributes, expected: bool) -> None:
    assert allows(granted, asked) is expected


def test_what_is_not_covered_is_told_one_thing_a_line() -> None:
    missing = uncovered([rule("get", "pods")], [rule("get list watch", "pods"), rule("get", "secrets")])
    lines = [text(r) for r in compact(missing)]
    assert lines == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["list", "watch"]}',
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}',
    ]


_WORDS = st.lists(st.sampled_from(["get", "list", "watch", "*"]), min_size=1, max_size=3, unique=True)
_THINGS = st.lists(st.sampled_from(["pods", "secrets", "pods/log", "*"]), min_size=1, max_size=3, unique=True)
_RULES = st.builds(lambda v, r: {"verbs": v, "resources": r, "apiGroups": [""]}, _WORDS, _THINGS)


@given(_RULES)
def test_every_rule_covers_itself(wanted: dict[str, Any]) -> None:
    assert uncovered([wanted], [wanted]) == []


@given(_RULES, _RULES)
def test_what_is_covered_is_also_allowed(held: dict[str, Any], wanted: dict[str, Any]) -> None:
    if uncovered([held], [wanted]):
        return
    for verb in ("get", "list", "watch", "delete"):
        for resource in ("pods", "secrets", "pods/log", "nodes"):
            plural, _, sub = resource.partition("/")
            if allows(wanted, asks(verb, plural, sub=sub)):
                assert allows(held, asks(verb, plural, sub=sub))


def test_modes_are_checked_by_name() -> None:
    assert modes.parse_modes("Node,RBAC") == ("Node", "RBAC")
    for bad in ("", "Nope", "RBAC,RBAC", "Webhook"):
        with pytest.raises(ValueError):
            modes.parse_modes(bad)


async def grant(call: Any, user: str, *rules: dict[str, Any], name: str = "r") -> None:
    got = await call("POST", ROLES, {"metadata": {"name": name}, "rules": list(rules)})
    assert got.code == 201, got.body
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    got = await call("POST", BINDINGS, {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]})
    assert got.code == 201, got.body


async def test_a_user_may_nothing_until_a_binding_says_so_and_again_after_it_is_gone() -> None:
    async with cluster() as call:
        jane = acting(call, "jane")
        got = await jane("GET", PODS)
        assert got.code == 403
        assert got.body["message"] == (
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
        )
        await grant(call, "jane", rule("list", "pods"))
        assert (await jane("GET", PODS)).code == 200
        assert (await jane("GET", "/api/v1/pods")).code == 403
        await call("DELETE", f"{BINDINGS}/r")
        assert (await jane("GET", PODS)).code == 403


async def test_a_changed_role_counts_at_once() -> None:
    async with cluster() as call:
        await grant(call, "jane", rule("list", "pods"))
        assert (await acting(call, "jane")("GET", PODS)).code == 200
        await call("PUT", f"{ROLES}/r", {"metadata": {"name": "r"}, "rules": [rule("list", "secrets")]})
        assert (await acting(call, "jane")("GET", PODS)).code == 403


async def test_rules_for_single_objects_share_a_decision_but_not_an_answer() -> None:
    async with cluster() as call:
        await grant(call, "jane", rule("get", "configmaps", resourceNames=["a"]))
        jane = acting(call, "jane")
        base = "/api/v1/namespaces/default/configmaps"
        assert [(await jane("GET", f"{base}/{n}")).code for n in ("a", "b", "a")] == [404, 403, 404]


async def test_a_binding_to_a_missing_role_is_named_in_the_refusal() -> None:
    async with cluster() as call:
        subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
        ref = {"kind": "ClusterRole", "name": "gone", "apiGroup": "rbac.authorization.k8s.io"}
        await call("POST", BINDINGS, {"metadata": {"name": "b"}, "roleRef": ref, "subjects": [subject]})
        got = await acting(call, "jane")("GET", PODS)
        assert got.body["message"].endswith(': RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found')


async def test_nobody_gives_away_what_they_do_not_have() -> None:
    async with cluster() as call:
        await grant(call, "jane", rule("*", "roles rolebindings", "rbac.authorization.k8s.io"), rule("get", "pods"))
        await call("DELETE", f"{BINDINGS}/none")
        await call("PUT", f"{ROLES}/r", {"metadata": {"name": "r"}, "rules": [
            rule("create update", "roles rolebindings", "rbac.authorization.k8s.io"), rule("get", "pods")]})  # fmt: skip
        jane = acting(call, "jane")
        assert (await jane("POST", ROLES, {"metadata": {"name": "ok"}, "rules": [rule("get", "pods")]})).code == 201
        got = await jane("POST", ROLES, {"metadata": {"name": "no"}, "rules": [rule("get list", "pods")]})
        assert got.code == 403
        assert got.body["message"].endswith('not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["list"]}')
        ref = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
        got = await jane("POST", BINDINGS, {"metadata": {"name": "no"}, "roleRef": ref})
        assert got.code == 403 and '{NonResourceURLs:["*"], Verbs:["*"]}' in got.body["message"]


async def test_escalate_and_bind_lift_the_check() -> None:
    async with cluster() as call:
        group = "rbac.authorization.k8s.io"
        await grant(call, "jane", rule("create escalate", "roles", group), rule("create", "rolebindings", group),
                    rule("bind", "clusterroles", group, resourceNames=["cluster-admin"]))  # fmt: skip
        jane = acting(call, "jane")
        assert (await jane("POST", ROLES, {"metadata": {"name": "any"}, "rules": [rule("*", "*", "*")]})).code == 201
        ref = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": group}
        assert (await jane("POST", BINDINGS, {"metadata": {"name": "b"}, "roleRef": ref})).code == 201


async def test_anonymous_sees_health_and_version_only() -> None:
    async with cluster() as call:
        nobody = acting(call, "")
        codes = {
            p: (await nobody("GET", p, headers={"authorization": ""})).code for p in ("/readyz", "/version", "/api", "/metrics")
        }
        assert codes == {"/readyz": 200, "/version": 200, "/api": 403, "/metrics": 403}


async def test_a_kubelet_reads_only_what_its_pods_need() -> None:
    async with cluster() as call:
        env = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
        await call("POST", PODS, pod("mine", nodeName="n1", containers=[{"name": "c", "image": "i", "env": env}]))
        await call("POST", PODS, pod("other", nodeName="n2"))
        for name in ("s", "t"):
            await call("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": name}})
        kubelet = acting(call, "n1")
        base = "/api/v1/namespaces/default"
        codes = {
            p: (await kubelet("GET", base + p)).code
            for p in ("/secrets/s", "/secrets/t", "/pods/mine", "/pods/other", "/secrets")
        }
        assert codes == {"/secrets/s": 200, "/secrets/t": 403, "/pods/mine": 200, "/pods/other": 403, "/secrets": 403}
        assert (await kubelet("GET", "/api/v1/pods", query={"fieldSelector": "spec.nodeName=n1"})).code == 200
        assert (await kubelet("GET", "/api/v1/pods")).code == 403


async def test_reviews_say_why() -> None:
    async with cluster() as call:
        body = {
            "spec": {
                "user": "system:kube-scheduler",
                "resourceAttributes": {"verb": "create", "resource": "pods", "subresource": "binding"},
            }
        }
        got = await call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        assert got.body["status"] == {
            "allowed": True,
            "reason": 'RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" '
            'to User "system:kube-scheduler"',
        }
        got = await acting(call, "jane")("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                                         {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})  # fmt: skip
        assert got.body["status"] == {"allowed": False}


async def test_ones_own_rules_can_be_listed() -> None:
    async with cluster() as call:
        await grant(call, "jane", rule("list", "pods"))
        got = await acting(call, "jane")(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
        )
        assert {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]} in got.body["status"]["resourceRules"]
        assert any("/version" in r["nonResourceURLs"] for r in got.body["status"]["nonResourceRules"])

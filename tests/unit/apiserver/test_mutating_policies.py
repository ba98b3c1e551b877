"""MutatingAdmissionPolicy: what policies and their bindings change."""

from __future__ import annotations

from typing import Any

import pytest

from .cluster_kit import PODS, cluster, pod
from .kit import Caller
from .test_admission_policies import LIMITS, limit, limits
from .webhook_kit import Obj, configure, hooks, patch, webhook

GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
APPLY = "application/apply-patch+yaml"


def apply(expression: str) -> Obj:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patches(expression: str) -> Obj:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def label(key: str, value: str = "'1'") -> Obj:
    return apply(f"Object{{metadata: Object.metadata{{labels: {{'{key}': {value}}}}}}}")


async def policy(
    call: Caller, *mutations: Obj, name: str = "p", rule: Obj = RULE, binding: Obj | None = None, **spec: Any
) -> None:
    body = {"matchConstraints": {"resourceRules": [rule]}, "mutations": list(mutations), "reinvocationPolicy": "Never", **spec}
    got = await call("POST", f"{GROUP}/mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": body})
    assert got.code == 201, got.body
    bound = {"policyName": name, **(binding or {})}
    got = await call("POST", f"{GROUP}/mutatingadmissionpolicybindings", {"metadata": {"name": f"{name}-b"}, "spec": bound})
    assert got.code == 201, got.body


def config(name: str = "a", **metadata: Any) -> Obj:
    return {"metadata": {"name": name, **metadata}, "data": {"k": "v"}}


async def test_a_configuration_is_merged_by_the_rules_of_the_kind_and_nobody_owns_it() -> None:
    async with cluster() as call:
        rule = {**RULE, "resources": ["pods"], "operations": ["CREATE"]}
        side = "Object.spec.containers{name: 'side', image: 'proxy:1'}"
        more = "Object.spec.containers{name: 'c', env: [Object.spec.containers.env{name: 'A', value: 'b'}]}"
        await policy(call, apply(f"Object{{spec: Object.spec{{containers: [{side}, {more}]}}}}"), rule=rule)
        made = (await call("POST", PODS, pod())).body
        found = {c["name"]: c for c in made["spec"]["containers"]}
        assert set(found) == {"c", "side"}
        assert found["c"]["image"] == "nginx" and found["c"]["env"] == [{"name": "A", "value": "b"}]
        assert found["side"]["imagePullPolicy"] == "IfNotPresent"
        assert found["side"]["volumeMounts"]  # built-in plugins saw it, too
        owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:containers"]
        assert list(owned) == ['k:{"name":"c"}']


async def test_each_mutation_sees_what_those_before_it_made() -> None:
    async with cluster() as call:
        count = patches("[JSONPatch{op: 'add', path: '/data/n', value: string(size(object.metadata.labels))}]")
        await policy(call, label("a"), label("b", "variables.x"), count, variables=[{"name": "x", "expression": "'v' + 'x'"}])
        made = (await call("POST", MAPS, config())).body
        assert made["metadata"]["labels"] == {"a": "1", "b": "vx"}
        assert made["data"] == {"k": "v", "n": "2"}


async def test_json_patches_are_carried_out_on_updates_and_applied_objects_too() -> None:
    async with cluster() as call:
        key = "'/metadata/annotations/' + jsonpatch.escapeKey('a.b/c')"
        first = "JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}"
        await policy(call, patches(f"[{first}, JSONPatch{{op: 'add', path: {key}, value: request.operation}}]"))
        applied = {"apiVersion": "v1", "kind": "ConfigMap", **config()}
        for operation in ("CREATE", "UPDATE"):
            got = await call("PATCH", f"{MAPS}/a", applied, media=APPLY, query={"fieldManager": "m"})
            assert got.body["metadata"]["annotations"] == {"a.b/c": operation}


async def test_policies_run_in_the_order_of_their_names_and_again_where_they_want_to() -> None:
    for again, seen in (("IfNeeded", "2"), ("Never", "1")):
        async with cluster() as call:
            await policy(call, label("b"), name="z")
            count = patches("[JSONPatch{op: 'add', path: '/data/n', value: string(size(object.metadata.labels))}]")
            await policy(call, count, name="a", reinvocationPolicy=again)
            assert (await call("POST", MAPS, config(labels={"x": "y"}))).body["data"]["n"] == seen


async def test_policies_see_again_what_webhooks_changed_after_them() -> None:
    async with (
        cluster() as call,
        hooks(mark=lambda r: patch(r, {"op": "add", "path": "/data/hook", "value": "1"})) as server,
    ):
        await configure(call, "mutating", webhook(server.client("/mark")))
        saw = apply("Object{metadata: Object.metadata{labels: {'saw': string('hook' in object.data)}}}")
        await policy(call, saw, reinvocationPolicy="IfNeeded")
        assert (await call("POST", MAPS, config())).body["metadata"]["labels"] == {"saw": "true"}
        assert len(server.asked) == 1


async def test_conditions_and_bindings_say_which_requests_are_changed() -> None:
    async with cluster() as call:
        condition = {"name": "c", "expression": "object.metadata.name != 'not'"}
        binding = {"matchResources": {"objectSelector": {"matchLabels": {"l": "1"}}}}
        await policy(call, label("done"), matchConditions=[condition], binding=binding)
        assert "done" in (await call("POST", MAPS, config(labels={"l": "1"}))).body["metadata"]["labels"]
        assert "done" not in (await call("POST", MAPS, config("not", labels={"l": "1"}))).body["metadata"]["labels"]
        assert "labels" not in (await call("POST", MAPS, config("b"))).body["metadata"]


async def test_a_policy_is_carried_out_with_each_of_its_parameters() -> None:
    async with cluster() as call:
        await limits(call)
        for name in ("a", "b"):
            assert (await call("POST", LIMITS, limit(name, labels={"x": "y"}))).code == 201
        ref = {"selector": {"matchLabels": {"x": "y"}}, "parameterNotFoundAction": "Deny"}
        kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
        key = "Object{metadata: Object.metadata{labels: {params.metadata.name: '1'}}}"
        await policy(call, apply(key), paramKind=kind, binding={"paramRef": ref})
        assert (await call("POST", MAPS, config())).body["metadata"]["labels"] == {"a": "1", "b": "1"}


async def test_an_equivalent_resource_is_changed_in_the_version_of_the_rule() -> None:
    async with cluster() as call:
        await limits(call)
        rule = {**RULE, "apiGroups": ["example.com"], "resources": ["limits"]}
        seen = "Object{metadata: Object.metadata{labels: {'seen': object.apiVersion.split('/')[1]}}}"
        await policy(call, apply(seen), rule=rule)
        got = await call("POST", LIMITS.replace("v1", "v2"), limit("a", "v2"))
        assert (got.body["apiVersion"], got.body["metadata"]["labels"], got.body["max"]) == ("example.com/v2", {"seen": "v1"}, 2)


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (label("a", "object.nope"), "expression 'Object{metadata: Object.metadata{labels: {'a': object.nope}}}' resulted in error: no such key: nope"),
        (patches("[JSONPatch{op: 'remove', path: '/data/none'}]"), 'JSONPath: remove operation does not apply: doc is missing path: "/data/none": missing value'),
        (apply("Object{metadata: Object.spec{}}"), 'type mismatch: unexpected type name "Object.spec", expected "Object.metadata", which matches field name path from root Object type'),
        (apply("Object{bogus: 1}"), "error applying patch: failed to convert patch object to typed object: .bogus: field not declared in schema"),
        (apply("Object{metadata: Object.metadata{ownerReferences: []}, data: {'a': 'b'}}"), ""),
    ],
)  # fmt: skip
async def test_what_cannot_be_carried_out_refuses_unless_failures_are_ignored(mutation: Obj, why: str) -> None:
    for failure in ("Fail", "Ignore"):
        async with cluster() as call:
            await policy(call, mutation, failurePolicy=failure)
            got = await call("POST", MAPS, config())
            if not why or failure == "Ignore":
                assert got.code == 201, got.body
                continue
            assert (got.code, got.body["reason"]) == (403, "Invalid")
            assert got.body["message"] == f"policy 'p' with binding 'p-b' denied request: {why}"


async def test_what_is_owned_as_a_whole_cannot_be_merged() -> None:
    async with cluster() as call:
        rule = {**RULE, "resources": ["pods"], "operations": ["CREATE"]}
        await policy(call, apply("Object{spec: Object.spec{nodeSelector: {'a': 'b'}}}"), rule=rule)
        told = (await call("POST", PODS, pod())).body["message"]
        assert told.endswith("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.nodeSelector")


async def test_a_mutation_that_cannot_be_carried_out_keeps_no_other_from_it() -> None:
    async with cluster() as call:
        await policy(
            call, label("a"), patches("[JSONPatch{op: 'remove', path: '/data/none'}]"), label("b"), failurePolicy="Ignore"
        )
        assert (await call("POST", MAPS, config())).body["metadata"]["labels"] == {"a": "1", "b": "1"}


async def test_a_patch_whose_test_does_not_hold_changes_nothing() -> None:
    test = "JSONPatch{op: 'test', path: '/data/k', value: object.metadata.name}"
    async with cluster() as call:
        await policy(call, patches(f"[{test}, JSONPatch{{op: 'add', path: '/data/x', value: 'y'}}]"))
        assert (await call("POST", MAPS, config("a"))).body["data"] == {"k": "v"}
        assert (await call("POST", MAPS, config("v"))).body["data"] == {"k": "v", "x": "y"}


async def test_a_patch_may_not_add_fields_that_a_built_in_kind_does_not_have() -> None:
    async with cluster() as call:
        await policy(call, patches("[JSONPatch{op: 'add', path: '/bogus', value: 1}]"))
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["message"]) == (500, 'Internal error occurred: strict decoding error: unknown field "bogus"')


async def test_mutations_are_counted() -> None:
    async with cluster() as call:
        await policy(call, label("a"), label("b", "string(object.nope)"), failurePolicy="Ignore")
        assert (await call("POST", MAPS, config())).code == 201
        text = (await call("GET", "/metrics")).body
        for error in ("no_error", "invalid_error"):
            labels = f'error_type="{error}",policy="p",policy_binding="p-b"'
            assert f"apiserver_mutating_admission_policy_check_total{{{labels}}} 1" in text
            assert f"apiserver_mutating_admission_policy_check_duration_seconds_count{{{labels}}} 1" in text


async def test_parameters_of_an_unknown_kind_are_the_fault_of_the_policy() -> None:
    async with cluster() as call:
        await policy(call, label("a"), paramKind={"apiVersion": "example.com/v1", "kind": "Nope"})
        got = await call("POST", MAPS, config())
        assert got.body["message"].startswith('policy "p" denied request: failed to configure policy: ')

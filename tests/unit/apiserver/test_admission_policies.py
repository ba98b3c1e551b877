"""ValidatingAdmissionPolicy: what policies and their bindings let in."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.apiserver.interface import AdmissionRequest, User

from .cluster_kit import cluster
from .kit import Caller

GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"


async def policy(call: Caller, *validations: dict[str, Any], actions: tuple[str, ...] = ("Deny",), **spec: Any) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    body = {"matchConstraints": {"resourceRules": [rule]}, "validations": list(validations), **spec}
    got = await call("POST", f"{GROUP}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": body})
    assert got.code == 201, got.body
    binding = {"policyName": "p", "validationActions": list(actions)}
    got = await call("POST", f"{GROUP}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": binding})
    assert got.code == 201, got.body


def config(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


DENY = {"expression": "!has(object.data) || !('deny' in object.data)", "message": "denied by data"}
WHO = "ValidatingAdmissionPolicy 'p' with binding 'b'"


async def test_a_policy_refuses_creates_and_updates_that_break_it() -> None:
    async with cluster() as call:
        await policy(call, DENY)
        got = await call("POST", MAPS, config("a", deny="x"))
        assert (got.code, got.body["reason"]) == (422, "Invalid")
        assert got.body["message"] == f'configmaps "a" is forbidden: {WHO} denied request: denied by data'
        assert (await call("POST", MAPS, config("a", x="1"))).code == 201
        assert (await call("PATCH", f"{MAPS}/a", {"data": {"deny": "1"}}, media=MERGE)).code == 422
        assert (await call("DELETE", f"{MAPS}/a")).code == 200


async def test_the_reason_decides_the_code_and_an_expression_the_message() -> None:
    async with cluster() as call:
        rule = {"expression": "object.data.v != '3'", "reason": "Forbidden", "messageExpression": "'v=' + object.data.v"}
        await policy(call, rule)
        got = await call("POST", MAPS, config("a", v="3"))
        assert got.code == 403
        assert got.body["message"].endswith("denied request: v=3")


async def test_an_expression_without_a_value_refuses_unless_failures_are_ignored() -> None:
    for failure, code in (("Fail", 422), ("Ignore", 201)):
        async with cluster() as call:
            await policy(call, {"expression": "object.data.v == 'ok'"}, failurePolicy=failure)
            got = await call("POST", MAPS, {"metadata": {"name": "a"}})
            assert got.code == code
            if code == 422:
                assert got.body["message"].endswith("expression 'object.data.v == 'ok'' resulted in error: no such key: data")


async def test_conditions_say_which_requests_a_policy_is_for() -> None:
    async with cluster() as call:
        await policy(call, DENY, matchConditions=[{"name": "c", "expression": "has(object.data.must)"}])
        assert (await call("POST", MAPS, config("a", deny="1"))).code == 201
        assert (await call("POST", MAPS, config("b", deny="1", must="1"))).code == 422


async def test_variables_are_evaluated_when_they_are_asked_for() -> None:
    async with cluster() as call:
        variables = [
            {"name": "n", "expression": "object.data.size()"},
            {"name": "never", "expression": "1 / (variables.n - variables.n)"},
        ]
        await policy(call, {"expression": "variables.n < 3 || variables.never > 0"}, variables=variables)
        assert (await call("POST", MAPS, config("a", x="1"))).code == 201
        got = await call("POST", MAPS, config("b", x="1", y="2", z="3"))
        assert got.body["message"].endswith('composited variable "never" fails to evaluate: division by zero')


async def test_a_warning_lets_the_request_in() -> None:
    async with cluster() as call:
        await policy(call, DENY, actions=("Warn",))
        assert (await call("POST", MAPS, config("a", deny="x"))).code == 201


async def test_match_rules_say_what_they_mean_by_default() -> None:
    async with cluster() as call:
        await policy(call, DENY)
        spec = (await call("GET", f"{GROUP}/validatingadmissionpolicies/p")).body["spec"]
        assert spec["failurePolicy"] == "Fail"
        assert spec["matchConstraints"]["matchPolicy"] == "Equivalent"
        assert spec["matchConstraints"]["resourceRules"][0]["scope"] == "*"


async def test_webhooks_say_what_they_mean_by_default() -> None:
    async with cluster() as call:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        config = {"service": {"namespace": "default", "name": "s"}}
        webhook = {
            "name": "a.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [rule],
            "clientConfig": config,
        }
        body = {"metadata": {"name": "w"}, "webhooks": [webhook]}
        got = (await call("POST", f"{GROUP}/mutatingwebhookconfigurations", body)).body["webhooks"][0]
        assert (got["failurePolicy"], got["matchPolicy"], got["timeoutSeconds"], got["reinvocationPolicy"]) == (
            "Fail",
            "Equivalent",
            10,
            "Never",
        )
        assert got["rules"][0]["scope"] == "*" and got["clientConfig"]["service"]["port"] == 443


async def test_expressions_may_ask_what_users_and_service_accounts_may_do() -> None:
    async with cluster() as call:
        await policy(
            call,
            {
                "expression": "!has(object.data.r0) || !authorizer.group('').resource('pods').namespace('default').check('get').allowed()"
            },
            {
                "expression": "!has(object.data.r1) || !authorizer.serviceAccount('default', 'no').group('').resource('pods').check('get').allowed()"
            },
            {"expression": "!has(object.data.r2) || !authorizer.requestResource.check('delete').allowed()"},
            {"expression": "!has(object.data.r3) || !authorizer.path('/healthz').check('get').allowed()"},
        )
        codes = [(await call("POST", MAPS, config(f"a{n}", **{f"r{n}": ""}))).code for n in range(4)]
        assert codes == [422, 201, 422, 422]


async def test_policies_and_bindings_with_faults_are_told_them() -> None:
    async with cluster() as call:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}

        async def told(**spec: Any) -> list[tuple[str, str]]:
            body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [rule]}, **spec}}
            got = await call("POST", f"{GROUP}/validatingadmissionpolicies", body)
            return [(c["field"], c["message"]) for c in got.body["details"]["causes"]]

        at = "spec.validations[0].expression"
        assert await told(validations=[{"expression": "1"}]) == [(at, 'Invalid value: "1": must evaluate to bool but got int')]
        [(field, message)] = await told(validations=[{"expression": "request.nope == 1"}])
        assert field == at and "<input>:1:8: undefined field 'nope'" in message
        [(field, message)] = await told(validations=[{"expression": "params.x == 1"}])
        assert "undeclared reference to 'params'" in message
        binding = {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny", "Deny"]}}
        got = await call("POST", f"{GROUP}/validatingadmissionpolicybindings", binding)
        assert [c["field"] for c in got.body["details"]["causes"]] == ["spec.validationActions[1]"]


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LIMITS = "/apis/example.com/v1/namespaces/default/limits"


async def limits(call: Caller) -> None:
    """A kind of parameters, in two versions."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": f"v{n}", "served": True, "storage": n == 1, "schema": schema} for n in (1, 2)]
    names = {"plural": "limits", "kind": "Limit"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions}
    assert (await call("POST", CRDS, {"metadata": {"name": "limits.example.com"}, "spec": spec})).code == 201
    async with asyncio.timeout(10):
        while (await call("GET", LIMITS)).code != 200:
            await asyncio.sleep(0)


def limit(name: str, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{version}", "kind": "Limit", "metadata": {"name": name, **metadata}, "max": 2}


async def test_a_rule_for_one_version_is_for_all_unless_it_wants_exactly_that() -> None:
    for match, code in (("Equivalent", 422), ("Exact", 201)):
        async with cluster() as call:
            await limits(call)
            rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["limits"]}
            seen = {"expression": "false", "messageExpression": "object.apiVersion + ' of ' + request.requestKind.version"}
            await policy(call, seen, matchConstraints={"resourceRules": [rule], "matchPolicy": match})
            got = await call("POST", LIMITS.replace("v1", "v2"), limit("a", "v2"))
            assert got.code == code, got.body
            if code == 422:
                assert got.body["message"].endswith("denied request: example.com/v1 of v2")


async def test_parameters_may_be_custom_resources_found_by_name_or_by_label() -> None:
    kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
    for ref in ({"name": "a"}, {"selector": {"matchLabels": {"x": "y"}}}):
        async with cluster() as call:
            await limits(call)
            assert (await call("POST", LIMITS, limit("a", labels={"x": "y"}))).code == 201
            await policy(call, {"expression": "size(object.data) <= params.max"}, paramKind=kind)
            change = {"spec": {"paramRef": {**ref, "parameterNotFoundAction": "Deny"}}}
            assert (await call("PATCH", f"{GROUP}/validatingadmissionpolicybindings/b", change, media=MERGE)).code == 200
            assert (await call("POST", MAPS, config("a", x="1", y="2"))).code == 201
            assert (await call("POST", MAPS, config("b", x="1", y="2", z="3"))).code == 422


async def test_without_its_parameters_a_policy_refuses_whatever_its_binding_does_about_refusals() -> None:
    for action, code in (("Deny", 422), ("Allow", 201)):
        async with cluster() as call:
            await policy(call, DENY, actions=("Warn",), paramKind={"apiVersion": "v1", "kind": "ConfigMap"})
            change = {"spec": {"paramRef": {"name": "none", "parameterNotFoundAction": action}}}
            assert (await call("PATCH", f"{GROUP}/validatingadmissionpolicybindings/b", change, media=MERGE)).code == 200
            got = await call("POST", MAPS, config("a"))
            assert got.code == code
            if code == 422:
                assert "no params found for policy binding with `Deny` parameterNotFoundAction" in got.body["message"]


async def test_a_condition_that_does_not_hold_decides_whatever_is_wrong_with_others() -> None:
    async with cluster() as call:
        conditions = [{"name": "bad", "expression": "object.nope == 1"}, {"name": "no", "expression": "false"}]
        await policy(call, DENY, matchConditions=conditions)
        assert (await call("POST", MAPS, config("a", deny="x"))).code == 201


async def test_members_of_a_collection_that_is_deleted_have_no_name() -> None:
    async with cluster() as call:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"]}
        await policy(call, {"expression": "oldObject.metadata.name != 'a'"}, matchConstraints={"resourceRules": [rule]})
        assert (await call("POST", MAPS, config("a"))).code == 201
        assert (await call("DELETE", f"{MAPS}/a")).body["message"].startswith('configmaps "a" is forbidden')
        assert (await call("DELETE", MAPS)).body["message"].startswith('configmaps "Unknown" is forbidden')


async def test_policies_are_not_asked_about_reviews() -> None:
    async with cluster() as call:
        everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
        await policy(call, {"expression": "false"}, matchConstraints={"resourceRules": [everything]})
        assert (await call("POST", MAPS, config("a"))).code == 422
        review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
        assert (await call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)).code == 201
        assert (await call("DELETE", f"{GROUP}/validatingadmissionpolicybindings/b")).code == 200


async def test_what_a_policy_notes_of_a_request_is_kept_for_the_audit_log() -> None:
    async with cluster() as call:
        annotation = {"key": "size", "valueExpression": "string(size(object.data))"}
        await policy(call, DENY, actions=("Audit",), auditAnnotations=[annotation])
        plugin = next(p for p in call.server.admission._plugins if p.name == "ValidatingAdmissionPolicy")
        resource = call.server.resource("", "configmaps")
        assert resource is not None
        user = User("jane")
        request = AdmissionRequest("CREATE", resource, "", "default", "a", config("a", deny="1"), None, user, {})
        await plugin.validate(request)
        assert request.annotations["p/size"] == "1"
        assert '"message":"denied by data"' in request.annotations["validation.policy.admission.k8s.io/validation_failure"]


async def test_parameters_of_an_unknown_kind_are_the_fault_of_the_policy() -> None:
    async with cluster() as call:
        await policy(call, DENY, actions=("Warn",), paramKind={"apiVersion": "example.com/v1", "kind": "Nope"})
        got = await call("POST", MAPS, config("a"))
        why = "failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Nope'"
        assert got.body["details"]["causes"] == [{"message": f"ValidatingAdmissionPolicy 'p' denied request: {why}"}]


async def test_expressions_that_refuse_or_fail_are_counted() -> None:
    for failure in ("Fail", "Ignore"):
        async with cluster() as call:
            await policy(call, DENY, {"expression": "object.nope == 1"}, actions=("Warn", "Audit"), failurePolicy=failure)
            assert (await call("POST", MAPS, config("a", deny="1"))).code == 201
            lines = (await call("GET", "/metrics")).body.splitlines()
            found = [line for line in lines if line.startswith("apiserver_validating_admission_policy_check_total{")]
            errors = {"Fail": ("audit", "warn"), "Ignore": ("allow",)}[failure]
            told = [("audit", "no_error"), ("warn", "no_error"), *((action, "invalid_error") for action in errors)]
            assert sorted(found) == sorted(
                f'apiserver_validating_admission_policy_check_total{{enforcement_action="{action}",error_type="{error}",'
                'policy="p",policy_binding="b"} 1'
                for action, error in told
            )

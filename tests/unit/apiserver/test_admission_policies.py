"""ValidatingAdmissionPolicy: what policies and their bindings let in."""

from __future__ import annotations

from typing import Any

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

"""What policies are told about their expressions by their status."""

from __future__ import annotations

from typing import Any

from pilothouse.api.kinds.policy_typing import expression_warnings
from pilothouse.client.reconcile.kinds import VALIDATING_ADMISSION_POLICIES
from pilothouse.controllers.admission_policy_status import AdmissionPolicyStatusController

from .cluster import Cluster

DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}


def policy(*expressions: str, rules: Any = (DEPLOYMENTS,), **spec: Any) -> dict[str, Any]:
    validations = [{"expression": e} for e in expressions]
    body = {"matchConstraints": {"resourceRules": list(rules)}, "validations": validations, **spec}
    return {"metadata": {"name": "p", "generation": 1}, "spec": body}


def told(*expressions: str, **more: Any) -> list[str]:
    return [w["warning"].splitlines()[0] for w in expression_warnings(policy(*expressions, **more))]


async def test_a_policy_is_told_once_what_its_expressions_get_wrong() -> None:
    async with Cluster() as cluster:
        cluster.start(AdmissionPolicyStatusController)
        await cluster.create(VALIDATING_ADMISSION_POLICIES, policy("object.spec.replicas < 5", "object.spec.nope == 1"))
        await cluster.settle()
        found = cluster.find(VALIDATING_ADMISSION_POLICIES, "p", "")
        assert found is not None
        text = (
            "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope == 1\n | ...........^\n"
        )
        warnings = [{"fieldRef": "spec.validations[1].expression", "warning": text}]
        assert found["status"] == {"observedGeneration": 1, "typeChecking": {"expressionWarnings": warnings}}


def test_expressions_are_held_against_the_fields_of_the_kinds_and_their_types() -> None:
    assert told("object.spec.replicas == 'x'") == [
        "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, string)'"
    ]
    good = (
        "object.metadata.namespace == 'a' && object.metadata.labels['x'] == 'y'",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('r/') && has(c.resources.limits))",
        "object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
        "oldObject == null || object.spec == oldObject.spec",
        "variables.n > 1 && params.data['a'] == 'b'",
    )
    more = {
        "variables": [{"name": "n", "expression": "object.spec.replicas"}],
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
    }
    assert told(*good, **more) == []
    assert told("variables.n == ''", **more) and told("params.nope == 1", **more)


def test_only_built_in_kinds_that_are_named_are_checked() -> None:
    wild = {**DEPLOYMENTS, "resources": ["*"]}
    custom = {**DEPLOYMENTS, "apiGroups": ["example.com"], "resources": ["widgets"]}
    assert told("object.nope == 1", rules=(wild, custom)) == []
    both = {**DEPLOYMENTS, "resources": ["replicasets", "deployments"]}
    [one] = expression_warnings(policy("object.nope == 1", rules=(both,)))
    kinds = [line.partition(":")[0] for line in one["warning"].splitlines() if "Kind=" in line]
    assert kinds == ["apps/v1, Kind=Deployment", "apps/v1, Kind=ReplicaSet"]


def test_messages_are_checked_as_well() -> None:
    spec = {"validations": [{"expression": "true", "messageExpression": "object.spec.replicas + 'x'"}]}
    assert [w["fieldRef"] for w in expression_warnings(policy(**spec))] == ["spec.validations[0].messageExpression"]

"""Deployments, sets, controllers and templates: defaults, rules, what never changes."""

from __future__ import annotations

from typing import Any

import pytest
from pods_and_owners import CONTEXT, Obj, container, created, errors, owner, strategy, template, told, update_errors

from pilothouse.api.strategy import Strategy

DEPLOYMENTS, SETS = strategy("apps", "deployments"), strategy("apps", "replicasets")
STATEFUL, DAEMONS = strategy("apps", "statefulsets"), strategy("apps", "daemonsets")
CONTROLLERS, REVISIONS = strategy("", "replicationcontrollers"), strategy("apps", "controllerrevisions")
MISMATCH = 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
OTHER = {"matchLabels": {"app": "z"}}


def test_a_deployment_rolls_by_quarters() -> None:
    spec = created(DEPLOYMENTS, owner("Deployment"))["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_sets_have_their_own_defaults() -> None:
    assert created(STATEFUL, owner("StatefulSet"))["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": 0},
    }
    assert created(DAEMONS, owner("DaemonSet"))["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert created(SETS, owner("ReplicaSet"))["status"] == {"replicas": 0}


@pytest.mark.parametrize(
    ("kind", "spec", "wanted"),
    [
        (DEPLOYMENTS, {"selector": None}, ["spec.selector: Required value", MISMATCH]),
        (DEPLOYMENTS, {"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
        (DEPLOYMENTS, {"selector": OTHER}, [MISMATCH]),
        (DEPLOYMENTS, {"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (DEPLOYMENTS, {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
         ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]),
        (DEPLOYMENTS, {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
         ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
        (DEPLOYMENTS, {"strategy": {"type": "Nope"}},
         ['spec.strategy: Unsupported value: {"Type":"Nope","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"']),
        (DEPLOYMENTS, {"progressDeadlineSeconds": 5, "minReadySeconds": 5},
         ["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"]),
        (DEPLOYMENTS, {"template": template(restartPolicy="Never")}, ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
        (SETS, {"template": template(activeDeadlineSeconds=5)},
         ["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"]),
        (STATEFUL, {"podManagementPolicy": "Nope"}, ["spec.podManagementPolicy: Invalid value: \"Nope\": must be 'OrderedReady' or 'Parallel'"]),
        (STATEFUL, {"volumeClaimTemplates": [{"metadata": {"name": "v"}}]},
         ["spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
          "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"]),
        (DAEMONS, {"selector": None}, [MISMATCH]),
        (DAEMONS, {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}},
         ["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"]),
        (CONTROLLERS, {"selector": {"app": "z"}}, [MISMATCH]),
    ],
)  # fmt: skip
def test_owners_are_checked(kind: Strategy, spec: Obj, wanted: list[str]) -> None:
    assert errors(kind, owner(kind.resource.kind, **spec)) == wanted


@pytest.mark.parametrize("kind", [DEPLOYMENTS, SETS, DAEMONS])
def test_selectors_never_change(kind: Strategy) -> None:
    new = owner(kind.resource.kind, selector=OTHER)
    assert 'spec.selector: Invalid value: {"matchLabels":{"app":"z"}}: field is immutable' in update_errors(
        kind, owner(kind.resource.kind), new
    )


def test_little_of_a_stateful_set_changes() -> None:
    assert update_errors(STATEFUL, owner("StatefulSet"), owner("StatefulSet", replicas=3)) == []
    (message,) = update_errors(STATEFUL, owner("StatefulSet"), owner("StatefulSet", serviceName="other"))
    assert message.startswith(
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',"
    )


def test_stateful_pods_mount_the_sets_claims() -> None:
    claim = {"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    mounting = template()
    mounting["spec"]["containers"] = [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])]
    assert errors(STATEFUL, owner("StatefulSet", template=mounting, volumeClaimTemplates=[claim])) == []


def test_the_generation_of_a_daemon_sets_template_is_an_annotation() -> None:
    key = "deprecated.daemonset.template.generation"
    old = created(DAEMONS, owner("DaemonSet"))
    assert old["metadata"]["annotations"] == {key: "1"}
    assert "annotations" not in DAEMONS.bare_metadata(old)
    new = owner("DaemonSet", template=template(hostname="h"))
    DAEMONS.default(new)
    DAEMONS.prepare_update(new, old, CONTEXT)
    assert new["metadata"]["annotations"] == {key: "2"}


@pytest.mark.parametrize(
    ("kind", "status", "wanted"),
    [
        (SETS, {"replicas": 1, "readyReplicas": 2}, ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]),
        (SETS, {"replicas": 3, "readyReplicas": 1, "availableReplicas": 2},
         ["status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas"]),
        (SETS, {"replicas": -1}, ["status.replicas: Invalid value: -1: must be greater than or equal to 0",
                                  *(f"status.{f}: Invalid value: 0: cannot be greater than status.replicas"
                                    for f in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"))]),
        (DEPLOYMENTS, {"replicas": 1, "updatedReplicas": 2, "collisionCount": 2},
         ["status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas"]),
        (STATEFUL, {"collisionCount": 1}, ["status.collisionCount: Invalid value: 1: cannot be decremented"]),
        (DAEMONS, {"collisionCount": 2}, []),
    ],
)  # fmt: skip
def test_parts_are_not_greater_than_the_whole(kind: Strategy, status: Obj, wanted: list[str]) -> None:
    old = created(kind, owner(kind.resource.kind))
    old["status"] = {"collisionCount": 2}
    assert told(kind.validate_subresource("status", {**old, "status": status}, old)) == wanted


def test_a_controller_takes_its_labels_from_the_template() -> None:
    made = created(CONTROLLERS, {"metadata": {"name": "r"}, "spec": {"template": template()}})
    assert (made["spec"]["selector"], made["metadata"]["labels"]) == ({"app": "a"}, {"app": "a"})


def test_revisions_never_change_their_data() -> None:
    revision: Any = {"metadata": {"name": "r"}, "revision": 1, "data": {"b": 1, "a": 2}}
    assert errors(REVISIONS, revision) == []
    assert errors(REVISIONS, {**revision, "data": [1]}) == ["data: Required value: data must be a valid JSON object"]
    assert update_errors(REVISIONS, revision, {**revision, "data": {"b": 2, "a": 2}}) == [
        'data: Invalid value: {"a":2,"b":2}: field is immutable'
    ]


def test_names_with_dots_are_warned_of() -> None:
    dotted = owner("Deployment")
    dotted["metadata"]["name"] = "has.dots"
    (warning,) = DEPLOYMENTS.warnings(created(DEPLOYMENTS, dotted), None)
    assert warning.endswith("a DNS label is recommended: [must not contain dots]")

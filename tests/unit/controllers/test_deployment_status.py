from __future__ import annotations

import pytest

from pilothouse.clock import rfc3339
from pilothouse.controllers import deployment_status as statuses
from pilothouse.controllers.deployment_status import Seen

from .builders import NOW, deployment, replica_set

NEW = replica_set("d-2", 2, image="v2")
FRESH = {**NEW, "status": {}}
WAITING = replica_set("d-2", 2, image="v2", available=0)


def progressing(status: str, reason: str, ago: float = 0.0) -> dict:
    stamp = rfc3339(NOW - ago)
    return {
        "type": "Progressing",
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": "?",
    }


def told(d, seen, kind="Progressing"):
    found = {c["type"]: c for c in statuses.status(d, seen, NOW)["conditions"]}
    return (found[kind]["status"], found[kind]["reason"], found[kind]["message"]) if kind in found else None


@pytest.mark.parametrize(
    ("before", "seen", "expected"),
    [
        (None, Seen([FRESH], FRESH, created=True), ("True", "NewReplicaSetCreated", 'Created new replica set "d-2"')),
        (None, Seen([], None, create_error="Failed"), ("False", "ReplicaSetCreateError", "Failed")),
        (None, Seen([NEW], NEW), ("True", "NewReplicaSetAvailable", 'ReplicaSet "d-2" has successfully progressed.')),
        (
            progressing("True", "ReplicaSetUpdated"),
            Seen([WAITING], WAITING),
            ("True", "ReplicaSetUpdated", 'ReplicaSet "d-2" is progressing.'),
        ),
        (
            progressing("True", "ReplicaSetUpdated", 700),
            Seen([NEW], NEW),
            ("True", "NewReplicaSetAvailable", 'ReplicaSet "d-2" has successfully progressed.'),
        ),
        (progressing("Unknown", "DeploymentPaused"), Seen([], None), ("Unknown", "DeploymentResumed", "Deployment is resumed")),
    ],
    ids=["created", "refused", "complete", "moving", "late but complete", "resumed"],
)
def test_the_story_of_a_rollout(before, seen, expected):
    d = deployment(2, image="v2", status={"conditions": [before]} if before else {})
    assert told(d, seen) == expected


def test_a_rollout_without_progress_is_stuck_after_its_deadline():
    status = {"replicas": 2, "updatedReplicas": 2, "conditions": [progressing("True", "ReplicaSetUpdated", 601)]}
    d = deployment(2, image="v2", status=status)
    assert told(d, Seen([WAITING], WAITING)) == (
        "False",
        "ProgressDeadlineExceeded",
        'ReplicaSet "d-2" has timed out progressing.',
    )
    status["conditions"] = [progressing("True", "ReplicaSetUpdated", 590)]
    assert told(d, Seen([WAITING], WAITING))[0] == "True"
    assert statuses.wait_for_deadline(d, statuses.status(d, Seen([WAITING], WAITING), NOW), NOW) == 11


def test_without_a_deadline_nothing_is_told():
    d = deployment(
        2, image="v2", spec={"progressDeadlineSeconds": None}, status={"conditions": [progressing("True", "ReplicaSetUpdated")]}
    )
    assert told(d, Seen([WAITING], WAITING)) is None


def test_a_pause_does_not_hide_that_the_deadline_was_missed():
    d = deployment(2, spec={"paused": True}, status={"conditions": [progressing("False", "ProgressDeadlineExceeded")]})
    assert told(d, Seen([], None))[1] == "ProgressDeadlineExceeded"


def test_what_a_set_could_not_do_is_repeated_and_goes_again():
    trouble = {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": rfc3339(NOW),
        "reason": "FailedCreate",
        "message": "quota",
    }
    failing = replica_set("d-2", 2, image="v2", available=0, status={"conditions": [trouble]})
    d = deployment(2, image="v2")
    assert told(d, Seen([failing], failing), "ReplicaFailure") == ("True", "FailedCreate", "quota")
    d["status"] = statuses.status(d, Seen([failing], failing), NOW)
    assert told(d, Seen([NEW], NEW), "ReplicaFailure") is None


def test_availability_allows_for_what_may_be_missing():
    assert told(deployment(2, image="v2"), Seen([WAITING], WAITING), "Available")[0] == "False"
    patient = deployment(
        2, image="v2", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}
    )
    assert told(patient, Seen([WAITING], WAITING), "Available") == (
        "True",
        "MinimumReplicasAvailable",
        "Deployment has minimum availability.",
    )


def test_a_second_look_at_the_same_state_has_nothing_to_write():
    d = deployment(2, image="v2")
    for seen in (Seen([WAITING], WAITING), Seen([NEW], NEW)):
        d["status"] = statuses.status(d, seen, NOW)
        d["status"] = statuses.status(d, seen, NOW + 1)
        assert statuses.status(d, seen, NOW + 2) == d["status"]

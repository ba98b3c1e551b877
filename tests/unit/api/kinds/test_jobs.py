"""Jobs and CronJobs: generated selectors, policies, status and schedules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pods_and_owners import Obj, container, created, errors, strategy, told, update_errors

from pilothouse.api.kinds.job_policies import count_indexes
from pilothouse.api.kinds.schedules import schedule_problem

JOBS, CRON = strategy("batch", "jobs"), strategy("batch", "cronjobs")
POD = {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [container()]}}


def job(**spec: Any) -> Obj:
    return {
        "kind": "Job",
        "apiVersion": "batch/v1",
        "metadata": {"name": "j", "uid": "u"},
        "spec": {"template": copy.deepcopy(POD), **spec},
    }


def cron(**spec: Any) -> Obj:
    body = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": copy.deepcopy(POD)}}, **spec}
    return {"kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": "c", "uid": "u"}, "spec": body}


def test_a_job_selects_its_pods_by_its_uid() -> None:
    made = created(JOBS, job())
    labels = {
        "job-name": "j",
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u",
        "batch.kubernetes.io/controller-uid": "u",
    }
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert made["spec"]["template"]["metadata"]["labels"] == labels
    assert made["metadata"]["labels"] == labels
    assert (made["spec"]["completions"], made["spec"]["parallelism"], made["spec"]["backoffLimit"]) == (1, 1, 6)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"template": {"spec": {"containers": [container()]}}}, ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
        ({"completionMode": "Indexed"}, ["spec.completions: Required value: when completion mode is Indexed"]),
        ({"backoffLimitPerIndex": 1}, ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
        ({"managedBy": "nodomain"}, ['spec.managedBy: Invalid value: "nodomain": must be a domain-prefixed path (such as "acme.io/foo")']),
        ({"podFailurePolicy": {"rules": [{"action": "FailJob"}]}},
         ["spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
        ({"podFailurePolicy": {"rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [3, 1]}}]}},
         ["spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,1]: must be ordered"]),
        ({"manualSelector": True}, ["spec.selector: Required value",
                                    "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"]),
    ],
)  # fmt: skip
def test_jobs_are_checked(spec: Obj, wanted: list[str]) -> None:
    made = job(**spec)
    if spec.get("completionMode") == "Indexed":
        made["spec"]["parallelism"] = 1
    assert errors(JOBS, made) == wanted


def test_the_template_changes_only_while_a_job_is_suspended() -> None:
    moved = copy.deepcopy(POD)
    moved["spec"]["nodeSelector"] = {"a": "b"}
    for suspended, fields in ((True, []), (False, ["spec.template"])):
        old = created(JOBS, job(suspend=suspended))
        new = copy.deepcopy(old)
        new["spec"]["template"]["spec"]["nodeSelector"] = {"a": "b"}
        assert [e.field for e in JOBS.validate_update(new, old)] == fields


def test_completions_of_plain_jobs_never_change() -> None:
    old = job(manualSelector=True, selector={"matchLabels": {}}, completions=2)
    new = job(manualSelector=True, selector={"matchLabels": {}}, completions=3)
    assert "spec.completions: Invalid value: 3: field is immutable" in update_errors(JOBS, old, new)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({}, {"active": 1, "ready": 2}, ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
        ({"failed": 1}, {"failed": 0}, ["status.failed: Invalid value: 0: cannot decrease the failed counter"]),
        ({}, {"conditions": [{"type": "Failed", "status": "True"}]},
         ["status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"]),
        ({"conditions": [{"type": "FailureTarget", "status": "True"}]}, {},
         ["status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition"]),
        ({"startTime": "2020-01-01T01:00:00Z"}, {"startTime": "2020-01-01T00:00:00Z"},
         ['status.startTime: Invalid value: "2020-01-01T00:00:00Z": field is immutable for unsuspended job once set']),
    ],
)  # fmt: skip
def test_a_jobs_status_makes_sense_and_its_end_stays(old: Obj, new: Obj, wanted: list[str]) -> None:
    before = created(JOBS, job()) | {"status": old}
    assert told(JOBS.validate_subresource("status", {**before, "status": new}, before)) == wanted


def test_indexes_are_counted() -> None:
    assert count_indexes("0,2-4", 5) == 4
    assert count_indexes("", 5) == 0
    with pytest.raises(ValueError, match='too large index: "9"'):
        count_indexes("0,9", 4)
    with pytest.raises(ValueError, match="non-increasing order, previous: 1, current: 0"):
        count_indexes("1,0", 4)


@pytest.mark.parametrize(
    "schedule", ["*/5 * * * *", "0 3 * * 1-5", "@daily", "@every 1h30m", "0 0 1 jan mon", "0,30 8-18/2 * * ?"]
)
def test_good_schedules(schedule: str) -> None:
    assert schedule_problem(schedule) == ""


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("Not Valid!", "expected exactly 5 fields, found 2: [Not Valid!]"),
        ("*/5 * * * *x", 'failed to parse int from *x: strconv.Atoi: parsing "*x": invalid syntax'),
        ("61 * * * *", "end of range (61) above maximum (59): 61"),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_bad_schedules(schedule: str, wanted: str) -> None:
    assert schedule_problem(schedule) == wanted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, []),
        ({"timeZone": "Bad/Zone"}, ['spec.timeZone: Invalid value: "Bad/Zone": unknown time zone Bad/Zone']),
        ({"schedule": "TZ=UTC 0 * * * *"},
         ['spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead']),
        ({"concurrencyPolicy": "X"}, ['spec.concurrencyPolicy: Unsupported value: "X": supported values: "Allow", "Forbid", "Replace"']),
    ],
)  # fmt: skip
def test_cron_jobs_are_checked(spec: Obj, wanted: list[str]) -> None:
    assert errors(CRON, cron(**spec)) == wanted


def test_a_cron_jobs_template_gets_a_pods_defaults_but_not_a_jobs() -> None:
    made = created(CRON, cron())["spec"]
    assert (made["concurrencyPolicy"], made["suspend"], made["successfulJobsHistoryLimit"], made["failedJobsHistoryLimit"]) == (
        "Allow",
        False,
        3,
        1,
    )
    assert set(made["jobTemplate"]["spec"]) == {"template"}


@pytest.mark.parametrize("manual", [False, True])
def test_a_selector_that_cannot_be_evaluated_is_told_of_and_matched_with_nothing(manual: bool) -> None:
    spec = {"manualSelector": manual, "selector": {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["x"]}]}}
    found = errors(JOBS, job(**spec))
    assert any(error.startswith('spec.selector.matchExpressions[0].operator: Invalid value: "Like"') for error in found), found
    assert not any("does not match" in error or "auto-generated" in error for error in found)

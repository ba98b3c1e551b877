"""Rules of a Job's status: counts and conditions that fit each other, and ends that stay (KEP-4368)."""

from __future__ import annotations

from pilothouse.api import times
from pilothouse.api.errors import OMIT, FieldError, Obj, duplicate, invalid, required
from pilothouse.api.kinds.job_policies import count_indexes
from pilothouse.api.kinds.workload import IMMUTABLE, check_non_negative
from pilothouse.api.podspec.checks import Errors


def check_job_status(obj: Obj, old: Obj, out: Errors) -> None:
    """Add what is wrong with the new status by itself, and as a successor of the old one."""
    status, spec = obj.get("status") or {}, obj["spec"]
    true = conditions(status)
    check_non_negative(status, "status", out, "active", "succeeded", "failed", "ready", "terminating")
    _check_uncounted(status.get("uncountedTerminatedPods") or {}, out)
    if {"Complete", "Failed"} <= true:
        out.append(_conditions_error("cannot set Complete=True and Failed=true conditions"))
    _check_completion_time(status, true, out)
    _check_indexes(status, spec, out)
    if status.get("ready") is not None and status["ready"] > (status.get("active") or 0):
        out.append(invalid("status.ready", status["ready"], "cannot set more ready pods than active"))
    if "Failed" in true and "FailureTarget" not in true:
        out.append(_conditions_error("cannot set Failed=True condition without the FailureTarget=true condition"))
    if "Complete" in true and "SuccessCriteriaMet" not in true:
        out.append(_conditions_error("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"))
    if {"Complete", "FailureTarget"} <= true:
        out.append(_conditions_error("cannot set Complete=True and FailureTarget=true conditions"))
    if true & {"Complete", "Failed"}:
        for field in ("active", "terminating"):
            if status.get(field):
                out.append(invalid(f"status.{field}", status[field], f"{field}>0 is invalid for finished job"))
        _check_all_counted(status.get("uncountedTerminatedPods") or {}, out)
    _check_transition(status, old.get("status") or {}, old["spec"], true, out)


def conditions(status: Obj) -> set[str]:
    """The types of the conditions that are true."""
    return {c.get("type", "") for c in status.get("conditions") or () if c.get("status") == "True"}


def _conditions_error(told: str) -> FieldError:
    return invalid("status.conditions", OMIT, told)


def _check_uncounted(pods: Obj, out: Errors) -> None:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for n, uid in enumerate(pods.get(field) or ()):
            where = f"status.uncountedTerminatedPods.{field}[{n}]"
            if not uid:
                out.append(invalid(where, uid, "must not be empty"))
            elif uid in seen:
                out.append(duplicate(where, uid))
            seen.add(uid)


def _check_all_counted(pods: Obj, out: Errors) -> None:
    if pods.get("succeeded") or pods.get("failed"):
        shown = {"Succeeded": pods.get("succeeded"), "Failed": pods.get("failed")}
        out.append(invalid("status.uncountedTerminatedPods", shown, "uncountedTerminatedPods needs to be empty for finished job"))


def _check_completion_time(status: Obj, true: set[str], out: Errors) -> None:
    completed, started = status.get("completionTime"), status.get("startTime")
    path = "status.completionTime"
    if "Complete" in true:
        if completed is None:
            out.append(required(path, "completionTime is required for Complete jobs"))
    elif completed is not None:
        out.append(invalid(path, completed, "cannot set completionTime when there is no Complete=True condition"))
    if completed and started and times.seconds(completed) < times.seconds(started):
        out.append(invalid(path, completed, "must be equal to or after `startTime`"))


def _check_indexes(status: Obj, spec: Obj, out: Errors) -> None:
    completed, failed, completions = status.get("completedIndexes"), status.get("failedIndexes"), spec.get("completions") or 0
    if completed:
        if spec.get("completionMode") != "Indexed":
            told = "cannot set non-empty completedIndexes when non-indexed completion mode"
            out.append(invalid("status.completedIndexes", completed, told))
        else:
            _parse(completed, completions, "completedIndexes", out)
    if failed is not None:
        if spec.get("backoffLimitPerIndex") is None:
            told = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            out.append(invalid("status.failedIndexes", failed, told))
        else:
            _parse(failed, completions, "failedIndexes", out)


def _parse(text: str, completions: int, field: str, out: Errors) -> None:
    try:
        count_indexes(text, completions)
    except ValueError as e:
        out.append(invalid(f"status.{field}", text, f"error parsing {field}: {e}"))


def _check_transition(status: Obj, had: Obj, old_spec: Obj, true: set[str], out: Errors) -> None:
    was = conditions(had)
    for field in ("failed", "succeeded"):
        if field == "succeeded" and old_spec.get("completionMode") == "Indexed":
            continue
        if (status.get(field) or 0) < (had.get(field) or 0):
            out.append(invalid(f"status.{field}", status.get(field) or 0, f"cannot decrease the {field} counter"))
    for kind in ("Failed", "Complete", "FailureTarget"):
        if kind in was and kind not in true:
            out.append(_conditions_error(f"cannot disable the terminal {kind}=True condition"))
    if "SuccessCriteriaMet" in was and "SuccessCriteriaMet" not in true:
        out.append(_conditions_error("cannot disable the SuccessCriteriaMet=True condition"))
    if had.get("startTime") and status.get("startTime") != had["startTime"] and not old_spec.get("suspend"):
        told = f"{IMMUTABLE} for unsuspended job once set"
        out.append(invalid("status.startTime", status.get("startTime"), told))
    if had.get("completionTime") and status.get("completionTime") != had["completionTime"]:
        out.append(invalid("status.completionTime", status.get("completionTime"), IMMUTABLE))

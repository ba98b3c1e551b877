"""Job (batch/v1): pods that run to their end (API reference: Job)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table, times
from pilothouse.api.duration import human
from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds.job_status import check_job_status
from pilothouse.api.kinds.job_validation import NAME_LABEL, OLD_NAME_LABEL, OLD_UID_LABEL, UID_LABEL, check_job, check_job_update
from pilothouse.api.kinds.workload import WorkloadStrategy
from pilothouse.api.meta import validate_object_meta_update
from pilothouse.api.podspec.template import default_template
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context

_INT32_MAX = 2**31 - 1
_TOO_MANY = ("In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to "
             "track completedIndexes when a big number of indexes fail")  # fmt: skip


class JobStrategy(WorkloadStrategy):
    default_propagation = "Orphan"
    deletion_warning = ("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
                        "propagationPolicy=Orphan to suppress this warning")  # fmt: skip
    defaulted_when_read = True
    metadata_checked_again = frozenset()
    selectable = ("status.successful",)
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Status"), Column("Completions"), Column("Duration"), AGE_COLUMN, Column("Containers", priority=1),
        Column("Images", priority=1), Column("Selector", priority=1),
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if spec is None:
            spec = obj["spec"] = {}
        default_template(spec)
        _default_spec(spec)
        labels = spec["template"]["metadata"].get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def unknown_field(self, field: str) -> str:
        return f'field label "{field}" not supported for Job'

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """Without a selector of the user's own, one is made from the Job's uid."""
        super().prepare_create(obj, ctx)
        obj["status"] = {}
        if not obj["spec"].get("manualSelector"):
            _generate_selector(obj)

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        self.default(obj)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        check_job(obj, out)
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        labels = ((old["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        check_job(obj, out, prefixed=UID_LABEL in labels)
        out += validate_object_meta_update(obj["metadata"], old["metadata"])
        check_job_update(obj, old, out)
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if sub == "status":
            check_job_status(obj, old, out)
        return out

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        out, spec = super().warnings(obj, old), obj["spec"]
        many = (
            spec.get("completionMode") == "Indexed"
            and (spec.get("completions") or 0) > 100_000
            and (spec.get("parallelism") or 0) > 10_000
        )
        return [*out, _TOO_MANY] if many else out

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        containers, images = table.containers((spec.get("template") or {}).get("spec") or {})
        selector = selector_text(spec.get("selector"))
        return [
            table.name_of(obj),
            state(obj),
            _completions(obj),
            _duration(obj, now),
            table.age(obj, now),
            containers,
            images,
            selector,
        ]


def _default_spec(spec: Obj) -> None:
    if spec.get("parallelism") is None:
        if spec.get("completions") is None:
            spec["completions"] = 1
        spec["parallelism"] = 1
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else _INT32_MAX
    if spec.get("completionMode") is None:
        spec["completionMode"] = "NonIndexed"
    for field in ("suspend", "manualSelector"):
        if spec.get(field) is None:
            spec[field] = False
    if spec.get("podReplacementPolicy") is None:
        spec["podReplacementPolicy"] = "TerminatingOrFailed" if spec.get("podFailurePolicy") is None else "Failed"
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"


def _generate_selector(obj: Obj) -> None:
    metadata, spec = obj["metadata"], obj["spec"]
    labels = spec["template"]["metadata"].setdefault("labels", {})
    inherited = bool(labels) and metadata.get("labels") == labels
    for keys, value in (
        ((OLD_NAME_LABEL, NAME_LABEL), metadata.get("name") or ""),
        ((OLD_UID_LABEL, UID_LABEL), metadata["uid"]),
    ):
        for key in keys:
            labels.setdefault(key, value)
    if inherited:
        metadata["labels"] = dict(labels)
    selector = spec.get("selector")
    if selector is None:
        selector = spec["selector"] = {}
    selector.setdefault("matchLabels", {}).setdefault(UID_LABEL, metadata["uid"])


def state(obj: Obj) -> str:
    """In one word, how the job is doing."""
    true = {c.get("type") for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    ended = next((word for word in ("Complete", "Failed") if word in true), None)
    if ended:
        return ended
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((word for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if word in true), "Running")


def _completions(obj: Obj) -> str:
    spec, done = obj.get("spec") or {}, (obj.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(obj: Obj, now: float) -> str:
    """How long it has run, or ran."""
    status = obj.get("status") or {}
    if not status.get("startTime"):
        return ""
    start, completed = times.seconds(status["startTime"]), status.get("completionTime")
    return human(times.seconds(completed) - start) if completed else table.elapsed(start, now)

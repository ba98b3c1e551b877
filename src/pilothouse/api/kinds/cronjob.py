"""CronJob (batch/v1): jobs at certain times (API reference: CronJob)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required
from pilothouse.api.kinds.job_validation import check_job_body
from pilothouse.api.kinds.schedules import check_schedule, check_time_zone
from pilothouse.api.kinds.workload import check_non_negative, name_warnings, template_warnings
from pilothouse.api.podspec.disabled import drop_disabled
from pilothouse.api.podspec.template import default_template, shown_selector
from pilothouse.api.selectors import selector_text
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy

_CONCURRENCY = ("Allow", "Forbid", "Replace")
#: A Job's name is the CronJob's and eleven characters more.
_LONGEST_NAME = 52


class CronJobStrategy(Strategy):
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN, Column("Schedule"), Column("Timezone"), Column("Suspend", "boolean"), Column("Active", "integer"),
        Column("Last Schedule"), AGE_COLUMN, Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1),
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec: Obj | None = obj.get("spec")
        if spec is None:
            spec = obj["spec"] = {}
        if not spec.get("concurrencyPolicy"):
            spec["concurrencyPolicy"] = "Allow"
        for name, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
            if spec.get(name) is None:
                spec[name] = value
        template: Obj | None = spec.get("jobTemplate")
        if template is None:
            template = spec["jobTemplate"] = {}
        for part in ("metadata", "spec"):
            if template.get(part) is None:
                template[part] = {}
        default_template(template["spec"])

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        drop_disabled(obj["spec"]["jobTemplate"]["spec"]["template"]["spec"])
        super().prepare_create(obj, ctx)
        obj["status"] = {}

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        drop_disabled(obj["spec"]["jobTemplate"]["spec"]["template"]["spec"])
        super().prepare_update(obj, old, ctx)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        _check_spec(obj["spec"], out)
        name = obj["metadata"].get("name") or ""
        if len(name) > _LONGEST_NAME:
            out.append(invalid("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters"))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        _check_spec(obj["spec"], out)
        return out

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        out = name_warnings(obj["metadata"].get("name") or "") if old is None else []
        if old is None or obj["metadata"].get("generation") != old["metadata"].get("generation"):
            out += template_warnings(obj["spec"]["jobTemplate"]["spec"].get("template") or {}, "spec.jobTemplate.spec.template")
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        containers, images = table.containers((job.get("template") or {}).get("spec") or {})
        return [
            table.name_of(obj),
            spec.get("schedule", ""),
            table.or_word(spec.get("timeZone")),
            table.yes_no(spec.get("suspend")),
            table.count(status.get("active")),
            table.since(status.get("lastScheduleTime"), now, table.NONE),
            table.age(obj, now),
            containers,
            images,
            selector_text(job.get("selector")),
        ]


def _check_spec(spec: Obj, out: list[FieldError]) -> None:
    if not spec.get("schedule"):
        out.append(required("spec.schedule"))
    else:
        check_schedule(spec["schedule"], spec.get("timeZone"), "spec.schedule", out)
    check_non_negative(spec, "spec", out, "startingDeadlineSeconds")
    if spec.get("timeZone") is not None:
        check_time_zone(spec["timeZone"], "spec.timeZone", out)
    if spec.get("concurrencyPolicy") not in _CONCURRENCY:
        out.append(not_supported("spec.concurrencyPolicy", spec.get("concurrencyPolicy") or "", _CONCURRENCY))
    job: Obj = spec["jobTemplate"]["spec"]
    if job.get("selector") is not None:
        told = "`selector` will be auto-generated"
        out.append(invalid("spec.jobTemplate.spec.selector", shown_selector(job["selector"]), told))
    if job.get("manualSelector"):
        out.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    check_job_body(job, "spec.jobTemplate.spec", out)
    check_non_negative(spec, "spec", out, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")

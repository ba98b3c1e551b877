"""What Deployments, ReplicaSets and other owners of pod templates have in common."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.intorstring import percent
from pilothouse.api.podspec.checks import NON_NEGATIVE, Errors
from pilothouse.api.podspec.disabled import drop_disabled
from pilothouse.api.podspec.template import default_template, shown_selector
from pilothouse.api.podspec.warnings import pod_warnings
from pilothouse.api.strategy import Context, Path, Strategy

_PERCENT_MESSAGE = ("a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                    "regex used for validation is '[0-9]+%')")  # fmt: skip
IMMUTABLE = "field is immutable"


class WorkloadStrategy(Strategy):
    """A spec with replicas, a selector and a template; a status of its own."""

    has_generation = True
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    default_replicas = True
    #: The pods are named after the object, so that its name should be a label.
    names_pods = True

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if spec is None:
            spec = obj["spec"] = {}
        if self.default_replicas and spec.get("replicas") is None:
            spec["replicas"] = 1
        default_template(spec)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        drop_disabled(_template_spec(obj))
        super().prepare_create(obj, ctx)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        drop_disabled(_template_spec(obj))
        super().prepare_update(obj, old, ctx)

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        out: list[str] = []
        if old is None and self.names_pods:
            out += name_warnings(obj["metadata"].get("name") or "")
        if old is None or obj["metadata"].get("generation") != old["metadata"].get("generation"):
            out += template_warnings(obj["spec"].get("template") or {}, "spec.template")
        return out


def _template_spec(obj: Obj) -> Obj:
    spec: Obj = (obj["spec"].get("template") or {}).get("spec") or {}
    return spec


def restore(holder: Obj, old: Obj, field: str) -> None:
    """The field as it was."""
    if field in old:
        holder[field] = old[field]
    else:
        holder.pop(field, None)


def name_warnings(name: str) -> list[str]:
    """Pods are named after their owner, and their host names after them."""
    problems = names.dns1123_label(name)
    if not problems:
        return []
    told = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended"
    return [f"metadata.name: {told}: [{' '.join(problems)}]"]


def template_warnings(template: Obj, path: str) -> list[str]:
    return pod_warnings(template.get("metadata") or {}, template.get("spec") or {}, f"{path}.spec", f"{path}.metadata")


def non_negative(value: Any, path: str) -> list[FieldError]:
    return [invalid(path, value, NON_NEGATIVE)] if (value or 0) < 0 else []


def check_non_negative(holder: Obj, path: str, out: Errors, *fields: str) -> None:
    """Fields of `holder` that, where they are set, are not below zero."""
    for field in fields:
        value = holder.get(field)
        if value is not None and value < 0:
            out.append(invalid(f"{path}.{field}", value, NON_NEGATIVE))


def check_int_or_percent(value: Any, path: str, out: Errors) -> None:
    """A number that is not negative, or a percentage."""
    if isinstance(value, str):
        if percent(value) is None:
            out.append(invalid(path, value, _PERCENT_MESSAGE))
    elif value is not None and value < 0:
        out.append(invalid(path, value, NON_NEGATIVE))


def check_at_most_all(value: Any, path: str, out: Errors) -> None:
    """A percentage is of something: no more than all of it."""
    share = percent(value) if isinstance(value, str) else None
    if share is not None and share > 100:
        out.append(invalid(path, value, "must not be greater than 100%"))


def is_zero(value: Any) -> bool:
    """Nothing, as a number or a percentage; words that are neither count as nothing."""
    return not value if not isinstance(value, str) else not percent(value)


def check_selector_immutable(new: Obj, old: Obj, out: Errors) -> None:
    """spec.selector never changes."""
    if new.get("selector") != old.get("selector"):
        out.append(invalid("spec.selector", shown_selector(new.get("selector")), IMMUTABLE))

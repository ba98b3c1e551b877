"""ResourceQuota: how much a namespace may hold in all."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.checks import FOR_QUOTA, IMMUTABLE, quantity_value, quota_resource_name
from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

#: What each scope can count.
_COMPUTE = frozenset(("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))
_SCOPES = {
    "Terminating": _COMPUTE, "NotTerminating": _COMPUTE, "BestEffort": frozenset(("pods",)), "NotBestEffort": _COMPUTE,
    "PriorityClass": _COMPUTE, "CrossNamespacePodAffinity": _COMPUTE,
    "VolumeAttributesClass": frozenset(("persistentvolumeclaims", "requests.storage")),
}  # fmt: skip
_CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_WITH_VALUES = ("PriorityClass", "VolumeAttributesClass")
_MUST_EXIST = ("must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
               "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")  # fmt: skip


class ResourceQuotaStrategy(Strategy):
    delete_returns_object = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Request"), Column("Limit"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        return _validate_spec(obj.get("spec") or {})

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        out = _validate_spec(spec)
        if set(spec.get("scopes") or ()) != set(before.get("scopes") or ()):
            out.append(invalid("spec.scopes", spec.get("scopes"), IMMUTABLE))
        return out

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        status = obj.get("status") or {}
        return _validate_amounts(status.get("hard"), "status.hard") + _validate_amounts(status.get("used"), "status.used")

    def cells(self, obj: Obj, now: float) -> list[Any]:
        status = obj.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        shown = [(name, f"{name}: {used.get(name, '0')}/{hard[name]}") for name in sorted(hard)]
        limits = [text for name, text in shown if name.startswith("limits")]
        requests = [text for name, text in shown if not name.startswith("limits")]
        return [table.name_of(obj), ", ".join(requests), ", ".join(limits), table.age(obj, now)]


def _validate_amounts(amounts: dict[str, str] | None, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for name, value in (amounts or {}).items():
        where = f"{path}[{name}]"
        out += quota_resource_name(where, name) + quantity_value(where, name, value)
    return out


def _validate_spec(spec: Obj) -> list[FieldError]:
    hard = spec.get("hard") or {}
    out = _validate_amounts(hard, "spec.hard")
    scopes = spec.get("scopes") or []
    out += _validate_scopes(scopes, hard, "spec.scopes", scopes)
    if spec.get("scopeSelector") is not None:
        path = "spec.scopeSelector.matchExpressions"
        expressions = spec["scopeSelector"].get("matchExpressions") or []
        for e in expressions:
            out += _validate_expression(e, hard, path)
        out += _conflicts([e.get("scopeName") or "" for e in expressions], path, expressions)
    return out


def _validate_scopes(scopes: list[str], hard: dict[str, str], path: str, shown: Any) -> list[FieldError]:
    out: list[FieldError] = []
    for scope in scopes:
        if scope not in _SCOPES:
            out.append(invalid(path, shown, "unsupported scope"))
        out += _uncountable(scope, hard, path, shown)
    return out + _conflicts(scopes, path, shown)


def _uncountable(scope: str, hard: dict[str, str], path: str, shown: Any) -> list[FieldError]:
    """The quota's resources that say nothing about what the scope selects."""
    countable = _SCOPES.get(scope, FOR_QUOTA)
    told = "unsupported scope applied to resource"
    return [invalid(path, shown, told) for name in hard if name in FOR_QUOTA and name not in countable]


def _conflicts(scopes: list[str], path: str, shown: Any) -> list[FieldError]:
    return [invalid(path, shown, "conflicting scopes") for pair in _CONFLICTS if pair <= set(scopes)]


def _validate_expression(e: Obj, hard: dict[str, str], path: str) -> list[FieldError]:
    scope, operator, values = e.get("scopeName") or "", e.get("operator") or "", e.get("values") or []
    out = [] if scope in _SCOPES else [invalid(f"{path}.scopeName", scope, "unsupported scope")]
    out += _uncountable(scope, hard, path, [scope])
    if scope in _SCOPES and scope not in _WITH_VALUES and operator != "Exists":
        out.append(invalid(f"{path}.operator", operator, _MUST_EXIST))
    if operator in ("In", "NotIn"):
        if not values:
            told = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            out.append(required(f"{path}.values", told))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            out.append(
                invalid(
                    f"{path}.values", values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                )
            )
    else:
        out.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return out

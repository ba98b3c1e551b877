"""LimitRange: bounds and defaults for what containers, pods and claims of a namespace may ask for."""

from __future__ import annotations

from pilothouse.api import names, quantity
from pilothouse.api.checks import container_resource_name, named, resource_name
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, required
from pilothouse.api.strategy import Context, Strategy

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
#: The lists of an item, and pairs of them of which the first may not be more than the second: who is blamed, whose value is shown, how.
_ORDERED = (
    ("min", "max", "min", "min", "min value {0} is greater than max value {1}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {0} is greater than default request value {1}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {0} is greater than max value {1}"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value {0} is greater than default limit value {1}",
    ),
    ("min", "default", "default", "min", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "max", "default value {0} is greater than max value {1}"),
)
_LISTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
Values = dict[str, dict[str, str]]


class LimitRangeStrategy(Strategy):
    allow_create_on_update = True

    def default(self, obj: Obj) -> None:
        """What a container gets if it says nothing is the most that it may have; what it requests, what it gets."""
        for item in (obj.setdefault("spec", {}).get("limits")) or ():
            if item.get("type") != "Container":
                continue
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            for key, found in (("default", limits), ("defaultRequest", requests)):
                if found:
                    item[key] = found

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """One without a name is named by its uid."""
        super().prepare_create(obj, ctx)
        if not obj["metadata"].get("name"):
            obj["metadata"]["name"] = obj["metadata"].get("uid", "")

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        seen: set[str] = set()
        for n, item in enumerate(obj["spec"].get("limits") or ()):
            path, kind = f"spec.limits[{n}]", item.get("type") or ""
            out += _validate_type(kind, f"{path}.type")
            if kind in seen:
                out.append(duplicate(f"{path}.type", kind))
            seen.add(kind)
            out += _validate_names(item, kind, path) + _validate_values(item, path)
        return out


def _validate_type(kind: str, path: str) -> list[FieldError]:
    out = named(path, kind, names.qualified_name(kind))
    if not out and "/" not in kind and kind not in _TYPES:
        out.append(invalid(path, kind, "must be a standard limit type or fully qualified"))
    return out


def _validate_names(item: Obj, kind: str, path: str) -> list[FieldError]:
    check = container_resource_name if kind in ("Pod", "Container") else resource_name
    out: list[FieldError] = []
    for key in _LISTS:
        if kind == "Pod" and key in ("default", "defaultRequest"):
            if item.get(key):
                out.append(forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
            continue
        for name in item.get(key) or ():
            out += check(f"{path}.{key}[{name}]", name)
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(k) or ()) for k in ("min", "max")):
        out.append(required(f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"))
    return out


def _validate_values(item: Obj, path: str) -> list[FieldError]:
    values: Values = {key: item.get(key) or {} for key in _LISTS}
    out: list[FieldError] = []
    for name in dict.fromkeys(name for key in _LISTS for name in values[key]):
        for less, more, blamed, shown, told in _ORDERED:
            if name in values[less] and name in values[more] and quantity.compare(values[less][name], values[more][name]) > 0:
                text = told.format(values[less][name], values[more][name])
                out.append(invalid(f"{path}.{blamed}[{name}]", values[shown][name], text))
        out += _validate_ratio(values, name, path)
    return out


def _validate_ratio(values: Values, name: str, path: str) -> list[FieldError]:
    """How many times more than its request a container may use."""
    ratio = values["maxLimitRequestRatio"].get(name)
    if ratio is None:
        return []
    where = f"{path}.maxLimitRequestRatio[{name}]"
    out = [invalid(where, ratio, f"ratio {ratio} is less than 1")] if quantity.compare(ratio, "1") < 0 else []
    if name in values["min"] and name in values["max"]:
        least, most = quantity.parse(values["min"][name]).nano, quantity.parse(values["max"][name]).nano
        possible = most / least if least else float("inf")
        if quantity.parse(ratio).nano / quantity.NANO > possible:
            out.append(invalid(where, ratio, f"ratio {ratio} is greater than max/min = {possible:f}"))
    return out

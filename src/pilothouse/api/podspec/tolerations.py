"""Tolerations of taints (API reference: Toleration)."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.errors import Obj, forbidden, invalid, not_supported
from pilothouse.api.podspec.checks import Errors, name_errors

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MATCH_ALL = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'


def check_tolerations(tolerations: list[Obj], path: str, out: Errors) -> None:
    """Each with a good key, an operator that fits its value, and an effect that fits its seconds."""
    for n, toleration in enumerate(tolerations):
        _check(toleration, f"{path}[{n}]", out)


def _check(toleration: Obj, path: str, out: Errors) -> None:
    key, operator, effect = toleration.get("key"), toleration.get("operator") or "", toleration.get("effect") or ""
    if key:
        name_errors(key, names.qualified_name, f"{path}.key", out)
    elif operator != "Exists":
        out.append(invalid(f"{path}.operator", operator, _MATCH_ALL))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        out.append(invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    _check_value(operator, toleration.get("value") or "", f"{path}.operator", out)
    if effect and effect not in EFFECTS:
        out.append(not_supported(f"{path}.effect", effect, EFFECTS))


def _check_value(operator: str, value: str, path: str, out: Errors) -> None:
    if operator in ("", "Equal"):
        problems = names.label_value(value) if value else []
        if problems:
            out.append(invalid(path, value, ";".join(problems)))
    elif operator == "Exists":
        if value:
            out.append(invalid(path, value, "value must be empty when `operator` is 'Exists'"))
    else:
        out.append(not_supported(path, operator, ("Equal", "Exists")))


def check_only_added(new: list[Obj], old: list[Obj], path: str, out: Errors) -> None:
    """Tolerations may be added, and the seconds of those that are there may change."""
    bare = [_without_seconds(t) for t in new]
    if any(_without_seconds(t) not in bare for t in old):
        out.append(forbidden(path, "existing toleration can not be modified except its tolerationSeconds"))
    check_tolerations(new, path, out)


def _without_seconds(toleration: Obj) -> Obj:
    return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

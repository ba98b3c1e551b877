"""When a Job fails and when it succeeds: its pod failure policy and its success policy (KEP-3329, KEP-3998)."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.errors import OMIT, FieldError, Obj, duplicate, invalid, not_supported, required, too_many
from pilothouse.api.podspec.checks import NON_NEGATIVE, Errors, name_errors

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_MOST_RULES = 20
_MOST_CODES = 255
_MOST_INDEXES_TEXT = 64 * 1024


def check_failure_policy(spec: Obj, path: str, out: Errors) -> None:
    """spec.podFailurePolicy: each rule looks at exit codes or at conditions."""
    rules = spec["podFailurePolicy"].get("rules") or []
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name") for field in ("containers", "initContainers") for c in pod.get(field) or ()}
    if len(rules) > _MOST_RULES:
        out.append(too_many(f"{path}.rules", len(rules), _MOST_RULES))
    for n, rule in enumerate(rules):
        _check_rule(rule, spec, containers, f"{path}.rules[{n}]", out)


def _check_rule(rule: Obj, spec: Obj, containers: set[str | None], path: str, out: Errors) -> None:
    action = rule.get("action") or ""
    if not action:
        out.append(required(f"{path}.action", _words(ACTIONS)))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            out.append(invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    elif action not in ACTIONS:
        out.append(not_supported(f"{path}.action", action, ACTIONS))
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        _check_codes(codes, containers, f"{path}.onExitCodes", out)
    if conditions:
        _check_conditions(conditions, f"{path}.onPodConditions", out)
    if codes is not None and conditions:
        out.append(invalid(path, OMIT, "specifying both OnExitCodes and OnPodConditions is not supported"))
    if codes is None and not conditions:
        out.append(invalid(path, OMIT, "specifying one of OnExitCodes and OnPodConditions is required"))


def _words(words: tuple[str, ...]) -> str:
    return "valid values: [" + " ".join(f'"{w}"' for w in words) + "]"


def _check_codes(codes: Obj, containers: set[str | None], path: str, out: Errors) -> None:
    operator, values, name = codes.get("operator") or "", codes.get("values"), codes.get("containerName")
    if not operator:
        out.append(required(f"{path}.operator", _words(_OPERATORS)))
    elif operator not in _OPERATORS:
        out.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    if name is not None and name not in containers:
        out.append(
            invalid(f"{path}.containerName", name, "must be one of the container or initContainer names in the pod template")
        )
    if not values:
        out.append(invalid(f"{path}.values", values, "at least one value is required"))
        return
    if len(values) > _MOST_CODES:
        out.append(too_many(f"{path}.values", len(values), _MOST_CODES))
    seen: set[int] = set()
    ordered = True
    for n, value in enumerate(values):
        if operator == "In" and value == 0:
            out.append(invalid(f"{path}.values[{n}]", value, "must not be 0 for the In operator"))
        if value in seen:
            out.append(duplicate(f"{path}.values[{n}]", value))
        elif n and values[n - 1] > value:
            ordered = False
        seen.add(value)
    if not ordered:
        out.append(invalid(f"{path}.values", values, "must be ordered"))


def _check_conditions(conditions: list[Obj], path: str, out: Errors) -> None:
    if len(conditions) > _MOST_RULES:
        out.append(too_many(path, len(conditions), _MOST_RULES))
    for n, pattern in enumerate(conditions):
        status = pattern.get("status") or ""
        name_errors(pattern.get("type") or "", names.qualified_name, f"{path}[{n}].type", out)
        if not status:
            out.append(required(f"{path}[{n}].status", _words(_STATUSES)))
        elif status not in _STATUSES:
            out.append(not_supported(f"{path}[{n}].status", status, _STATUSES))


def check_success_policy(spec: Obj, path: str, out: Errors) -> None:
    """spec.successPolicy: enough of the indexes."""
    rules = spec["successPolicy"].get("rules") or []
    if not rules:
        out.append(required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified"))
    if len(rules) > _MOST_RULES:
        out.append(too_many(f"{path}.rules", len(rules), _MOST_RULES))
    for n, rule in enumerate(rules):
        _check_success_rule(rule, spec.get("completions") or 0, f"{path}.rules[{n}]", out)


def _check_success_rule(rule: Obj, completions: int, path: str, out: Errors) -> None:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        out.append(required(path, "at least one of succeededCount or succeededIndexes must be specified"))
    total = 0
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        if len(indexes) > _MOST_INDEXES_TEXT:
            out.append(FieldError("FieldValueTooLong", where, detail=f"may not be more than {_MOST_INDEXES_TEXT} bytes"))
        try:
            total = count_indexes(indexes, completions)
        except ValueError as e:
            out.append(invalid(where, indexes, f"error parsing succeededIndexes: {e}"))
    if count is None:
        return
    where = f"{path}.succeededCount"
    if count < 0:
        out.append(invalid(where, count, NON_NEGATIVE))
    if count > completions:
        told = f"must be less than or equal to {completions} (the number of specified completions)"
        out.append(invalid(where, count, told))
    if total and count > total:
        told = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        out.append(invalid(where, count, told))


def count_indexes(text: str, completions: int) -> int:
    """How many indexes `0,2-4` names. ValueError says what is wrong with the text."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            raise ValueError(
                f"the fragment \"{part}\" violates the requirement that an index interval can have at most two parts separated by '-'"
            )
        numbers = [_index(end, completions) for end in ends]
        for number in numbers:
            if number <= last:
                raise ValueError(f"non-increasing order, previous: {last}, current: {number}")
            last = number
        total += numbers[-1] - numbers[0] + 1
    return total


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def shown_failure_policy(policy: Obj | None) -> Obj | None:
    """A pod failure policy as messages repeat it."""
    if policy is None:
        return None
    return {"Rules": [{"Action": r.get("action") or "", "OnExitCodes": _shown_codes(r.get("onExitCodes")),
                       "OnPodConditions": _shown_conditions(r.get("onPodConditions"))} for r in policy["rules"]] if policy.get("rules") else None}  # fmt: skip


def _shown_codes(codes: Obj | None) -> Obj | None:
    if codes is None:
        return None
    return {"ContainerName": codes.get("containerName"), "Operator": codes.get("operator") or "", "Values": codes.get("values")}


def _shown_conditions(conditions: list[Obj] | None) -> list[Obj] | None:
    if conditions is None:
        return None
    return [{"Type": c.get("type") or "", "Status": c.get("status") or ""} for c in conditions]


def shown_success_policy(policy: Obj | None) -> Obj | None:
    """A success policy as messages repeat it."""
    if policy is None:
        return None
    rules = [
        {"SucceededIndexes": r.get("succeededIndexes"), "SucceededCount": r.get("succeededCount")}
        for r in policy.get("rules") or ()
    ]
    return {"Rules": rules or None}

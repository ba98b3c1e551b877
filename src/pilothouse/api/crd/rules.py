"""The seam for validation rules (`x-kubernetes-validations`): what checks an object beyond its structure.

The expression language is loaded only where a schema has rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.errors import FieldError, Obj

#: (object, old object or None) -> errors. Called once the structure is known to be right.
Checker = Callable[[Obj, Obj | None], list[FieldError]]


def checker(openapi: Obj) -> Checker | None:
    """What checks the rules of a version's schema, made when an object comes by; None where there are none."""
    if not has_rules(openapi):
        return None
    from pilothouse.api.cel import rules

    return rules.checker(openapi)


def errors(openapi: Obj, path: str, unchanged: bool = False) -> list[FieldError]:
    """What is wrong with the rules themselves. `unchanged`: the schema was accepted before as it is."""
    if not has_rules(openapi):
        return []
    from pilothouse.api.cel import rule_checks

    return rule_checks.rule_errors(openapi, path, unchanged=unchanged)


def has_rules(schema: Any) -> bool:
    """Whether there is a rule anywhere in a schema."""
    if not isinstance(schema, dict):
        return False
    children = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return bool(schema.get("x-kubernetes-validations")) or any(map(has_rules, children))

"""Defaults of custom resources: missing fields get the schema's default, and so do nulls where null is not a value; other nulls that
are no values are dropped.

A defaulter is compiled per node. Rules: "Defaulting" and "Defaulting and nullable" in the documentation of CustomResourceDefinitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from pilothouse.api.errors import Obj

Defaulter = Callable[[Any], None]


def defaulter(openapi: Obj) -> Defaulter | None:
    """What fills in defaults in place; None where there is nothing to do."""
    fields = {key: _field(sub) for key, sub in (openapi.get("properties") or {}).items()}
    extra, items = openapi.get("additionalProperties"), openapi.get("items")
    rest = _field(extra) if isinstance(extra, dict) else None
    each = defaulter(items) if isinstance(items, dict) else None
    if not fields and rest is None and each is None:
        return None

    def fill(value: Any) -> None:
        if type(value) is dict:
            for key, field in fields.items():
                field(value, key)
            if rest is not None:
                for key in [k for k in value if k not in fields]:
                    rest(value, key)
        elif type(value) is list and each is not None:
            for item in value:
                each(item)

    return fill


def _field(openapi: Obj) -> Callable[[Obj, str], None]:
    """What defaults one field of an object."""
    default = openapi.get("default")
    text = None if default is None else orjson.dumps(default)
    nullable = bool(openapi.get("nullable"))
    below = defaulter(openapi)

    def fill(parent: Obj, key: str) -> None:
        if key in parent and parent[key] is None and not nullable:
            del parent[key]
        if key not in parent:
            if text is None:
                return
            parent[key] = orjson.loads(text)
        if below is not None:
            below(parent[key])

    return fill

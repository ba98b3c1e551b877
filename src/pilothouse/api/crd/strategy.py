"""The rules of a custom resource, as its definition says them.

Reference: "Extend the Kubernetes API with CustomResourceDefinitions" (subresources, printer columns, selectable fields, defaulting).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import orjson

from pilothouse.api import table
from pilothouse.api.crd import jsonpath, rules
from pilothouse.api.crd.defaults import defaulter
from pilothouse.api.crd.definition import schema_of
from pilothouse.api.crd.validation import NOTHING, Check, lazily
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import NAME_COLUMN, Column, Context, Strategy

_MOST_REPLICAS = 2**31 - 1
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
)
#: A date column of a value that is none.
_NO_TIME = "<invalid>"
#: After such errors rules are not asked: what they would look at is not what they were compiled for, or larger.
_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_NOT_SPEC = ("metadata", "status", "kind", "apiVersion")


class CustomStrategy(Strategy):
    """One version of one definition. `selectable` are the paths of all versions, so that one cache serves them all."""

    allow_unconditional_update = False
    has_generation = True
    bare_finalizers = True
    defaulted_when_read = True
    metadata_checked_again = frozenset(("immutable",))

    def __init__(self, resource: Resource, version: Obj, selectable: tuple[str, ...]) -> None:
        super().__init__(resource)
        self._version = version
        self._printed = _readable(version.get("additionalPrinterColumns") or [_AGE])
        self.selectable = selectable
        self.columns = (NAME_COLUMN, *(_column(c) for c in self._printed))
        if version.get("deprecated"):
            self.deprecated = version.get("deprecationWarning") or f"{resource.api_version} {resource.kind} is deprecated"
        own = tuple(part for part in ("status",) if part in resource.subresources)
        self.reset_fields = {"": ((own,) if own else ()), "status": (("metadata",), ("spec",))} if own else {}

    @property
    def openapi(self) -> Obj:
        """The version's schema, as the definition has it."""
        return schema_of(self._version)

    @property
    def scale(self) -> Obj | None:
        """The scale subresource's paths."""
        found: Obj | None = (self._version.get("subresources") or {}).get("scale")
        return found

    @cached_property
    def _defaulter(self) -> Any:
        return defaulter(self.openapi)

    @cached_property
    def _check(self) -> Check:
        return lazily(self.openapi)

    @cached_property
    def _check_status(self) -> Check | None:
        found = (self.openapi.get("properties") or {}).get("status")
        return None if found is None else lazily(found)

    @cached_property
    def _rules(self) -> rules.Checker | None:
        return rules.checker(self.openapi)

    # --- writing --------------------------------------------------------------------------------------------------------------

    def default(self, obj: Obj) -> None:
        if self._defaulter is not None:
            metadata = obj["metadata"]
            self._defaulter(obj)
            obj["metadata"] = metadata

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        skip = _NOT_SPEC if "status" in self.resource.subresources else ("metadata", "kind", "apiVersion")
        return any(obj.get(k) != old.get(k) for k in (*obj, *old) if k not in skip)

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        if sub == "status":
            kept: Obj = orjson.loads(orjson.dumps(old["metadata"]))
            for key in ("managedFields", "resourceVersion"):
                if key in obj["metadata"]:
                    kept[key] = obj["metadata"][key]
            obj["metadata"] = kept

    def validate(self, obj: Obj) -> list[FieldError]:
        return self._validated(obj, None)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return self._validated(obj, old)

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        if sub != "status":
            return self._validated(obj, old)
        out: list[FieldError] = []
        if "status" in obj and self._check_status is not None:
            self._check_status(obj["status"], "", old.get("status", NOTHING), out)
        out = [replace(e, field=_below("status", e.field)) for e in out]
        return self._ruled(obj, old, out + self._replica_errors(obj, "statusReplicasPath"))

    def _validated(self, obj: Obj, old: Obj | None) -> list[FieldError]:
        out: list[FieldError] = []
        self._check(obj, "", NOTHING if old is None else old, out)
        return self._ruled(obj, old, out + self._replica_errors(obj, "specReplicasPath", "statusReplicasPath"))

    def _replica_errors(self, obj: Obj, *keys: str) -> list[FieldError]:
        """What is wrong with the numbers that the scale subresource shows."""
        out: list[FieldError] = []
        for path in [self.scale[key] for key in keys] if self.scale is not None else ():
            replicas = jsonpath.first(path, obj)
            if isinstance(replicas, int) and replicas < 0:
                out.append(invalid(path, replicas, "should be a non-negative integer"))
            elif isinstance(replicas, int) and replicas > _MOST_REPLICAS:
                out.append(invalid(path, replicas, f"should be less than or equal to {_MOST_REPLICAS}"))
        return out

    def _ruled(self, obj: Obj, old: Obj | None, out: list[FieldError]) -> list[FieldError]:
        """The errors so far, and those of the rules, which may only be asked about what has the right structure."""
        if self._rules is not None:
            blocked = any(error.type in _BLOCKING for error in out)
            out += [invalid("<nil>", None, _UNCHECKED)] if blocked else self._rules(obj, old)
        return out

    # --- reading --------------------------------------------------------------------------------------------------------------

    def unknown_field(self, field: str) -> str:
        return f"field label not supported: {field}"

    def fields(self, obj: Obj) -> dict[str, str]:
        return dict(zip(self.selectable, field_values(obj, self.selectable), strict=True))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), *(_cell(c, obj, now) for c in self._printed)]


def _below(parent: str, field: str) -> str:
    """A field's path below another; what is about the whole is about the parent."""
    if field in ("", "<nil>"):
        return parent
    return parent + field if field.startswith("[") else f"{parent}.{field}"


def _readable(columns: list[Obj]) -> list[Obj]:
    """The columns up to the first whose path cannot be read: definitions are not refused for it."""
    out: list[Obj] = []
    for column in columns:
        try:
            jsonpath.compile_path(column["jsonPath"])
        except ValueError:
            break
        out.append(column)
    return out


def _column(raw: Obj) -> Column:
    return Column(raw["name"], raw.get("type") or "string", raw.get("format") or "", raw.get("priority") or 0)


def field_values(obj: Obj, names: tuple[str, ...]) -> tuple[str, ...]:
    """The values of selectable fields."""
    return tuple([_text(jsonpath.first("." + name, obj)) for name in names])


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _cell(column: Obj, obj: Obj, now: float) -> Any:
    found = jsonpath.compile_path(column["jsonPath"])(obj)
    if not found or found[0] is None:
        return None
    value, kind = found[0], column.get("type") or "string"
    if kind == "date":
        try:
            return table.since(value, now)
        except (ValueError, TypeError):
            return _NO_TIME
    if kind == "string":
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if kind in ("integer", "number"):
        return value if type(value) in (int, float) and (kind == "number" or type(value) is int) else None
    return value if type(value) is bool else None

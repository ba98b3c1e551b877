"""A structural OpenAPI schema as a `Schema`: what decoding, pruning and field ownership walk along.

Custom resources are pruned and kept as they are otherwise: no empty value is dropped, no null either (what a null is worth, the
schema says: see `defaults` and `validation`). Metadata is an ordinary ObjectMeta. Rules: "Structural schemas" and "Field pruning" in
the documentation of CustomResourceDefinitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api import tables
from pilothouse.api.errors import Obj
from pilothouse.api.normalize import Findings, Kept, Mismatch, decoder
from pilothouse.api.schema import Schema

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SCALARS = ("string", "integer", "number", "boolean")
_ANY = Schema("any")
Prune = Callable[[Any, Findings], Any]


def root_schema(openapi: Obj, name: str = "") -> Schema:
    """The schema of a custom resource's version."""
    schema = node(openapi, embedded=True, name=name)
    prune = pruner(schema)

    def decode(value: Any, findings: Findings) -> Any:
        if type(value) is Kept:
            return value.value
        return prune(value, findings)

    schema.compiled = decode
    return schema


def node(openapi: Obj, embedded: bool = False, name: str = "") -> Schema:
    """One node. `embedded`: it is a whole object, with apiVersion, kind and metadata."""
    kind = openapi.get("type") or ""
    if openapi.get("x-kubernetes-int-or-string"):
        return Schema("intorstring")
    preserve = bool(openapi.get("x-kubernetes-preserve-unknown-fields"))
    embedded = embedded or bool(openapi.get("x-kubernetes-embedded-resource"))
    map_type = openapi.get("x-kubernetes-map-type") or "granular"
    if kind == "array":
        return _list(openapi)
    if kind in _SCALARS:
        return Schema(kind, format=openapi.get("format") or "")
    if kind != "object" and not embedded:
        return Schema("any", map_type=map_type)
    extra = openapi.get("additionalProperties")
    if isinstance(extra, dict) and not openapi.get("properties"):
        return Schema("map", map_type=map_type, load=lambda: (None, node(extra)))
    if extra is True or preserve:
        items: Schema | None = _ANY
    else:
        items = None
    return Schema("object", name=name, map_type=map_type, load=lambda: (_fields(openapi, embedded), items))


def _fields(openapi: Obj, embedded: bool) -> dict[str, Schema]:
    fields = {key: node(sub) for key, sub in (openapi.get("properties") or {}).items()}
    if embedded:
        fields |= {"apiVersion": Schema("string"), "kind": Schema("string"), "metadata": tables.schema_of(_OBJECT_META)}
    return fields


def _list(openapi: Obj) -> Schema:
    items = openapi.get("items")
    item = items if isinstance(items, dict) else {}
    keys = tuple(openapi.get("x-kubernetes-list-map-keys") or ())
    return Schema(
        "list",
        list_type=openapi.get("x-kubernetes-list-type") or "atomic",
        list_keys=keys,
        load=lambda: (None, _keyed(node(item), item, keys) if item else _ANY),
    )


def _keyed(schema: Schema, item: Obj, keys: tuple[str, ...]) -> Schema:
    """The elements of a list, with the defaults of their keys."""
    properties = item.get("properties") or {}
    schema.defaults = {k: properties[k]["default"] for k in keys if properties.get(k, {}).get("default") is not None}
    return schema


def pruner(schema: Schema) -> Prune:
    """What makes a fresh value without the fields that the schema does not know. Made when first needed, level by level."""
    kind = schema.type
    if schema.name == _OBJECT_META:
        return _prune_metadata(schema)
    if kind == "object":
        return _prune_object(schema)
    if kind in ("map", "list"):
        return _prune_items(schema)
    return _unwrap


def _unwrap(value: Any, findings: Findings) -> Any:
    return value.value if type(value) is Kept else value


def _prune_metadata(schema: Schema) -> Prune:
    decode = decoder(schema)

    def prune(value: Any, findings: Findings) -> Any:
        try:
            return decode(value, findings)
        except Mismatch as e:
            e.owner = e.owner or "ObjectMeta"
            raise

    return prune


def _prune_object(schema: Schema) -> Prune:
    made: dict[str, Prune] = {}
    rest = schema.items

    def prune(value: Any, findings: Findings) -> Any:
        if type(value) is not dict:
            return _unwrap(value, findings)
        out: Obj = {}
        fields = schema.fields
        for key, item in value.items():
            below = made.get(key)
            if below is None:
                sub = fields.get(key)
                if sub is None:
                    if rest is None:
                        findings.unknown = True
                    else:
                        out[key] = _unwrap(item, findings)
                    continue
                below = made[key] = pruner(sub)
            out[key] = below(item, findings)
        return out

    return prune


def _prune_items(schema: Schema) -> Prune:
    made: list[Prune] = []

    def prune(value: Any, findings: Findings) -> Any:
        if type(value) is Kept:
            return value.value
        if type(value) is not dict and type(value) is not list:
            return value
        if not made:
            made.append(pruner(schema.items or _ANY))
        below = made[0]
        if type(value) is dict:
            return {k: below(v, findings) for k, v in value.items()} if schema.type == "map" else value
        return [below(v, findings) for v in value] if schema.type == "list" else value

    return prune

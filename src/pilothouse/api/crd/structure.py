"""Whether an OpenAPI schema is structural: every value has a type, and what is beside types only restricts.

"Specifying a structural schema" in the documentation of CustomResourceDefinitions; errors come in order of their paths' depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilothouse.api import regexes
from pilothouse.api.crd import rules, structural
from pilothouse.api.crd.validation import NOTHING, validator
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required
from pilothouse.api.normalize import Findings

_REFUSED = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
#: What may not stand below a junctor, and how that is said.
_EMPTY_BELOW = ("description", "title", "type")
_UNSET_BELOW = ("default", "additionalProperties")
_RULES = "x-kubernetes-validations"
#: What may say that an int-or-string is one.
_EITHER = [{"type": "integer"}, {"type": "string"}]
_FALSE_BELOW = (
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
)
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_SCALARS = ("string", "integer", "number", "boolean")
_META_ONLY = "must not specify anything other than name and generateName, but metadata is implicitly specified"


def schema_errors(schema: Obj, path: str, unchanged: bool = False) -> list[FieldError]:
    """Errors of a version's schema. `unchanged`: it was accepted before as it is."""
    out = list(_root(schema, path))
    out += _node(schema, path, True)
    properties = schema.get("properties") or {}
    if "metadata" in properties:
        out += _metadata(properties["metadata"], f"{path}.properties[metadata]")
    if not out and _has_dialect(schema):
        out.append(invalid(path, "", "OpenAPIV3Schema 'schema' is not supported"))
    return out or list(_defaults(schema, path)) or rules.errors(schema, path, unchanged)


def _has_dialect(schema: Obj) -> bool:
    """Whether a node says which dialect of JSON Schema it is written in."""
    items, extra = schema.get("items"), schema.get("additionalProperties")
    below = [*(schema.get("properties") or {}).values(), *(s for s in (items, extra) if isinstance(s, dict))]
    return bool(schema.get("$schema")) or any(map(_has_dialect, below))


def _root(schema: Obj, path: str) -> Iterator[FieldError]:
    kind = schema.get("type")
    if kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")
    elif not kind and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield required(f"{path}.type", "must not be empty at the root")
    if schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    properties = schema.get("properties") or {}
    for name in ("apiVersion", "kind"):
        found = (properties.get(name) or {}).get("type", "string")
        if found != "string":
            yield invalid(f"{path}.properties[{name}].type", found, "must be string")


def _metadata(schema: Obj, path: str) -> Iterator[FieldError]:
    if schema.get("type", "object") != "object":
        yield invalid(f"{path}.type", schema["type"], "must be object")
        return
    if set(schema) - {"type", "properties", "description", "title"} or set(schema.get("properties") or ()) - {
        "name",
        "generateName",
    }:
        yield forbidden(path, _META_ONLY)
    if schema.get("x-kubernetes-embedded-resource"):
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    for name, sub in sorted((schema.get("properties") or {}).items()):
        if sub.get("default") is not None:
            yield forbidden(f"{path}.properties[{name}].default", "must not be set in top-level metadata")


def _node(schema: Obj, path: str, root: bool = False) -> Iterator[FieldError]:
    """Errors of a node outside junctors, and of all below it."""
    yield from _refused(schema, path)
    yield from _kinds(schema, path)
    yield from _lists(schema, path)
    yield from _below_junctors(schema, path)
    for name, sub in sorted((schema.get("properties") or {}).items()):
        where = f"{path}.properties[{name}]"
        if not (root and name in ("metadata", "apiVersion", "kind")):
            yield from _typed(sub, where, "must not be empty for specified object fields")
        yield from _node(sub, where)
    extra, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(extra, dict):
        yield from _typed(extra, f"{path}.additionalProperties", "must not be empty for specified object fields")
        yield from _node(extra, f"{path}.additionalProperties")
    if isinstance(items, dict):
        yield from _typed(items, f"{path}.items", "must not be empty for specified array items")
        yield from _node(items, f"{path}.items")


def _typed(schema: Obj, path: str, told: str) -> Iterator[FieldError]:
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not free and not any(k in schema for k in ("$ref",)):
        yield required(f"{path}.type", told)


def _refused(schema: Obj, path: str) -> Iterator[FieldError]:
    for key in _REFUSED:
        if schema.get(key):
            yield forbidden(f"{path}.{key}", f"{key} is not supported")
    if schema.get("uniqueItems"):
        told = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", told)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("properties") and schema.get("additionalProperties"):
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    pattern = schema.get("pattern")
    problem = _bad_pattern(pattern) if pattern else ""
    if problem:
        yield invalid(
            f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: error parsing regexp: {problem}"
        )


def _bad_pattern(pattern: str) -> str:
    try:
        regexes.compiled(pattern)
    except regexes.RegexError as error:
        return str(error)
    return ""


def _kinds(schema: Obj, path: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    items = schema.get("items")
    if isinstance(items, list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif kind == "array" and not isinstance(items, dict):
        yield required(f"{path}.items", "must be specified")
    if schema.get("x-kubernetes-int-or-string") and kind:
        yield forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-embedded-resource"):
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            told = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            yield required(f"{path}.properties", told)
        if kind != "object":
            yield invalid(f"{path}.type", kind, "must be object if x-kubernetes-embedded-resource is true")
    form = schema.get("x-kubernetes-map-type")
    if form is not None:
        if form not in ("granular", "atomic"):
            yield not_supported(f"{path}.x-kubernetes-map-type", form, ("atomic", "granular"))
        elif kind != "object":
            yield invalid(f"{path}.type", kind, "must be object if x-kubernetes-map-type is specified")


def _lists(schema: Obj, path: str) -> Iterator[FieldError]:
    form, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    where = f"{path}.x-kubernetes-list-map-keys"
    if form is None:
        return
    if form not in ("atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", form, ("atomic", "set", "map"))
    if schema.get("type") != "array":
        yield invalid(f"{path}.type", schema.get("type") or "", "must be array if x-kubernetes-list-type is specified")
        return
    items = schema.get("items")
    item: Obj = items if isinstance(items, dict) else {}
    if form in ("set", "map") and item.get("nullable"):
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {form}")
    if form != "map":
        if keys:
            yield forbidden(where, "must not be specified if x-kubernetes-list-type is not map")
        return
    if not keys:
        yield required(where, "must not be empty if x-kubernetes-list-type is map")
    yield from _map_keys(item, keys, path, where)


def _map_keys(item: Obj, keys: list[str], path: str, where: str) -> Iterator[FieldError]:
    properties: Any = item.get("properties") or {}
    if len(set(keys)) != len(keys):
        yield invalid(where, keys, "must not contain duplicate entries")
        return
    for key in keys:
        sub, at = properties.get(key), f"{path}.items.properties[{key}]"
        if sub is None:
            yield invalid(where, keys, "entries must all be names of item properties")
            continue
        if sub.get("type") and sub["type"] not in _SCALARS:
            yield invalid(
                f"{at}.type", sub.get("type") or "", "must be a scalar type if parent array's x-kubernetes-list-type is map"
            )
        if sub.get("nullable"):
            yield forbidden(f"{at}.nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable")
        elif sub.get("default") is None and key not in (item.get("required") or ()):
            told = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{at}.default", told)


def _defaults(schema: Obj, path: str) -> Iterator[FieldError]:
    """What is wrong with the defaults of a node and of all below it."""
    if schema.get("default") is not None:
        yield from _default(schema, f"{path}.default")
    for name, sub in sorted((schema.get("properties") or {}).items()):
        yield from _defaults(sub, f"{path}.properties[{name}]")
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            yield from _defaults(schema[key], f"{path}.{key}")


def _default(schema: Obj, where: str) -> Iterator[FieldError]:
    """A default is a value that the schema would take as it is. That the elements of sets differ is not looked at."""
    value, findings = schema["default"], Findings()
    structural.pruner(structural.node(schema))(value, findings)
    if findings.unknown:
        yield invalid(where, value, "must not have unknown fields")
        return
    out: list[FieldError] = []
    validator(_without_list_types(schema))(value, "", NOTHING, out)
    for error in out:
        at = where if error.field in ("", "<nil>") else f"{where}.{error.field}"
        yield FieldError(error.type, at, error.value, error.detail, error.supported)


def _without_list_types(schema: Obj) -> Obj:
    out = {key: value for key, value in schema.items() if key != "x-kubernetes-list-type"}
    if out.get("properties"):
        out["properties"] = {name: _without_list_types(sub) for name, sub in out["properties"].items()}
    return out | {k: _without_list_types(out[k]) for k in ("items", "additionalProperties") if isinstance(out.get(k), dict)}


def _below_junctors(schema: Obj, path: str) -> Iterator[FieldError]:
    """What stands below the junctors of a node. Where it says "an integer or a string", types may be named."""
    first = (schema.get("allOf") or [{}])[0]
    for junctor in _JUNCTORS:
        if junctor == "anyOf" and schema.get("anyOf") == _EITHER:
            continue
        for n, sub in enumerate(schema.get(junctor) or ()):
            inner = {**sub, "anyOf": []} if junctor == "allOf" and n == 0 and first.get("anyOf") == _EITHER else sub
            yield from _below_junctor(inner, f"{path}.{junctor}[{n}]")
    if schema.get("not") is not None:
        yield from _below_junctor(schema["not"], f"{path}.not")


def _below_junctor(schema: Obj, path: str) -> Iterator[FieldError]:
    for key in _EMPTY_BELOW:
        if schema.get(key):
            yield forbidden(f"{path}.{key}", "must be empty to be structural")
    for key in _UNSET_BELOW:
        if schema.get(key) is not None:
            yield forbidden(f"{path}.{key}", "must be undefined to be structural")
    for key in _FALSE_BELOW:
        if schema.get(key):
            yield forbidden(f"{path}.{key}", "must be false to be structural")
    if schema.get(_RULES):
        yield forbidden(f"{path}.{_RULES}", "must be empty to be structural")
    yield from _below_junctors(schema, path)
    for name, sub in sorted((schema.get("properties") or {}).items()):
        yield from _below_junctor(sub, f"{path}.properties[{name}]")
    if isinstance(schema.get("items"), dict):
        yield from _below_junctor(schema["items"], f"{path}.items")

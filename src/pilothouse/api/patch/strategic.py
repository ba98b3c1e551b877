"""Strategic merge patch: a merge patch that knows, from the schema, which lists merge element by element, and by which key.

Reference: "Update API Objects in Place Using kubectl patch", and the directives of the strategic merge patch format: `$patch`
(replace, merge, delete), `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`.

Where the reference server answers 500 to a patch that is the client's mistake, this answers 400 with the same message.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.api.patch.body import parse
from pilothouse.api.patch.lists import merge_objects, merge_primitives, order_list
from pilothouse.api.patch.text import as_string_verb, kind_name, plain
from pilothouse.api.schema import Schema

DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"

_ANY = Schema("any")


def decode_strategic_merge(body: bytes) -> Obj:
    """The patch in a request's body; 400 unless it is an object. A null body changes nothing."""
    patch = parse(body)
    if patch is None:
        return {}
    if not isinstance(patch, dict):
        raise bad_request(f"json: cannot unmarshal {kind_name(patch)} into an object")
    return patch


def apply_strategic_merge(doc: Obj, patch: Obj, schema: Schema) -> Obj:
    """The document with the patch merged in. `doc` is not changed; untouched parts are shared with it."""
    return _merge_object(doc, patch, schema)


def _merge_object(doc: Obj, patch: Obj, schema: Schema) -> Obj:
    directive = patch.get(DIRECTIVE) if DIRECTIVE in patch else "merge"
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != DIRECTIVE}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise unknown_directive(directive, patch)
    out = _retain(dict(doc), patch)
    for name, value in patch.items():
        if name.startswith(ORDER):
            _reorder(out, name[len(ORDER) :], value, patch, schema)
        elif name.startswith(DELETE):
            _delete_primitives(out, name[len(DELETE) :], value)
    for name, value in patch.items():
        if not name.startswith("$"):
            order = patch.get(ORDER + name)
            _merge_member(out, name, value, order if isinstance(order, list) else None, _child(schema, name))
        elif not name.startswith((ORDER, DELETE)) and name not in (DIRECTIVE, RETAIN):
            out[name] = value
    return out


def _child(schema: Schema, name: str) -> Schema:
    return schema.fields.get(name) or (schema.items if schema.type == "map" else None) or _ANY


def _retain(out: Obj, patch: Obj) -> Obj:
    """`$retainKeys` drops every other member; what the patch itself sets must be among those kept."""
    if RETAIN not in patch:
        return out
    keep = patch[RETAIN]
    named = {k.partition("/")[2] if k.startswith((ORDER, DELETE)) else k for k in patch if k not in (DIRECTIVE, RETAIN)}
    if not isinstance(keep, list) or not named <= {k for k in keep if isinstance(k, str)}:
        raise bad_request("invalid patch format of retainKeys")
    return {k: v for k, v in out.items() if k in keep}


def _reorder(out: Obj, name: str, order: Any, patch: Obj, schema: Schema) -> None:
    """`$setElementOrder/x` alone orders the list that is there; with `x` in the same patch, the merge of `x` does it."""
    if name not in schema.fields and schema.type == "object":
        owner = schema.name.rpartition(".")[2] or "object"
        raise bad_request(f'unable to find api field in struct {owner} for the json field "{name}"')
    if not isinstance(order, list):
        raise bad_request("invalid patch format of setElementOrder list")
    field = _child(schema, name)
    if name not in patch and isinstance(out.get(name), list) and "merge" in field.patch_strategy:
        out[name] = order_list(out[name], order, out[name], field.patch_key)


def _delete_primitives(out: Obj, name: str, values: Any) -> None:
    found = out.get(name)
    if isinstance(found, list) and isinstance(values, list):
        check_same_types(found, values)
        out[name] = [v for v in found if v not in values]


def _merge_member(out: Obj, name: str, value: Any, order: list[Any] | None, schema: Schema) -> None:
    if value is None:
        out.pop(name, None)
        return
    if name not in out:
        out[name] = fresh(value)
        return
    found = out[name]
    if isinstance(found, dict) and isinstance(value, dict):
        replace = "replace" in schema.patch_strategy
        out[name] = value if replace else _merge_object(found, value, schema)
    elif isinstance(found, list) and isinstance(value, list):
        out[name] = _merge_list(found, value, order, schema)
    else:
        out[name] = value


def _merge_list(found: list[Any], patch: list[Any], order: list[Any] | None, schema: Schema) -> list[Any]:
    if "merge" not in schema.patch_strategy or not (found or patch):
        return patch
    check_same_types(found, patch)
    if not isinstance((found or patch)[0], dict):
        return merge_primitives(found, patch, order)
    elements = schema.items or _ANY
    return merge_objects(found, patch, order, schema.patch_key, lambda a, b: _merge_object(a, b, elements), fresh)


def fresh(value: Any) -> Any:
    """A patch's value where the document had none: without nulls, and without directives, which have nothing to act on."""
    if isinstance(value, dict):
        if value.get(DIRECTIVE) in ("replace", "delete"):
            return {}
        return {k: fresh(v) for k, v in value.items() if v is not None and not _is_directive(k)}
    if isinstance(value, list):
        return [fresh(v) for v in value if not (isinstance(v, dict) and v.get(DIRECTIVE) in ("replace", "delete"))]
    return value


def _is_directive(name: str) -> bool:
    return name in (DIRECTIVE, RETAIN) or name.startswith((ORDER, DELETE))


def check_same_types(*lists: list[Any]) -> None:
    """A list that merges has elements of one type, before and after."""
    if len({kind_name(v) for values in lists for v in values}) > 1:
        raise bad_request(f"list element types are not identical: {plain(list(lists))}")


def unknown_directive(directive: Any, patch: Obj) -> StatusError:
    return bad_request(f"unknown patch type: {as_string_verb(directive)} in map: {plain(patch)}")

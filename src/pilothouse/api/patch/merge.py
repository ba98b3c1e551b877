"""JSON Merge Patch (RFC 7386): objects merge member by member, null removes, everything else replaces."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj, bad_request
from pilothouse.api.patch.body import parse
from pilothouse.api.patch.text import kind_name


def decode_merge_patch(body: bytes) -> Obj:
    """The patch in a request's body; 400 unless it is an object."""
    patch = parse(body, "error decoding patch: ")
    if patch is None:
        raise bad_request("Invalid JSON Patch")
    if not isinstance(patch, dict):
        raise bad_request(f"error decoding patch: json: cannot unmarshal {kind_name(patch)} into an object")
    return patch


def apply_merge_patch(doc: Obj, patch: Obj) -> Obj:
    """The document with the patch merged in. What the patch does not reach is shared with `doc`, which stays as it was."""
    out = dict(doc)
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        elif isinstance(value, dict):
            below = out.get(name)
            out[name] = apply_merge_patch(below if isinstance(below, dict) else {}, value)
        else:
            out[name] = value
    return out


def without_nulls(value: Any) -> Any:
    """The value less every null member of its objects, at any depth; lists keep their elements."""
    if isinstance(value, dict):
        return {name: without_nulls(v) for name, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value

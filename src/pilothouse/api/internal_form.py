"""How two states of a field that may not change differ, line by line.

The reference server shows such differences in its internal form: all fields of a structure in its own order and under its own names,
those that are not set included. `dump` makes that form from a table of names; `difference` compares two of them as `diff -u` does.
"""

from __future__ import annotations

import difflib
import json
from typing import Any

from pilothouse.api.errors import Obj

#: A structure's fields: "Name:jsonName", and what an unset one shows: nothing more for "", ! for false, ? for null, 0 for 0.
Fields = str


def dump(obj: Obj | None, fields: Fields, nested: dict[str, Fields] | None = None) -> Obj | None:
    """A structure in its internal form. `nested` has the fields of structures in it, by JSON name."""
    if obj is None:
        return None
    out: Obj = {}
    for field in fields.split():
        name, _, key = field.partition(":")
        empty: Any = ""
        if key[-1] in "!?0":
            empty = {"!": False, "?": None, "0": 0}[key[-1]]
            key = key[:-1]
        value = obj.get(key)
        if nested and key in nested:
            out[name] = dump(value, nested[key])
        else:
            out[name] = empty if value is None else value
    return out


def difference(old: Any, new: Any) -> str:
    """The hunks of a unified diff, each line ended."""
    before, after = (json.dumps(v, indent=1, ensure_ascii=False).splitlines() for v in (old, new))
    hunks = list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]
    return "".join(line + "\n" for line in hunks)

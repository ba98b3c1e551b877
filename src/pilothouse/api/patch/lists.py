"""How lists merge in a strategic merge patch, and in which order their elements come out.

Elements that the patch names keep the patch's order (or that of `$setElementOrder`); elements that only the document has keep
theirs and stand as near to their old place as that allows; new elements come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.errors import Obj, bad_request
from pilothouse.api.patch.text import as_string_verb, plain

_DIRECTIVE = "$patch"


def merge_primitives(found: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    """The union of both, each value once."""
    union = list(dict.fromkeys([*found, *patch]))
    return order_list(union, order or list(dict.fromkeys(patch)), found, "")


def merge_objects(found: list[Any], patch: list[Any], order: list[Any] | None, key: str,
                  merge: Callable[[Obj, Obj], Obj], fresh: Callable[[Any], Any]) -> list[Any]:  # fmt: skip
    """Both lists of objects merged by `key`: elements with the same value of it become one."""
    if any(element.get(_DIRECTIVE) == "replace" for element in patch):
        return [element for element in patch if element.get(_DIRECTIVE) != "replace"]
    out = list(found)
    changes = []
    for element in patch:
        if key not in element:
            raise bad_request(f"map: {plain(element)} does not contain declared merge key: {key}")
        if _DIRECTIVE not in element:
            changes.append(element)
        elif element[_DIRECTIVE] == "delete":
            out = [e for e in out if e.get(key) != element[key]]
        elif element[_DIRECTIVE] == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        else:
            raise bad_request(f"unknown patch type: {as_string_verb(element[_DIRECTIVE])} in map: {plain(element)}")
    for element in changes:
        at = next((i for i, e in enumerate(out) if key in e and e[key] == element[key]), None)
        if at is None:
            out.append(fresh(element))
        else:
            out[at] = merge(out[at], element)
    return order_list(out, order or changes, found, key)


def order_list(values: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """`values` in the order of `order` as far as it names them; the others fall in where the list before the patch had them."""
    wanted = _places(order, key)
    server = _places(before, key)
    named = sorted((v for v in values if _identity(v, key) in wanted), key=lambda v: wanted[_identity(v, key)])
    others = sorted(
        (v for v in values if _identity(v, key) not in wanted), key=lambda v: server.get(_identity(v, key), len(server))
    )
    out = []
    for value in named:
        place = server.get(_identity(value, key), -1)
        while others and server.get(_identity(others[0], key), len(server)) < place:
            out.append(others.pop(0))
        out.append(value)
    return out + others


def _places(values: list[Any], key: str) -> dict[Any, int]:
    places: dict[Any, int] = {}
    for at, value in enumerate(values):
        places.setdefault(_identity(value, key), at)
    return places


def _identity(value: Any, key: str) -> Any:
    """What makes an element that element: its merge key's value, or itself."""
    if key:
        value = value.get(key) if isinstance(value, dict) else None
    return plain(value) if isinstance(value, (dict, list)) else (type(value), value)

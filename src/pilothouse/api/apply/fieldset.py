"""Sets of fields, kept in the very form in which managedFields shows them (FieldsV1), so that reading and writing cost nothing.

A set is a tree of dicts. A key is a path element: `f:<name>` a field, `k:{...}` the element of a list with those keys, `v:<json>` the
element of a set with that value, `i:<n>` an index. A node without members `{}` stands for the path itself; a node with members
stands for its own path only if it has the member `.`. The root stands for no path, so `{}` as a whole set is the empty set.

Sets are values: no function changes its arguments, and results share nodes with them. Keys are in the order in which Kubernetes
writes them (`ordered`); results keep that order if the arguments have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

Fields = dict[str, Any]

_LEAF: Fields = {}


def is_member(node: Fields) -> bool:
    """Whether the set has the node's own path."""
    return not node or "." in node


def union(a: Fields, b: Fields) -> Fields:
    """Paths of either set."""
    if not a or a is b:
        return b
    return _union(a, b) if b else a


def _union(a: Fields, b: Fields) -> Fields:
    out = dict(a)
    for key, below in b.items():
        mine = out.get(key)
        out[key] = below if mine is None else _union_nodes(mine, below)
    return out if len(out) == len(a) else {k: out[k] for k in sorted(out)}


def _union_nodes(a: Fields, b: Fields) -> Fields:
    if a is b:
        return a
    if not a:
        return b if is_member(b) else {".": _LEAF, **b}
    if not b:
        return a if is_member(a) else {".": _LEAF, **a}
    return _union(a, b)


def difference(a: Fields, b: Fields) -> Fields:
    """Paths of `a` that are not paths of `b`. Paths below one of `b` stay, if `b` does not have them too."""
    if not b:
        return a
    out = {}
    for key, mine in a.items():
        other = b.get(key)
        left = mine if other is None else _difference(mine, other)
        if left is not None:
            out[key] = left
    return out


def _difference(a: Fields, b: Fields) -> Fields | None:
    children = {}
    for key, mine in a.items():
        if key != ".":
            other = b.get(key)
            left = mine if other is None else _difference(mine, other)
            if left is not None:
                children[key] = left
    return _node(is_member(a) and not is_member(b), children)


def intersection(a: Fields, b: Fields) -> Fields:
    """Paths of both sets."""
    out = {}
    for key in a.keys() & b.keys():
        both = _intersection(a[key], b[key])
        if both is not None:
            out[key] = both
    return out


def _intersection(a: Fields, b: Fields) -> Fields | None:
    children = {}
    for key in a.keys() & b.keys():
        if key != ".":
            both = _intersection(a[key], b[key])
            if both is not None:
                children[key] = both
    return _node(is_member(a) and is_member(b), children)


def covers(a: Fields, b: Fields) -> bool:
    """Whether every path of `b` is one of `a`."""
    for key, other in b.items():
        mine = a.get(key)
        if mine is None or not _covers(mine, other):
            return False
    return True


def _covers(a: Fields, b: Fields) -> bool:
    if is_member(b) and not is_member(a):
        return False
    return all(key == "." or (key in a and _covers(a[key], other)) for key, other in b.items())


def without(a: Fields, b: Fields) -> Fields:
    """Paths of `a` that are neither paths of `b` nor below one."""
    if not b:
        return a
    out = {}
    for key, mine in a.items():
        other = b.get(key)
        left = mine if other is None else None if is_member(other) else _without(mine, other)
        if left is not None:
            out[key] = left
    return out


def _without(a: Fields, b: Fields) -> Fields | None:
    if not a:
        return a
    children = without({k: v for k, v in a.items() if k != "."}, b)
    return _node("." in a, children)


def _node(member: bool, children: Fields) -> Fields | None:
    """A node in its only form; None for one that holds nothing."""
    if not children:
        return _LEAF if member else None
    return {".": _LEAF, **children} if member else children


def ensure_fields(a: Fields) -> Fields:
    """The set, and every field on the way to one of its paths (but no list element that is just on the way)."""
    out = {}
    for key, node in a.items():
        if key == "." or not node:
            out[key] = node
        else:
            below = ensure_fields(node)
            out[key] = {".": _LEAF, **below} if key.startswith("f:") else below
    return out


def from_paths(paths: Iterable[tuple[str, ...]]) -> Fields:
    """The set of plain field paths, as strategies name them: ("spec", "replicas")."""
    out: Fields = {}
    for path in paths:
        one: Fields = _LEAF
        for name in reversed(path):
            one = {f"f:{name}": one}
        out = union(out, one)
    return out


def paths(a: Fields) -> Iterator[tuple[str, ...]]:
    """Every path, each as its elements: those that end at a node before those that go on below it."""
    keys = sorted((k for k in a if k != "."), key=_order)
    for key in keys:
        if is_member(a[key]):
            yield (key,)
    for key in keys:
        for rest in paths(a[key]):
            yield (key, *rest)


def _order(key: str) -> tuple[int, int, str]:
    kind, _, rest = key.partition(":")
    return ("fkvi".find(kind), int(rest) if kind == "i" else 0, rest)


def path_text(path: Iterable[str]) -> str:
    """A path as messages show it: `.spec.containers[name="a"].image`."""
    return "".join(map(element_text, path))


def element_text(key: str) -> str:
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "i":
        return f"[{rest}]"
    if kind == "v":
        return f"[={rest}]"
    return f"[{keys_text(orjson.loads(rest))}]"


def keys_text(keys: dict[str, Any]) -> str:
    return ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in keys.items())


def key_element(keys: dict[str, Any]) -> str:
    """The path element of a list element with these keys."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    """The path element of a set's element."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def ordered(a: Fields) -> Fields:
    """The set with its keys in the order in which Kubernetes writes them."""
    if len(a) < 2:
        return a if not a else {k: ordered(v) if v else v for k, v in a.items()}
    return {k: ordered(a[k]) if a[k] else a[k] for k in sorted(a)}


def checked(raw: Any) -> Fields:
    """A set as a client wrote it. Elements of an unknown kind are left out; anything malformed is a ValueError."""
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    out: Fields = {}
    for key, below in raw.items():
        node = checked(below)
        if key == ".":
            out[key] = _LEAF
            continue
        kept = _checked_key(key)
        if kept and (node or not below):
            out[kept] = _LEAF if len(node) == 1 and "." in node else node
    return out


def _checked_key(key: str) -> str:
    kind, colon, rest = key.partition(":")
    if len(kind) != 1 or not colon:
        raise ValueError(f"missing colon: {key}")
    if kind == "f":
        return key
    if kind == "i":
        return f"i:{int(rest)}"
    if kind == "v":
        return value_element(orjson.loads(rest))
    if kind == "k":
        keys = orjson.loads(rest)
        if not isinstance(keys, dict):
            raise ValueError(f"not an object: {key}")
        return key_element(keys)
    return ""

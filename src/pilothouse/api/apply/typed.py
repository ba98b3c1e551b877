"""Fields of objects: what an object sets, what is different between two, what two make when merged, and what is left less some.

All of these walk objects along their type (see `types`) and give field sets (see `fieldset`). Two rules run through them: an
empty or null container is a leaf, and a container that comes or goes does so with its own path besides those of its parts.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.apply.fieldset import Fields, difference, from_paths, ordered, union, value_element, without
from pilothouse.api.apply.shape import shape_of
from pilothouse.api.apply.types import LEAF, MAP, SET, STRUCT, Type

_LEAF: Fields = {}
_CONTAINERS = (dict, list)

#: Never owned by anybody: the server's own, or the object's identity.
UNOWNED: Fields = from_paths([
    ("apiVersion",), ("kind",), ("metadata",),
    *(("metadata", f) for f in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
                                "resourceVersion")),
])  # fmt: skip


def whole(t: Type, value: Any) -> Fields:
    """The node of a value that came or went as a whole: its own path and all below it."""
    node = parts(t, value)
    return {".": _LEAF, **node} if node else node


def parts(t: Type, value: Any) -> Fields:
    """All paths below a value (its containers included), without its own."""
    kind = t.kind
    if kind == LEAF or not value:
        return _LEAF
    if kind == STRUCT:
        if value.__class__ is not dict:
            return _LEAF
        return {f"f:{k}": whole(t.child(k), v) if v.__class__ in _CONTAINERS else _LEAF for k, v in value.items()}
    if value.__class__ is not list:
        return _LEAF
    if kind == SET:
        return {value_element(v): _LEAF for v in value}
    return {key: whole(t.items, item) for key, item in _by_key(t, value).items()}


def leaves(t: Type, value: Any) -> Fields:
    """What an applied configuration sets: its leaves, and the elements of its lists. A list without elements sets nothing."""
    kind = t.kind
    if kind == LEAF or not value:
        return _LEAF
    if kind == STRUCT:
        if value.__class__ is not dict:
            return _LEAF
        return {f"f:{k}": leaves(t.child(k), v) for k, v in value.items() if v != [] or t.child(k).kind not in (SET, MAP)}
    if value.__class__ is not list:
        return _LEAF
    if kind == SET:
        return {value_element(v): _LEAF for v in value}
    out = {}
    for key, item in _by_key(t, value).items():
        below = leaves(t.items, item)
        out[key] = {".": _LEAF, **below} if below else below
    return out


def _by_key(t: Type, values: list[Any]) -> dict[str, Any]:
    """A MAP's items by path element. Items that share one stand for it together, as a leaf."""
    out: dict[str, Any] = {}
    for item in values:
        key = t.element(item)
        out[key] = None if key in out else item
    return out


# --- comparing ------------------------------------------------------------------------------------------------------------------


class Comparison:
    """How two objects differ, as three sets."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self, added: Fields, modified: Fields, removed: Fields) -> None:
        self.added, self.modified, self.removed = added, modified, removed

    @property
    def set_fields(self) -> Fields:
        """What came or changed."""
        return union(self.added, self.modified)

    def less(self, reset: Fields) -> Comparison:
        """Without the fields that this endpoint does not write."""
        if not reset:
            return self
        return Comparison(without(self.added, reset), without(self.modified, reset), without(self.removed, reset))


def compare(t: Type, old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    """What came, changed and went from `old` to `new`; only subtrees that differ are walked."""
    return Comparison(*_compare_struct(t, old, new))


_Three = tuple[Fields, Fields, Fields]


def _compare_struct(t: Type, old: dict[str, Any], new: dict[str, Any]) -> _Three:
    out: _Three = ({}, {}, {})
    always = t.always
    for name, value in new.items():
        if name in old:
            before = old[name]
            if before is value or before == value:
                continue
        elif name in always:
            before = t.zero(name)
            if before == value:
                continue
        else:
            out[0][f"f:{name}"] = whole(t.child(name), value)
            continue
        _compare(t.child(name), before, value, f"f:{name}", out)
    for name, before in old.items():
        if name not in new:
            _gone(t, name, before, out)
    return out


def _gone(t: Type, name: str, before: Any, out: _Three) -> None:
    if name not in t.always:
        out[2][f"f:{name}"] = whole(t.child(name), before)
    elif before != t.zero(name):
        _compare(t.child(name), before, t.zero(name), f"f:{name}", out)


def _compare(t: Type, old: Any, new: Any, key: str, out: _Three) -> None:
    """Compare two values that differ, and put what is found below `key`."""
    kind = t.kind
    shape = dict if kind == STRUCT else list
    if kind == LEAF or not (old or new) or not _fits(old, shape) or not _fits(new, shape):
        out[1][key] = _LEAF
        return
    if kind == STRUCT:
        found = _compare_struct(t, old or {}, new or {})
    elif kind == SET:
        before, after = (dict.fromkeys(map(value_element, v or ()), _LEAF) for v in (old, new))
        found = _missing(after, before), {}, _missing(before, after)
    else:
        found = _compare_map(t, _by_key(t, old or []), _by_key(t, new or []))
    for into, node in zip(out, found, strict=True):
        if node:
            into[key] = node


def _fits(value: Any, shape: type) -> bool:
    return value is None or isinstance(value, shape)


def _missing(a: Fields, b: Fields) -> Fields:
    return {key: _LEAF for key in a if key not in b}


def _compare_map(t: Type, old: dict[str, Any], new: dict[str, Any]) -> _Three:
    out: _Three = ({}, {}, {})
    for key, item in new.items():
        if key not in old:
            out[0][key] = whole(t.items, item)
        elif old[key] != item:
            _compare(t.items, old[key], item, key, out)
    for key, item in old.items():
        if key not in new:
            out[2][key] = whole(t.items, item)
    return out


# --- new objects ----------------------------------------------------------------------------------------------------------------

#: Shapes are kept as long as all of them together name no more fields than this, and no single one more than the second (about 10 MB):
#: objects that each have fields of their own (maps with thousands of keys, say) must not fill the memory.
_MAX_FIELDS, _MAX_OF_ONE = 60_000, 1_000


class _Kept:
    """The shapes that all types together remember."""

    def __init__(self) -> None:
        self._fields = 0
        self._types: dict[int, Type] = {}

    def add(self, t: Type, shape: Any, found: Fields) -> None:
        size = _size(found)
        if size > _MAX_OF_ONE:
            return
        if self._fields + size > _MAX_FIELDS:
            for known in self._types.values():
                known.shapes.clear()
            self._types.clear()
            self._fields = 0
        self._fields += size
        self._types[id(t)] = t
        t.shapes[shape] = found


_kept = _Kept()


def _size(fields: Fields) -> int:
    return len(fields) + sum(_size(below) for below in fields.values() if below)


def created(t: Type, obj: dict[str, Any], reset: Fields) -> Fields:
    """What a new object sets. Found once per shape (structure and list keys) and shared between all objects of that shape."""
    key: list[Any] = [id(reset), shape_of(t)(obj)]
    _empty_fixed(t, obj, key)
    shape = tuple(key)
    found = t.shapes.get(shape)
    if found is None:
        found = ordered(difference(compare(t, {}, obj).less(reset).set_fields, UNOWNED))
        _kept.add(t, shape, found)
    return found


def _empty_fixed(t: Type, obj: dict[str, Any], out: list[Any]) -> None:
    """Which of the fields that every object of the kind has are without a value: those are not new in any object."""
    for name in t.always:
        value = obj.get(name)
        if not value:
            out.append((name, value.__class__))
        elif value.__class__ is dict and (below := t.inner.get(name)) is not None and below.always:
            _empty_fixed(below, value, out)


# --- merging --------------------------------------------------------------------------------------------------------------------


def merge(t: Type, live: Any, config: Any) -> Any:
    """The live value with the configuration laid over it. Shares what is not in both."""
    kind = t.kind
    if kind == LEAF or not (live or config):
        return config
    if kind == STRUCT:
        if not isinstance(live or {}, dict) or not isinstance(config or {}, dict):
            return config
        return _merge_struct(t, live or {}, config or {})
    if not isinstance(live or [], list) or not isinstance(config or [], list):
        return config
    element = value_element if kind == SET else t.element
    return _merge_lists(t, live or [], config or [], [element(v) for v in live or ()], [element(v) for v in config or ()])


def _merge_struct(t: Type, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    out = dict(live)
    for name, value in config.items():
        out[name] = merge(t.child(name), live[name], value) if name in live else value
    return out


def _merge_lists(t: Type, live: list[Any], config: list[Any], at_live: list[str], at_config: list[str]) -> list[Any]:
    """Elements of both lists. Those of the configuration come in its order; those that only the live list has stay where they are
    between the ones around them, as far as the configuration's order lets them."""
    theirs = dict(zip(at_live, live, strict=True))
    mine = dict(zip(at_config, config, strict=True))
    shared = [key for key in at_config if key in theirs]
    out: list[Any] = []
    left = right = turn = 0  # positions in live and config, and in shared the element that both must reach next
    while left < len(live) or right < len(config):
        key = at_live[left] if left < len(live) else None
        if key is not None and key not in mine:
            out.append(live[left])
            left += 1
        elif key is not None and (right == len(config) or (turn < len(shared) and key != shared[turn])):
            left += 1  # comes, or came, with the configuration
        elif key is not None and turn == len(shared):
            left += 1
        else:
            name = at_config[right]
            out.append(merge(t.items, theirs[name], config[right]) if name in theirs and t.kind == MAP else config[right])
            right += 1
            turn += turn < len(shared) and name == shared[turn]
    return out


# --- removing -------------------------------------------------------------------------------------------------------------------


def remove(t: Type, value: Any, gone: Fields) -> Any:
    """The value without the paths of `gone` and what is below them."""
    if not gone or t.kind == LEAF or not value:
        return value
    if t.kind == STRUCT:
        return _remove_fields(t, value, gone) if isinstance(value, dict) else value
    if not isinstance(value, list):
        return value
    out = []
    for item in value:
        node = gone.get(value_element(item) if t.kind == SET else t.element(item))
        if node is None:
            out.append(item)
        elif node and "." not in node:
            out.append(remove(t.items, item, node))
    return out


def _remove_fields(t: Type, value: dict[str, Any], gone: Fields) -> dict[str, Any]:
    out = {}
    for name, below in value.items():
        node = gone.get(f"f:{name}")
        if node is None:
            out[name] = below
        elif node and "." not in node:
            out[name] = remove(t.child(name), below, node)
    return out

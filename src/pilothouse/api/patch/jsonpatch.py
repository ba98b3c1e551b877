"""JSON Patch (RFC 6902) over JSON Pointers (RFC 6901), as the API server carries it out.

It is more lenient than the RFC in ways that clients have come to rely on: `replace` of a missing member adds it, `copy` of a
missing member copies null, negative indexes count from the end, and what stands before a pointer's first slash is ignored.
Whatever cannot be carried out is one 422 for the whole patch, and nothing of it is kept.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.api.patch.body import parse, refused
from pilothouse.api.patch.text import kind_name

MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024  # bytes that `copy` operations may add in all

_INDEX = re.compile(r"[+-]?[0-9]{1,18}")
_MISSING = object()


def decode_json_patch(body: bytes) -> list[Obj]:
    """The operations in a request's body; 400 for another shape, 413 for too many. A null body is no operation at all."""
    ops = parse(body, "error decoding patch: ")
    if ops is None:
        return []
    if not isinstance(ops, list):
        raise bad_request(f"error decoding patch: json: cannot unmarshal {kind_name(ops)} into a list of operations")
    if len(ops) > MAX_OPERATIONS:
        text = f"Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        raise StatusError(413, "RequestEntityTooLarge", text)
    return [_checked(op) for op in ops]


def _checked(op: Any) -> Obj:
    if op is None:
        return {}
    if not isinstance(op, dict):
        raise bad_request(f"error decoding patch: json: cannot unmarshal {kind_name(op)} into an operation")
    for member in ("op", "path", "from"):
        if not isinstance(op.get(member, ""), (str, type(None))):
            raise bad_request(
                f"error decoding patch: json: cannot unmarshal {kind_name(op[member])} into {member} of type string"
            )
    return op


def apply_json_patch(doc: Any, ops: list[Obj]) -> Any:
    """The document after all operations, in order. `doc` is not changed; untouched parts are shared with it."""
    work = _Work(doc)
    for op in ops:
        name = op.get("op")
        step = _OPERATIONS.get(name) if isinstance(name, str) else None
        path = op.get("path")
        if step is None or not isinstance(path, str):
            raise refused()
        step(work, path, op)
    return work.doc


class _Work:
    """A document being patched: containers are copied when first changed, and remembered as ours from then on."""

    def __init__(self, doc: Any) -> None:
        self.doc = doc
        self.copied = 0
        self._ours: dict[int, Any] = {}

    def parent(self, path: str) -> tuple[Any, str]:
        """The container that a pointer's last part is in, ready to be changed, and that part."""
        parts = path.split("/")
        if len(parts) < 2:
            raise refused()
        at = self.doc = self._own(self.doc)
        for part in parts[1:-1]:
            key = _key(at, _unescape(part))
            below = at[key] if isinstance(at, list) else at.get(key)
            if not isinstance(below, (dict, list)):
                raise refused()
            at[key] = at = self._own(below)
        return at, _unescape(parts[-1])

    def _own(self, container: Any) -> Any:
        if id(container) in self._ours:
            return container
        mine = dict(container) if isinstance(container, dict) else list(container)
        self._ours[id(mine)] = mine
        return mine


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~") if "~" in part else part


def _key(container: Any, part: str) -> Any:
    """`part` as a key of the container: a name, or the index of an element that exists."""
    return _index(part, len(container)) if isinstance(container, list) else part


def _index(part: str, size: int) -> int:
    if not _INDEX.fullmatch(part):
        raise refused()
    at = int(part)
    if at < 0:
        at += size
    if not 0 <= at < size:
        raise refused()
    return at


def _read(container: Any, part: str) -> Any:
    return container[_index(part, len(container))] if isinstance(container, list) else container.get(part, _MISSING)


def _insert(container: Any, part: str, value: Any) -> None:
    if isinstance(container, dict):
        container[part] = value
    elif part == "-":
        container.append(value)
    else:
        container.insert(_index(part, len(container) + 1), value)


def _add(work: _Work, path: str, op: Obj) -> None:
    container, part = work.parent(path)
    _insert(container, part, op.get("value"))


def _remove(work: _Work, path: str, op: Obj) -> None:
    container, part = work.parent(path)
    key = _key(container, part)
    if isinstance(container, dict) and key not in container:
        raise refused()
    del container[key]


def _replace(work: _Work, path: str, op: Obj) -> None:
    value = op.get("value")
    if path == "":
        if not isinstance(value, (dict, list)):
            raise refused()
        work.doc = value
        return
    container, part = work.parent(path)
    container[_key(container, part)] = value


def _move(work: _Work, path: str, op: Obj) -> None:
    container, part = _source(work, op)
    value = _read(container, part)
    if value is _MISSING:
        raise refused()
    del container[_key(container, part)]
    target, name = work.parent(path)
    _insert(target, name, value)


def _copy(work: _Work, path: str, op: Obj) -> None:
    value = _read(*_source(work, op))
    if value is _MISSING:
        value = None
    target, name = work.parent(path)
    encoded = orjson.dumps(value)
    work.copied += len(encoded)
    if work.copied > MAX_COPIED:
        raise refused()
    _insert(target, name, orjson.loads(encoded))


def _source(work: _Work, op: Obj) -> tuple[Any, str]:
    source = op.get("from")
    if not isinstance(source, str):
        raise refused()
    return work.parent(source)


def _test(work: _Work, path: str, op: Obj) -> None:
    if path == "":
        found = work.doc
    else:
        found = _read(*work.parent(path))
    if not _same(None if found is _MISSING else found, op.get("value")):
        raise refused()


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON text: 1 and 1.0 and true are three values."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


_OPERATIONS = {"add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test}

"""Stored objects as the hub holds them: encoded once, decoded when somebody looks.

The store's value is JSON that begins with kind, apiVersion and metadata, without a resourceVersion; what clients get is the same
bytes with the resourceVersion spliced in by position. So a GET sends bytes that were made when the object was written, a LIST
joins them, a WATCH frames them. Decoded objects are shared by everyone in the process and are never changed; only a bounded
number of them is kept (`Decoded`), the others are decoded anew when needed.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import Any, Final

import orjson

from pilothouse.api.errors import Obj

_NO_LABELS: Final[dict[str, str]] = {}
#: Hand out objects that refuse to be changed: a test mode that finds whoever does.
FREEZE = os.environ.get("PILOTHOUSE_FREEZE", "") not in ("", "0")


class Decoded:
    """Which entries keep their decoded object: the latest, up to a number of encoded bytes."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self.limit = limit
        self._held = 0
        self._entries: deque[Entry] = deque()

    def hold(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._held += len(entry.encoded)
        while self._held > self.limit and len(self._entries) > 1:
            oldest = self._entries.popleft()
            self._held -= len(oldest.encoded)
            oldest.forget()


class Entry:
    """One object at one revision. `encoded` is the whole object as JSON; `labels` and `fields` are what selectors look at."""

    __slots__ = ("_decoded", "_obj", "encoded", "fields", "key", "labels", "revision", "row", "version")

    def __init__(self, key: str, revision: int, encoded: bytes, decoded: Decoded) -> None:
        self.key = key
        self.revision = revision
        self.encoded = encoded
        self.labels: dict[str, str] = _NO_LABELS
        self.fields: tuple[str, ...] = ()
        self._obj: Obj | None = None
        self._decoded = decoded
        #: How the entry looks in a Table, once it was shown in one (rows.py).
        self.row: Any = None
        #: The apiVersion that the object was stored as, where it is not the one that is stored now (custom resources).
        self.version = ""

    @property
    def obj(self) -> Obj:
        """The decoded object. Shared: never change it; `fresh` gives a copy that may be changed."""
        obj = self._obj
        if obj is None:
            obj = orjson.loads(self.encoded)
            self.keep(obj)
            if FREEZE:
                return self.obj
        return obj

    @property
    def is_decoded(self) -> bool:
        """Whether the decoded object is at hand."""
        return self._obj is not None

    def peek(self) -> Obj:
        """The decoded object for one look: not kept if it was not. Shared: never change it."""
        if self._obj is not None:
            return self._obj
        return self.obj if FREEZE else self.fresh()

    def keep(self, obj: Obj) -> None:
        """Take `obj` as the decoded form."""
        self._obj = freeze(obj) if FREEZE else obj
        self._decoded.hold(self)

    def fresh(self) -> Obj:
        """A copy of the object, the caller's own."""
        obj: Obj = orjson.loads(self.encoded)
        return obj

    def forget(self) -> None:
        self._obj = None

    @property
    def name(self) -> str:
        return self.key[self.key.rindex("/") + 1 :]


def head_of(kind: str, api_version: str) -> bytes:
    """How every stored object of a kind begins."""
    return f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{'.encode()


_ORDER = ["kind", "apiVersion", "metadata"]


def encode(obj: Obj, kind: str, api_version: str) -> bytes:
    """The store's value for an object: canonical order at the top, no resourceVersion."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata:
        metadata = {k: v for k, v in metadata.items() if k != "resourceVersion"}
    elif list(islice(obj, 3)) == _ORDER and obj["kind"] == kind and obj["apiVersion"] == api_version:
        return orjson.dumps(obj)
    top = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
    top.update((k, v) for k, v in obj.items() if k not in top)
    return orjson.dumps(top)


def splice(value: bytes, head: bytes, revision: int) -> bytes:
    """The stored value with its resourceVersion in it."""
    if value.startswith(head):
        return b'%b"resourceVersion":"%d",%b' % (head, revision, value[len(head) :])
    return _splice_foreign(value, head, revision)


def _splice_foreign(value: bytes, head: bytes, revision: int) -> bytes:
    """A value that somebody else wrote (a kube-apiserver on the same etcd): brought into our order first."""
    obj = orjson.loads(value)
    start = orjson.loads(head + b"}}")
    return splice(encode(obj, start["kind"], start["apiVersion"]), head, revision)


def version_of(value: bytes, current: str) -> str:
    """The apiVersion in a stored value; "" if it is the current one."""
    found = str(orjson.loads(value).get("apiVersion") or current)
    return "" if found == current else found


def redate(encoded: bytes, head: bytes, revision: int) -> bytes:
    """Encoded bytes with another resourceVersion: the last state of a deleted object carries the deletion's."""
    start = len(head) + len(b'"resourceVersion":"')
    end = encoded.index(b'"', start)
    return b"%b%d%b" % (encoded[:start], revision, encoded[end:])


class FrozenDict(dict[str, Any]):
    """A dict of a shared object in freeze mode."""

    __slots__ = ()

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("this object is shared by the whole hub: take a fresh copy to change it")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class FrozenList(list[Any]):
    """A list of a shared object in freeze mode."""

    __slots__ = ()

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("this list is shared by the whole hub: take a fresh copy to change it")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = pop = remove = reverse = sort = _refuse


def freeze(value: Any) -> Any:
    """A deep copy that refuses to be changed."""
    if isinstance(value, FrozenDict | FrozenList):
        return value
    if isinstance(value, dict):
        return FrozenDict((k, freeze(v)) for k, v in value.items())
    if isinstance(value, list):
        return FrozenList(freeze(v) for v in value)
    return value

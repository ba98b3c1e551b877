"""Tables as bytes: what a row costs is paid once for each entry.

What cells say of an object does not change while the object does not, except for ages. So an entry that is shown in a Table keeps its
row as a template, with the moments that ages are counted from; serving it fills in the ages. The metadata is a slice of the entry's
own bytes, so a row costs some hundred bytes of memory, and entries that nobody lists as Tables have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from pilothouse.api.duration import human
from pilothouse.api.errors import Obj
from pilothouse.api.table import LATER
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.registry import Served

#: A moment in encoded cells (api/table.py); objects with such a character of their own are rendered at each call.
_NUL: Final = rb"\u0000"
_MARK: Final = re.compile(rb"\\u0000([0-9.e+-]+)\\u0000")
#: Where the ownership of fields begins, and what of the metadata may follow it. What comes then shows that this is no part of a name:
#: within a string there is no quote without a backslash but the one that ends it, and no letter follows that one.
_OWNED: Final = b',"managedFields":['
_REST: Final = re.compile(rb'(?:,"[A-Za-z]+":(?:"[^"\\]*"|[0-9]+))*\}(?=,"[A-Za-z]+":|\}\Z)')
_INCLUDED = {"Metadata", "Object"}


class Row:
    """One entry's row. `template % ages` is the row up to its object; `metadata`: where it ends in the entry's bytes, or itself."""

    __slots__ = ("metadata", "moments", "template")

    def __init__(self, template: bytes, moments: tuple[float, ...], metadata: int | bytes) -> None:
        self.template = template
        self.moments = moments
        self.metadata = metadata


class Rows:
    """Makes rows for one answer: at one moment, of one form of Table. `include` is what stands beside the cells."""

    def __init__(self, served: Served, api_version: str, include: str, now: float) -> None:
        self._served = served
        self._include = include if include in _INCLUDED else ""
        self._now = now
        self._ages: dict[float, bytes] = {}
        self._partial = _partial_head(api_version)

    def row(self, entry: Entry) -> bytes:
        """An entry's row as JSON."""
        row = _row(self._served, entry, self._now)
        start = row.template % tuple([self._age(m) for m in row.moments])
        if self._include == "Metadata":
            return b"%b%b%b}}" % (start, self._partial, _metadata(self._served, entry, row))
        return b"%b%b}" % (start, self._served.encoded(entry) if self._include else b"null")

    def _age(self, moment: float) -> bytes:
        age = self._ages.get(moment)
        if age is None:
            age = self._ages[moment] = human(self._now - moment).encode()
        return age


def table(api_version: str, metadata: Any, columns: Any, rows: Iterable[bytes]) -> bytes:
    """A Table of rows."""
    head = orjson.dumps({"kind": "Table", "apiVersion": api_version, "metadata": metadata, "columnDefinitions": columns})
    return b'%b,"rows":[%b]}' % (head[:-1], b",".join(rows))


def _partial_head(api_version: str) -> bytes:
    """A PartialObjectMetadata up to its metadata."""
    return orjson.dumps({"kind": "PartialObjectMetadata", "apiVersion": api_version})[:-1] + b',"metadata":'


def _metadata(served: Served, entry: Entry, row: Row) -> Any:
    found = row.metadata
    return found if isinstance(found, bytes) else memoryview(entry.encoded)[served.metadata_offset : found]


def _row(served: Served, entry: Entry, now: float) -> Row:
    """The entry's row, made when it is first asked for."""
    if not served.same_version:
        return _rendered(served, entry, now)
    row = entry.row
    if row is None:
        keep = _NUL not in entry.encoded
        row = _rendered(served, entry, LATER if keep else now)
        if keep:
            entry.row = row
    return row


def _rendered(served: Served, entry: Entry, now: float) -> Row:
    """The row with its ages at `now`, or with places for them if that is LATER."""
    obj, end = _look(served, entry)
    strategy = served.strategy
    row: dict[str, Any] = {"cells": strategy.cells(obj, now)}
    conditions = strategy.row_conditions(obj)
    if conditions:
        row["conditions"] = conditions
    text = orjson.dumps(row)[:-1].replace(b"%", b"%%") + b',"object":'
    moments: tuple[float, ...] = ()
    if now is LATER:
        found = _MARK.findall(text)
        moments = tuple([float(m) for m in found])
        for mark in found:
            text = text.replace(b"%b%b%b" % (_NUL, mark, _NUL), b"%b", 1)
    shown = strategy.bare_metadata(obj)
    if end and shown is obj["metadata"]:
        return Row(text, moments, end)
    encoded = orjson.dumps(shown)
    end = served.metadata_offset + len(encoded)
    if served.same_version and shown is obj["metadata"] and _is_slice(entry.encoded, served.metadata_offset, end, encoded):
        return Row(text, moments, end)
    return Row(text, moments, encoded)


def _look(served: Served, entry: Entry) -> tuple[Obj, int]:
    """The object, and where its metadata ends in the entry's bytes (0: not known).

    No cell shows who owns which field, which is a third of many objects: those bytes are passed over where nothing but plain fields
    (uid, times, generation) follows them.
    """
    if not served.same_version:
        return served.obj(entry), 0
    whole = entry.encoded
    owned = whole.find(_OWNED, served.metadata_offset)
    if owned < 0:
        return entry.peek(), 0
    after = whole.find(b"}]", owned) + 2
    rest = _REST.match(whole, after)
    if rest is None:
        return entry.peek(), 0
    if entry.is_decoded:
        return entry.obj, rest.end()
    return orjson.loads(b"%b%b" % (whole[:owned], whole[after:])), rest.end()


def _is_slice(whole: bytes, start: int, end: int, encoded: bytes) -> bool:
    """Whether whole[start:end] says the same as `encoded`: the order of fields may differ, and another writer may escape otherwise."""
    part = whole[start:end]
    if part == encoded:
        return True
    try:
        return bool(orjson.loads(part) == orjson.loads(encoded))
    except orjson.JSONDecodeError:
        return False

"""Tables as bytes: what a row costs is paid once for each entry.

What cells say of an object does not change while the object does not, except for ages. So an entry that is shown in a Table keeps its
row as a template, with the moments that ages are counted from; serving it fills in the ages. The metadata is a slice of the entry's
own bytes, so a row costs some hundred bytes of memory, and entries that nobody lists as Tables have none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final, get_type_hints

import orjson

from pilothouse.api.duration import human
from pilothouse.api.errors import Obj
from pilothouse.api.table import LATER
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.registry import Served

#: A moment in encoded cells (api/table.py); objects with such a character of their own are rendered at each call.
_NUL: Final = rb"\u0000"
_MARK: Final = re.compile(rb"\\u0000([0-9.e+-]+)\\u0000")
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


def table_head(api_version: str, metadata: Any, columns: Any) -> bytes:
    """A Table up to its rows."""
    head = orjson.dumps({"kind": "Table", "apiVersion": api_version, "metadata": metadata, "columnDefinitions": columns})
    return head[:-1] + b',"rows":['


def _partial_head(api_version: str) -> bytes:
    """A PartialObjectMetadata up to its metadata."""
    return orjson.dumps({"kind": "PartialObjectMetadata", "apiVersion": api_version})[:-1] + b',"metadata":'


def _metadata(served: Served, entry: Entry, row: Row) -> Any:
    found = row.metadata
    return found if isinstance(found, bytes) else memoryview(entry.encoded)[served.metadata_offset : found]


def _row(served: Served, entry: Entry, now: float) -> Row:
    """The entry's row, made when it is first asked for."""
    if not served.same_version:
        # built-in kinds show what is stored: both versions of a kind have the same rows
        return _rendered(served, served.obj(entry) if served.custom else entry.peek(), now, 0)
    row = entry.row
    if row is None:
        keep = _NUL not in entry.encoded
        length, obj = _look(served, entry)
        row = _rendered(served, obj, LATER if keep else now, served.metadata_offset + length)
        if keep:
            entry.row = row
    return row


def _rendered(served: Served, obj: Obj, now: float, end: int) -> Row:
    """The row with its ages at `now`, or with places for them if that is LATER. `end`: of its metadata in the entry's bytes, if it is there."""
    strategy = served.strategy
    row: dict[str, Any] = {"cells": strategy.cells(obj, now)}
    conditions = strategy.row_conditions(obj)
    if conditions:
        row["conditions"] = conditions
    text = orjson.dumps(row)[:-1].replace(b"%", b"%%") + b',"object":'
    moments: tuple[float, ...] = ()
    if now is LATER:
        parts = _MARK.split(text)
        text = b"%b".join(parts[::2])
        moments = tuple(map(float, parts[1::2]))
    shown = strategy.bare_metadata(obj)
    as_stored = end and shown is obj["metadata"]
    return Row(text, moments, end if as_stored else orjson.dumps(shown))


# --- looking at entries ---------------------------------------------------------------------------------------------------------


def _look(served: Served, entry: Entry) -> tuple[int, Obj]:
    """How long the metadata is in the entry's bytes, and as much of the object as the kind's cells show.

    Most of an object is in no cell: field ownership, environments, probes. A typed decoder passes over what a kind's `view` does
    not name, in a fraction of the time that decoding takes. Entries that are decoded already only need their metadata found.
    """
    view = None if entry.is_decoded else served.strategy.view
    try:
        length, obj = _decoder(view)(entry.encoded)
    except ValueError:  # other types than the kind has: written by somebody else, who had no schema
        length, obj = _decoder(None)(entry.encoded)
    return length, entry.peek() if obj is None else obj


@functools.cache
def _decoder(view: Any) -> Callable[[bytes], tuple[int, Obj | None]]:
    """What finds an object's metadata, and decodes the fields of a view (a TypedDict; None: no field)."""
    import msgspec

    hints = get_type_hints(view) if view else {}
    metadata = msgspec.json.Decoder(hints.pop("metadata", None)).decode
    places: list[Any] = [
        ("metadata", msgspec.Raw),
        *((field, kind, msgspec.field(default_factory=dict)) for field, kind in hints.items()),
    ]
    decode = msgspec.json.Decoder(msgspec.defstruct("Shown", places)).decode

    def look(encoded: bytes) -> tuple[int, Obj | None]:
        found: Any = decode(encoded)
        length = len(memoryview(found.metadata))
        if view is None:
            return length, None
        obj = msgspec.structs.asdict(found)
        obj["metadata"] = metadata(found.metadata)
        return length, obj

    return look

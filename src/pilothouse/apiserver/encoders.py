"""How a watch's events are written: one encoder a format. Equal encoders share the bytes of an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson

from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.negotiate import PROTOBUF
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.render import Wish, column_definitions, partial, table
from pilothouse.apiserver.rows import Rows, table_head


class Encoder(Protocol):
    """Makes the frames of one format. `key` is equal for encoders that make the same bytes (None: never shared)."""

    key: Any

    async def ready(self, entries: Iterable[Entry]) -> None:
        """Where objects are converted by a webhook: have these converted, for `frame`."""

    def frame(self, type: str, entry: Entry) -> bytes: ...

    def bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes: ...

    def error(self, error: StatusError) -> bytes: ...


class PlainEncoder:
    """The stored JSON, in the resource's version."""

    def __init__(self, served: Served) -> None:
        self._served = self._origin = served
        self.key: Any = ("plain", served.resource.api_version)

    async def ready(self, entries: Iterable[Entry]) -> None:
        self._served = await self._origin.ready(entries)

    def frame(self, type: str, entry: Entry) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type.encode(), self._served.encoded(entry))

    def bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        resource = self._served.resource
        return _frame("BOOKMARK", bookmark_object(resource.kind, resource.api_version, revision, annotations))

    def error(self, error: StatusError) -> bytes:
        return _frame("ERROR", error.status())


class TransformEncoder:
    """Tables and metadata-only events. A Table names its columns in the first event of each watch, so Tables are not shared."""

    def __init__(self, served: Served, wish: Wish, now: Callable[[], float]) -> None:
        self._served = self._origin = served
        self._wish = wish
        self._now = now
        self._named = False
        is_table = wish.fmt.transform == "Table"
        self.key: Any = None if is_table else ("partial", wish.fmt)

    async def ready(self, entries: Iterable[Entry]) -> None:
        self._served = await self._origin.ready(entries)

    def frame(self, type: str, entry: Entry) -> bytes:
        fmt = self._wish.fmt
        if fmt.transform != "Table":
            return _frame(type, partial(self._served, self._served.obj(entry), fmt.api_version))
        columns = None if self._named else column_definitions(self._served)
        self._named = True
        rows = Rows(self._served, fmt.api_version, self._wish.include, self._now())
        head = table_head(fmt.api_version, {"resourceVersion": str(entry.revision)}, columns)
        return b'{"type":"%b","object":%b%b]}}\n' % (type.encode(), head, rows.row(entry))

    def bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        fmt = self._wish.fmt
        obj = bookmark_object("PartialObjectMetadata", fmt.api_version, revision, annotations)
        if fmt.transform == "Table":
            cells = ["" for _ in column_definitions(self._served)]
            obj = table(
                self._served, {"resourceVersion": str(revision)}, [{"cells": cells, "object": obj}], self._wish, not self._named
            )
            self._named = True
        return _frame("BOOKMARK", obj)

    def error(self, error: StatusError) -> bytes:
        return _frame("ERROR", error.status())


def encoder_for(served: Served, wish: Wish, now: Callable[[], float]) -> Encoder:
    """The encoder of the format that a client wants to see."""
    if wish.fmt.media == PROTOBUF:
        from pilothouse.apiserver.protobuf_encoder import ProtobufEncoder

        return ProtobufEncoder(served, wish.fmt)
    return TransformEncoder(served, wish, now) if wish.fmt.transform else PlainEncoder(served)


def _frame(type: str, obj: Obj) -> bytes:
    return orjson.dumps({"type": type, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)


def bookmark_object(kind: str, api_version: str, revision: int, annotations: dict[str, str] | None) -> Obj:
    metadata: Obj = {"resourceVersion": str(revision)}
    if annotations:
        metadata["annotations"] = annotations
    return {"kind": kind, "apiVersion": api_version, "metadata": metadata}

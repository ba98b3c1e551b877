"""From entries and objects to the bytes of an answer: JSON as it was stored, YAML, Tables, metadata only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.messages import Answer, Response
from pilothouse.apiserver.negotiate import JSON, PLAIN, PROTOBUF, Format, error_format
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.rows import Rows, table_head

_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_INCLUDES = ("", "None", "Metadata", "Object")
#: How many objects of a list are joined at a time.
_BATCH = 64


def encode_as(obj: Any, fmt: Format, pretty: bool = False) -> bytes:
    """An object in the format's media type."""
    if fmt.media == PROTOBUF:
        from pilothouse.api import protobuf_write

        return protobuf_write.write(obj)
    if fmt.media != JSON:
        from pilothouse.apiserver.goyaml import dump

        return dump(obj)
    return orjson.dumps(obj, option=_PRETTY) if pretty or fmt.pretty else orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)


def json_response(
    status: int, obj: Any, fmt: Format = PLAIN, pretty: bool = False, headers: Iterable[tuple[str, str]] | None = None
) -> Response:
    """An object that exists only for this answer."""
    response = Response(status, encode_as(obj, fmt, pretty), fmt.media, headers)
    response.native = obj
    return response


def status_response(error: StatusError, accept: str = "", pretty: bool = False, protobuf: bool = True) -> Response:
    """A Status, in the client's format where that is possible, with Retry-After where it says so."""
    status = error.status()
    response = json_response(error.code, status, error_format(accept, protobuf), pretty)
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds and error.code in (429, 503, 504, 500):
        response.add("Retry-After", str(seconds))
    return response


@dataclass(slots=True)
class ListMeta:
    """A list's metadata."""

    revision: int
    token: str = ""
    remaining: int | None = None

    def as_dict(self) -> Obj:
        out: Obj = {"resourceVersion": str(self.revision)}
        if self.token:
            out["continue"] = self.token
        if self.remaining:
            out["remainingItemCount"] = self.remaining
        return out


@dataclass(slots=True)
class Wish:
    """What a client wants to see: a format, how much of the object beside a Table's row, and whether for human eyes."""

    fmt: Format = PLAIN
    include: str = "Metadata"
    pretty: bool = False
    now: float = 0.0

    @property
    def plain(self) -> bool:
        return self.fmt is PLAIN and not self.pretty

    @property
    def compact(self) -> bool:
        """JSON for machines."""
        return self.fmt.media == JSON and not self.pretty and not self.fmt.pretty


#: What most clients want: the object as it is stored.
PLAIN_WISH = Wish()


def check_include(text: str) -> str:
    """The includeObject parameter, or 400."""
    if text not in _INCLUDES:
        raise bad_request(
            f"Unable to convert to Table as requested: includeObject: Invalid value: \"{text}\": must be 'Metadata', 'Object', 'None', or empty"
        )
    return text or "Metadata"


# --- one object ---------------------------------------------------------------------------------------------------------------


def entry_response(served: Served, entry: Entry, wish: Wish, status: int = 200) -> Response:
    """A stored object."""
    if wish.plain:
        return Response(status, served.encoded(entry))
    if wish.compact and wish.fmt.transform == "Table":
        head = table_head(wish.fmt.api_version, {"resourceVersion": str(entry.revision)}, column_definitions(served))
        row = Rows(served, wish.fmt.api_version, wish.include, wish.now).row(entry)
        return Response(status, b"%b%b]}\n" % (head, row), wish.fmt.media)
    return object_response(served, served.obj(entry), wish, status)


def object_response(served: Served, obj: Obj, wish: Wish, status: int = 200) -> Response:
    """An object that is not (or no longer) stored."""
    if wish.plain:
        return Response(status, served.response_bytes(obj))
    return json_response(status, transformed(served, obj, wish), wish.fmt, wish.pretty)


def transformed(served: Served, obj: Obj, wish: Wish) -> Obj:
    """The object as the format wants it."""
    kind = wish.fmt.transform
    if kind == "Table":
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return table(served, metadata, [row(served, obj, wish)], wish)
    if kind == "PartialObjectMetadata":
        return partial(served, obj, wish.fmt.api_version)
    if kind == "PartialObjectMetadataList":
        internal = f"*{_internal(served)}"
        raise StatusError(406, "NotAcceptable", f"you requested {kind}, but the requested object is not a list ({internal})")
    return obj


def _internal(served: Served, suffix: str = "") -> str:
    """The reference server's name for its in-memory type, which shows in two messages."""
    group = served.resource.group.partition(".")[0] or "core"
    return f"{group}.{served.resource.kind}{suffix}"


def partial(served: Served, obj: Obj, api_version: str) -> Obj:
    """Only the metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": served.strategy.bare_metadata(obj)}


def row(served: Served, obj: Obj, wish: Wish) -> Obj:
    """One row of a Table."""
    shown: Obj | None = None
    if wish.include == "Object":
        shown = obj
    elif wish.include == "Metadata":
        shown = partial(served, obj, wish.fmt.api_version)
    out: Obj = {"cells": served.strategy.cells(obj, wish.now), "object": shown}
    conditions = served.strategy.row_conditions(obj)
    if conditions:
        out["conditions"] = conditions
    return out


def table(served: Served, metadata: Obj, rows: Sequence[Obj], wish: Wish, columns: bool = True) -> Obj:
    """A Table; watches name the columns in their first event only."""
    return {
        "kind": "Table",
        "apiVersion": wish.fmt.api_version,
        "metadata": metadata,
        "columnDefinitions": column_definitions(served) if columns else None,
        "rows": rows,
    }


def column_definitions(served: Served) -> list[Obj]:
    return [
        {"name": c.name, "type": c.type, "format": c.format, "description": "", "priority": c.priority}
        for c in served.strategy.columns
    ]  # fmt: skip


# --- lists --------------------------------------------------------------------------------------------------------------------


def entries_response(served: Served, entries: list[Entry], meta: ListMeta, wish: Wish) -> Response:
    """A list of stored objects; plain JSON is joined from what is encoded already, in pieces as the client takes them."""
    if wish.plain:
        return _joined(served, entries, meta)
    if wish.fmt.transform == "Table" and served.strategy.table_sorted:
        entries = sorted(entries, key=lambda entry: served.strategy.table_order(served.obj(entry)))
    if wish.compact and wish.fmt.transform == "Table":
        rows = Rows(served, wish.fmt.api_version, wish.include, wish.now)
        head = table_head(wish.fmt.api_version, meta.as_dict(), column_definitions(served))
        parts = _parts(rows.row, entries, head, b"]}\n")
        return (
            Response(200, b"".join(parts), wish.fmt.media)
            if len(entries) <= _BATCH
            else Response(200, b"", wish.fmt.media, parts=parts)
        )
    return objects_response(served, [served.obj(e) for e in entries], meta, wish)


def _joined(served: Served, entries: list[Entry], meta: ListMeta) -> Response:
    head = orjson.dumps(
        {"kind": served.list_kind, "apiVersion": served.resource.api_version, "metadata": _list_metadata(served, meta)}
    )
    start, end = head[:-1] + b',"items":[', b"]}\n"
    if len(entries) <= _BATCH:
        body = start + b",".join([b"{%b" % served.item(e) for e in entries]) + end
        return Response(200, body)
    if served.same_version:
        length = sum([len(e.encoded) for e in entries]) - len(entries) * (served.item_offset - 2) - 1
        return Response(200, parts=_parts(served.item, entries, start + b"{", end, b",{"), length=length + len(start) + len(end))
    return Response(200, b"".join(_parts(served.item, entries, start + b"{", end, b",{")))


def _parts(
    item: Callable[[Entry], Any], entries: list[Entry], start: bytes, end: bytes, between: bytes = b","
) -> Iterator[bytes]:
    """What `item` makes of the entries, some at a time."""
    yield start
    for index in range(0, len(entries), _BATCH):
        batch = between.join([item(e) for e in entries[index : index + _BATCH]])
        yield batch if index == 0 else between + batch
    yield end


def objects_response(served: Served, objects: Sequence[Obj], meta: ListMeta, wish: Wish) -> Response:
    """A list of objects."""
    return json_response(200, list_object(served, objects, meta, wish), wish.fmt, wish.pretty)


def list_object(served: Served, objects: Sequence[Obj], meta: ListMeta, wish: Wish) -> Obj:
    kind, api_version = wish.fmt.transform, wish.fmt.api_version
    if kind == "Table":
        return table(served, meta.as_dict(), [row(served, o, wish) for o in objects], wish)
    if kind == "PartialObjectMetadata":
        internal = f"*{_internal(served, 'List')}"
        raise StatusError(406, "NotAcceptable", f"you requested {kind}, but the requested object is a list ({internal})")
    if kind == "PartialObjectMetadataList":
        found = [partial(served, o, api_version) for o in objects]
        return {"kind": kind, "apiVersion": api_version, "metadata": meta.as_dict(), "items": found or None}
    left_out = () if served.custom else ("kind", "apiVersion")
    items = [{k: v for k, v in o.items() if k not in left_out} for o in objects]
    return {
        "kind": served.list_kind,
        "apiVersion": served.resource.api_version,
        "metadata": _list_metadata(served, meta),
        "items": items,
    }


def protobuf_list(served: Served, entries: list[Entry], meta: ListMeta) -> Answer:
    """A list in protobuf. Its length stands before it, so all of it has to be made first: in turns, when there is much."""
    if len(entries) <= _BATCH:
        return _protobuf_response(served, _protobuf_items(served, entries), meta)
    return _protobuf_list_in_turns(served, entries, meta)


async def _protobuf_list_in_turns(served: Served, entries: list[Entry], meta: ListMeta) -> Response:
    items: list[bytes] = []
    for index in range(0, len(entries), _BATCH):
        items += _protobuf_items(served, entries[index : index + _BATCH])
        await asyncio.sleep(0)
    return _protobuf_response(served, items, meta)


def _protobuf_items(served: Served, entries: list[Entry]) -> list[bytes]:
    from pilothouse.api import protobuf_write

    version, kind = served.resource.api_version, served.resource.kind
    objects = (e.peek() if served.same_version else served.obj(e) for e in entries)
    return [protobuf_write.content(obj, version, kind) for obj in objects]


def _protobuf_response(served: Served, items: list[bytes], meta: ListMeta) -> Response:
    from pilothouse.api import protobuf_write

    parts = protobuf_write.list_parts(served.resource.api_version, served.list_kind, meta.as_dict(), items)
    if len(items) <= _BATCH:
        return Response(200, b"".join(parts), PROTOBUF)
    return Response(200, content_type=PROTOBUF, parts=iter(parts), length=sum(map(len, parts)))


def _list_metadata(served: Served, meta: ListMeta) -> Obj:
    """Lists of custom resources always have a continue token, if an empty one."""
    return {"continue": "", **meta.as_dict()} if served.custom else meta.as_dict()


def native_list(served: Served, entries: list[Entry], meta: ListMeta) -> Response:
    """A list for a caller in this process: the shared objects themselves."""
    response = Response(200)
    response.native = {
        "kind": served.list_kind,
        "apiVersion": served.resource.api_version,
        "metadata": meta.as_dict(),
        "items": [served.obj(e) for e in entries],
    }
    return response

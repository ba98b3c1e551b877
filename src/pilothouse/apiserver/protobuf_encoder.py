"""Watches in protobuf, as Go clients ask for them. Loaded when the first of them comes.

Each frame is a WatchEvent with its length in four bytes before it; the object inside has an envelope of its own, as in a GET.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api import protobuf_write
from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.encoders import bookmark_object
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.negotiate import Format
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.render import partial


class ProtobufEncoder:
    """Protobuf events, each with its length before it; the whole object, or its metadata alone."""

    def __init__(self, served: Served, fmt: Format) -> None:
        self._served = self._origin = served
        self._version = fmt.api_version if fmt.transform else ""
        self.key: Any = ("protobuf", served.resource.api_version, self._version)

    async def ready(self, entries: Iterable[Entry]) -> None:
        self._served = await self._origin.ready(entries)

    def frame(self, type: str, entry: Entry) -> bytes:
        obj = self._served.obj(entry)
        return self._event(type, partial(self._served, obj, self._version) if self._version else obj)

    def _event(self, type: str, obj: Obj) -> bytes:
        return protobuf_write.watch_frame(type, protobuf_write.write(obj))

    def bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        resource = self._served.resource
        kind = ("PartialObjectMetadata", self._version) if self._version else (resource.kind, resource.api_version)
        return self._event("BOOKMARK", bookmark_object(*kind, revision, annotations))

    def error(self, error: StatusError) -> bytes:
        return self._event("ERROR", error.status())

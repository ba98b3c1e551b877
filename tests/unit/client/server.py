"""A small API server of one's own for the client's tests: collections in memory, watches, and faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pilothouse.api.errors import StatusError, conflict, gone, not_found_error
from pilothouse.client.interface import Obj, Response, WatchEvent


class FakeServer:
    """A `Transport`. `requests` is what was asked; `faults` are raised or answered, one a request, before anything else is."""

    def __init__(self) -> None:
        self.objects: dict[str, Obj] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.watches: list[tuple[str, dict[str, str]]] = []
        self.faults: list[Exception | Response] = []
        self.hang = False
        self.oldest = 0
        self._revision = 100
        self._history: list[tuple[int, str, WatchEvent]] = []
        self._changed = asyncio.Event()
        self._ended: set[int] = set()

    # --- for tests -------------------------------------------------------------------------------------------------------------

    def put(self, path: str, obj: Obj) -> Obj:
        """Create or replace."""
        self._revision += 1
        meta = {"name": path.rpartition("/")[2], **obj.get("metadata", {}), "resourceVersion": str(self._revision)}
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = {**obj, "metadata": meta}
        self._tell(kind, path, self.objects[path])
        return self.objects[path]

    def remove(self, path: str) -> None:
        self._revision += 1
        obj = self.objects.pop(path)
        self._tell("DELETED", path, {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._revision)}})

    def bookmark(self, path: str) -> None:
        """Tell watchers of a collection the newest revision."""
        self._revision += 1
        self._tell("BOOKMARK", path + "/", {"kind": "X", "metadata": {"resourceVersion": str(self._revision)}})

    def end_watches(self) -> None:
        self._ended = set(range(len(self.watches)))
        self._wake()

    def forget(self) -> None:
        """Compact: what is older than now is gone."""
        self.oldest = self._revision
        self._history.clear()

    def _tell(self, kind: str, path: str, obj: Obj) -> None:
        self._history.append((self._revision, path, WatchEvent(kind, obj)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # --- Transport -------------------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "",
        accept: str = "",
    ) -> Response:
        self.requests.append((method, path, dict(query or {})))
        if self.faults and (fault := self.faults.pop(0)):
            if isinstance(fault, Exception):
                raise fault
            return fault
        if self.hang:
            await asyncio.Event().wait()
        try:
            return self._answer(method, path, dict(query or {}), body)
        except StatusError as error:
            return Response(error.code, error.status())

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Response:
        name = path.rpartition("/")[2]
        if method == "POST":
            return Response(201, self.put(f"{path}/{body['metadata']['name']}", body))
        if method == "GET" and path not in self.objects and name.endswith("s"):
            return Response(200, self._list(path, query))
        if path not in self.objects:
            raise not_found_error("", path.split("/")[-2], name)
        if method == "PUT":
            wanted = body["metadata"].get("resourceVersion")
            if wanted and wanted != self.objects[path]["metadata"]["resourceVersion"]:
                raise conflict("", path.split("/")[-2], name, "it changed")
            return Response(200, self.put(path, body))
        return Response(200, self.objects[path])

    def _list(self, path: str, query: dict[str, str]) -> Obj:
        every = [o for p, o in sorted(self.objects.items()) if _within(p, path)]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(every)
        more = str(start + limit) if start + limit < len(every) else ""
        meta = {"resourceVersion": str(self._revision), **({"continue": more} if more else {})}
        return {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": every[start : start + limit]}

    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        number, at = len(self.watches), int((query or {}).get("resourceVersion", 0))
        self.watches.append((path, dict(query or {})))
        if self.faults and (fault := self.faults.pop(0)) and isinstance(fault, Exception):
            raise fault
        if at < self.oldest:
            yield [WatchEvent("ERROR", gone("too old resource version").status())]
            return
        while number not in self._ended:
            changed = self._changed
            batch = [e for revision, p, e in self._history if revision > at and _within(p, path)]
            at = self._revision
            if batch:
                yield batch
            else:
                await changed.wait()

    async def close(self) -> None:
        pass


def _within(path: str, collection: str) -> bool:
    """Whether a path is that of an object of a collection, of one namespace or of all."""
    root, _, plural = collection.rpartition("/")
    return path.startswith(collection + "/") or (path.startswith(root + "/namespaces/") and f"/{plural}/" in path)

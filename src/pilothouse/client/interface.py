"""What a spoke needs from the hub: requests and watches. HTTPS and in-process transports both implement `Transport`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `body` is the decoded JSON where the answer is JSON, else bytes. In process it may be shared: never change it."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, with the object (shared in process: never change it)."""

    type: str
    object: Obj


class Transport(Protocol):
    """One way to the hub, with one identity."""

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        """Send and wait. `body` is JSON-able or bytes. Any status is returned; only a transport failure raises (OSError)."""

    def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        """Follow a watch: batches of events until the server ends it. StatusError if it is refused."""

    async def close(self) -> None:
        """Release connections."""

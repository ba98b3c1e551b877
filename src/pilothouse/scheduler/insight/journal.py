"""The last decisions, the newest of each pod, in bounded memory.

Noting one costs a reference: nothing is copied or rendered until somebody asks. Pods that got a node and pods that wait have a shelf
each, so that a flood of one kind does not push out the other; a shelf is limited in number and in bytes, whichever comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.record import Record

LIMIT = 512
BYTES = 32 * 2**20


@dataclass(slots=True)
class Noted:
    """One decision: about which state of the pod, when (epoch seconds), by which profile, and at which attempt."""

    pod: PodInfo
    profile: str
    at: float
    attempt: int
    record: Record
    #: Bytes that it holds: the journal's own business.
    size: int = 0


class _Shelf:
    """Decisions by pod, oldest first."""

    def __init__(self, limit: int, nbytes: int) -> None:
        self._limit, self._bytes = limit, nbytes
        self._held = 0
        self.by_pod: dict[str, Noted] = {}

    def put(self, noted: Noted) -> None:
        by_pod, key = self.by_pod, noted.pod.key
        if key in by_pod:
            self.drop(key)
        noted.size = noted.record.nbytes()
        by_pod[key] = noted
        self._held += noted.size
        while len(by_pod) > self._limit or (self._held > self._bytes and len(by_pod) > 1):
            self.drop(next(iter(by_pod)))

    def drop(self, key: str) -> None:
        gone = self.by_pod.pop(key, None)
        if gone is not None:
            self._held -= gone.size


class Journal:
    """Keeps at most `limit` decisions and `nbytes` bytes of each kind."""

    def __init__(self, limit: int = LIMIT, nbytes: int = BYTES) -> None:
        self._placed = _Shelf(limit, nbytes)
        self._waiting = _Shelf(limit, nbytes)

    def note(self, noted: Noted) -> None:
        """Keep a decision in the place of the pod's last one."""
        placed = noted.record.row >= 0
        (self._waiting if placed else self._placed).drop(noted.pod.key)
        (self._placed if placed else self._waiting).put(noted)

    def of(self, key: str) -> Noted | None:
        """The newest decision about a pod (namespace/name), if it is still there."""
        return self._waiting.by_pod.get(key) or self._placed.by_pod.get(key)

    def all(self) -> list[Noted]:
        """Everything that is there, oldest first."""
        return sorted((*self._placed.by_pod.values(), *self._waiting.by_pod.values()), key=lambda noted: noted.at)

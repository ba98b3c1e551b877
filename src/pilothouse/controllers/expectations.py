"""What a controller has asked for and not yet seen in its informer.

A controller that counts pods in a cache that lags behind its own requests would ask twice. So it notes how many creations and
which deletions it waits for, and does nothing more for that owner until they were seen, or until five minutes have passed, after
which it believes its cache again. Creations are counted before the request is sent, because the event may overtake the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pilothouse.clock import Clock

#: Seconds after which unmet expectations are forgotten.
PATIENCE = 300.0


@dataclass(slots=True)
class _Awaited:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """Awaited creations and deletions by owner (any hashable name, such as its uid)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._awaited: dict[str, _Awaited] = {}

    def satisfied(self, owner: str) -> bool:
        """Whether the cache can be believed about this owner."""
        awaited = self._awaited.get(owner)
        if awaited is None:
            return True
        done = awaited.creations <= 0 and not awaited.deletions
        if done or self._clock.monotonic() - awaited.since > PATIENCE:
            del self._awaited[owner]
            return True
        return False

    def patience_left(self, owner: str) -> float:
        """Seconds after which the cache will be believed in any case; 0 if it is now."""
        awaited = self._awaited.get(owner)
        return max(0.0, awaited.since + PATIENCE - self._clock.monotonic()) if awaited else 0.0

    def expect_creations(self, owner: str, count: int) -> None:
        self._of(owner).creations += count

    def expect_deletions(self, owner: str, uids: Iterable[str]) -> None:
        self._of(owner).deletions.update(uids)

    def creation_seen(self, owner: str, count: int = 1) -> None:
        """A creation was seen, or failed and will never be."""
        if awaited := self._awaited.get(owner):
            awaited.creations -= count

    def deletion_seen(self, owner: str, uid: str) -> None:
        if awaited := self._awaited.get(owner):
            awaited.deletions.discard(uid)

    def forget(self, owner: str) -> None:
        """The owner is gone."""
        self._awaited.pop(owner, None)

    def _of(self, owner: str) -> _Awaited:
        awaited = self._awaited.setdefault(owner, _Awaited(self._clock.monotonic()))
        awaited.since = self._clock.monotonic()
        return awaited

"""Bodies that come again and again: what decoding, defaults and field ownership made of them is remembered.

The replicas of a set, the pods of a job, the objects of a load test are created from one and the same body, byte for byte. All that
happens to it before admission is a pure function of it (but for the time at which its fields come to be owned), so the result is kept as
bytes, of which every create decodes its own copy. A body is remembered when it comes for the second time.
"""

from __future__ import annotations

from collections.abc import Hashable

import orjson

from pilothouse.api.errors import Obj
from pilothouse.clock import rfc3339

#: Larger bodies are not remembered, nor are more than so many.
BODY_LIMIT = 16 * 1024
COUNT_LIMIT = 512
_SEEN_LIMIT = 8192


class Prepared:
    """The memory, of one server."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[bytes, tuple[str, ...]]] = {}
        self._seen: set[int] = set()

    def find(self, key: Hashable, now: float) -> tuple[Obj, tuple[str, ...]] | None:
        """A copy of the object, its fields owned since `now`, and the warnings that belong to it; None if it is not known."""
        known = self._known.get(key)
        if known is None:
            return None
        obj: Obj = orjson.loads(known[0])
        for entry in obj["metadata"].get("managedFields", ()):
            entry["time"] = rfc3339(now)
        return obj, known[1]

    def keep(self, key: Hashable, obj: Obj, warnings: list[str]) -> None:
        """Remember, if the key was seen before."""
        number = hash(key)
        if number not in self._seen:
            if len(self._seen) >= _SEEN_LIMIT:
                self._seen.clear()
            self._seen.add(number)
            return
        if len(self._known) >= COUNT_LIMIT:
            self._known.clear()
        self._known[key] = (orjson.dumps(obj), tuple(warnings))

    def forget(self) -> None:
        """Schemas have changed."""
        self._known.clear()

"""Which mutating webhooks and policies see an object again because others changed it after them (`reinvocationPolicy: IfNeeded`).

In round 0 everything runs. What changes the object makes everything that ran before it due again; what is due runs once more in round 1,
together with the built-in plugins; if these changed the object as well, everything that wants to be asked again is.
"""

from __future__ import annotations

import orjson

from pilothouse.api.errors import Obj
from pilothouse.apiserver.interface import AdmissionRequest


class Reinvocation:
    """What one plugin remembers of a request from round to round."""

    def __init__(self) -> None:
        self._ran: set[str] = set()
        self._due: set[str] = set()
        self._left = b""

    @staticmethod
    def of(request: AdmissionRequest, plugin: str) -> Reinvocation:
        found: Reinvocation = request.memory.setdefault(plugin, Reinvocation())
        return found

    def begin(self, request: AdmissionRequest) -> None:
        """A round begins: what others did to the object since the last one counts."""
        if request.round and _form(request.obj) != self._left:
            self._all_due()

    def wants(self, request: AdmissionRequest, key: str) -> bool:
        """Whether something runs in this round."""
        return request.round == 0 or key in self._due

    def ran(self, request: AdmissionRequest, key: str, changed: bool, again: bool) -> None:
        """It ran; `again` says that it wants to see what others change later."""
        self._due.discard(key)
        if changed:
            self._all_due()
            request.again = True
        if again:
            self._ran.add(key)

    def end(self, request: AdmissionRequest) -> None:
        """The round is over."""
        if request.round == 0 and request.again:
            self._left = _form(request.obj)

    def _all_due(self) -> None:
        self._due |= self._ran
        self._ran.clear()


def _form(obj: Obj | None) -> bytes:
    return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)

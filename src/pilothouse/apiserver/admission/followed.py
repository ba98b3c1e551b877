"""What configurations of admission make together, worked out once: again only after one of them changed, so that requests do not pay for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from pilothouse.api.errors import Obj
from pilothouse.apiserver.admission.matching import GROUP
from pilothouse.apiserver.interface import LOOPBACK, AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

T = TypeVar("T")


def too_early(hub: ApiServer, request: AdmissionRequest) -> bool:
    """The server is making what it needs to be ready: nobody who may not be there yet can keep it from that."""
    return not hub.bootstrapped and request.user is LOOPBACK


class Followed(Generic[T]):
    """The value of `read()`, called with the objects of each kind in the order of their names; a kind that is not served has none."""

    def __init__(self, hub: ApiServer, plurals: tuple[str, ...], read: Callable[..., T]) -> None:
        self._hub = hub
        self._plurals = plurals
        self._read = read
        self._value: T | None = None
        self._following = False

    def get(self) -> T:
        if self._value is None:
            if not self._following:
                self._follow()
            self._value = self._read(*(self._objects(plural) for plural in self._plurals))
        return self._value

    def _follow(self) -> None:
        self._following = True
        for plural in self._plurals:
            if self._hub.resource(GROUP, plural) is not None:
                self._hub.cache(GROUP, plural).subscribe(self._changed)

    def _changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        self._value = None

    def _objects(self, plural: str) -> list[Obj]:
        if self._hub.resource(GROUP, plural) is None:
            return []
        return [entry.obj for entry in self._hub.cache(GROUP, plural).list()]

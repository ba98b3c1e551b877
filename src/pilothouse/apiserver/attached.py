"""Resources that the hub serves only while somebody is attached who can answer for them.

Whoever can asks the hub at a path of its own whether there is work, and waits (a long poll). It is attached from its first request on, and gone when it
has not asked again for a while. In discovery and OpenAPI the resources are only in between, so that an API server alone shows nothing that
kube-apiserver does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pilothouse.api.crd.structural import root_schema
from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import Strategy
from pilothouse.apiserver.registry import Served, Special
from pilothouse.clock import Clock

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

#: How long a member is kept waiting for work, and how long after that it counts as gone. Seconds.
POLL, GONE = 45.0, 20.0


@dataclass(slots=True, eq=False)
class Member:
    """One that is attached. `turn` moves with every request, so that an old timer knows that it is too late."""

    turn: int = 0


K = TypeVar("K")
M = TypeVar("M", bound=Member)
T = TypeVar("T")


class Attached(Generic[K, M]):
    """The members by key, and the resources (each with its OpenAPI schema and strategy) that are served while there is one."""

    def __init__(self, server: ApiServer, resources: Sequence[tuple[Resource, Obj, type[Strategy]]], special: Special) -> None:
        self.members: dict[K, M] = {}
        self._server = server
        self._schemas = {(r.group, r.version, r.kind): schema for r, schema, _ in resources}
        self._served = [_served(*each) for each in resources]
        for served in self._served:
            served.set_special("", special)

    def schemas(self, group: str = "", version: str = "") -> Mapping[tuple[str, str, str], Obj]:
        """The OpenAPI schemas of what is served now (in one group and version), by group, version and kind."""
        return {k: v for k, v in self._schemas.items() if self.members and (not group or k[:2] == (group, version))}

    def arrive(self, key: K, make: Callable[[], M]) -> M:
        """A member asks for work: the one of this key, new or known, at its next turn."""
        member = self.members.get(key)
        if member is None:
            member = self.members[key] = make()
            if len(self.members) == 1:
                for served in self._served:
                    self._server.registry.put(served)
                self._changed()
        member.turn += 1
        return member

    def answered(self, key: K, member: M, turn: int, grace: float = GONE) -> None:
        """The request of a turn is over: unless the member asks again within `grace` seconds, it is gone."""
        if not self._server.stopping:
            self._server.clock.call_later(grace, lambda: self._leave(key, member, turn))

    def _leave(self, key: K, member: M, turn: int) -> None:
        if member.turn != turn or self.members.get(key) is not member:
            return
        del self.members[key]
        if not self.members:
            self._server.registry.withdraw(served.resource for served in self._served)
            self._changed()

    def _changed(self) -> None:
        self._server.chain.planner.forget()
        self._server.paths.forget()


async def within(clock: Clock, seconds: float, waiting: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T | None:
    """What is waited for; None if it does not come in time, or is cancelled by somebody else."""
    future = asyncio.ensure_future(waiting)
    timer = clock.call_later(seconds, lambda: _cancel(future))
    try:
        return await future
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            future.cancel()
            raise
        return None
    finally:
        timer.cancel()


def _cancel(future: asyncio.Future[Any]) -> None:
    future.cancel()


def _served(resource: Resource, schema: Obj, strategy: type[Strategy]) -> Served:
    served = Served(resource, None, strategy, lambda group, version, kind: root_schema(schema), resource.kind)
    served.protobuf = False
    return served

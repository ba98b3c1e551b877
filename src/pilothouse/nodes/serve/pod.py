"""What the connections of one simulated pod share: who it is, how it behaves, what its requests cost, and whether it is about to stop.

A pod that is asked to stop goes on answering and tells its clients to come back elsewhere (`Connection: close`, GOAWAY), so that load
balancers can leave it without losing a request. When its containers end, what is idle is closed and what runs is answered first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.clock import Clock
from pilothouse.nodes.answers import Answer, Asked, Place, answer
from pilothouse.nodes.behaviour import Behaviour, Meter, Obj, behaviour

if TYPE_CHECKING:
    from pilothouse.nodes.serve.connection import Connection


class ServedPod:
    """One pod's answers. `update` follows its annotations and its deletion."""

    __slots__ = ("_meters", "behaviour", "clock", "connections", "ip", "last_arrival", "name", "namespace", "node", "stopping")

    def __init__(self, pod: Obj, ip: str, clock: Clock) -> None:
        meta = pod["metadata"]
        self.namespace, self.name, self.node = meta["namespace"], meta["name"], pod["spec"].get("nodeName", "")
        self.ip, self.clock = ip, clock
        self.connections: dict[Connection, str] = {}
        self.behaviour: Behaviour = behaviour(pod)
        self.stopping = False
        #: When somebody came last since the pod is asked to stop.
        self.last_arrival: float | None = None
        self._meters: dict[str, Meter] = {}

    def update(self, pod: Obj) -> None:
        self.behaviour = behaviour(pod)
        if not self.stopping and pod["metadata"].get("deletionTimestamp"):
            self.stopping = True
            for connection in list(self.connections):
                connection.stopping()

    def place(self, container: str, port: int, secure: bool) -> Place:
        return Place(self.namespace, self.name, self.node, self.ip, container, port, secure)

    @property
    def ready(self) -> bool:
        """What its health paths tell."""
        return not self.stopping and not self.behaviour.fail_readiness

    def arrived(self) -> None:
        """Somebody comes: a connection, a request, a datagram."""
        if self.stopping:
            self.last_arrival = self.clock.now()

    def delay(self) -> float:
        """Seconds that the next answer takes."""
        low, high = self.behaviour.latency
        return low if low == high else self.behaviour.delay(self.clock.random.random())

    def answer(self, place: Place, asked: Asked) -> Answer:
        self.arrived()
        self.spend(place.container)
        return answer(place, self.behaviour, asked, self.ready)

    def spend(self, container: str) -> None:
        """A request, a message or a datagram costs what the annotation says."""
        if self.behaviour.cpu:
            self._meters.setdefault(container, Meter()).add(self.behaviour.cpu, self.clock.monotonic())

    def load(self) -> dict[str, int]:
        """Thousandths of a core by container, for requests."""
        now = self.clock.monotonic()
        return {container: round(meter.rate(now) * 1000) for container, meter in self._meters.items()}

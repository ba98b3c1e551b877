"""The data plane in the provider's hands: an engine that is made when the first front is wanted, and what listens where.

A cluster without load balancers pays nothing: no engine is imported, and nothing of it runs.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pilothouse.client.metrics import Counter, Gauge, Histogram, Labels, Samples
from pilothouse.cloud.providers.local import ports
from pilothouse.dataplane.engine import Engine, FrontCounters
from pilothouse.dataplane.model import Edge, Front, Pool

#: An address, a port, and TCP or UDP.
Place = tuple[str, int, str]

#: Errors that another port may not have.
_OF_PORTS = (errno.EADDRINUSE, errno.EACCES)


class Plane:
    """Fronts by name, each at a place that nobody else has."""

    def __init__(self, make: Callable[[], Engine], probe: ports.Probe = ports.probe) -> None:
        self._make = make
        self._probe = probe
        self._engine: Engine | None = None
        self._starting = asyncio.Lock()
        self._places: dict[Place, str] = {}
        #: By front: the port that was asked for, and where it listens.
        self._fronts: dict[str, tuple[int, Place]] = {}
        #: Those that read what passes, and so know of requests.
        self._edges: set[str] = set()

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        self._places.clear()
        self._fronts.clear()
        if engine is not None:
            await engine.stop()

    async def listen(self, front: Front, before: int | None = None) -> int:
        """Let a front be; the port on which it is, which may not be the one that it asks for (`ports.py`).

        NoPort if there is none; OSError if the engine fails; ValueError for what it cannot do.
        A front stays where it is while it asks for the same; `before` is where it was in a former life.
        """
        engine = await self._started()
        if isinstance(front, Edge):
            self._edges.add(front.name)
        known = self._fronts.get(front.name)
        if known is not None and known[0] == front.port and known[1][0] == front.address:
            await engine.set_front(replace(front, port=known[1][1]))
            return known[1][1]
        refused: dict[int, int] = {}
        while True:
            place = self._find(front, before, refused)
            self._places[place] = front.name
            try:
                await engine.set_front(replace(front, port=place[1]))
            except BaseException as error:
                if known is None or known[1] != place:
                    del self._places[place]
                if not isinstance(error, OSError) or error.errno not in _OF_PORTS:
                    raise
                refused[place[1]] = error.errno
            else:
                break
        if known is not None and known[1] != place:
            del self._places[known[1]]
        self._fronts[front.name] = (front.port, place)
        return place[1]

    async def drop(self, name: str) -> None:
        """End a front, if it is there."""
        known = self._fronts.get(name)
        if known is not None:
            await (await self._started()).drop_front(name)
            del self._fronts[name]
            self._places.pop(known[1], None)
        self._edges.discard(name)

    async def set_pool(self, pool: Pool) -> None:
        await (await self._started()).set_pool(pool)

    async def drop_pool(self, name: str) -> None:
        if self._engine is not None:
            await self._engine.drop_pool(name)

    def is_quiet(self, address: str, fronts: Iterable[Front]) -> bool:
        """Whether all of these could listen there on the ports that they ask for first."""
        return all(self._taken((address, next(ports.candidates(f.port)), _transport(f)), "") == 0 for f in fronts)

    def metrics(self) -> Sequence[Counter | Gauge | Histogram]:
        """What the fronts have carried, by their names."""
        return (
            _Totals("connections_total", "Connections that came in; for UDP, clients.", (), self._sums(lambda c: c.connections)),
            _Totals("requests_total", "Requests that came in.", (), self._requests),
            _Totals("responses_total", "Answers, by the class of their code.", ("code",), self._answers),
            _Totals("received_bytes_total", "Bytes that clients sent.", (), self._sums(lambda c: c.bytes_in)),
            _Totals("sent_bytes_total", "Bytes that were sent to clients.", (), self._sums(lambda c: c.bytes_out)),
            Gauge(
                "pilothouse_loadbalancer_engine_info", "Which engine carries the traffic.", ("engine",),
                lambda: [((self._engine.name,), 1)] if self._engine is not None else [],
            ),
        )  # fmt: skip

    async def _started(self) -> Engine:
        async with self._starting:
            if self._engine is None:
                engine = self._make()
                await engine.start()
                self._engine = engine
            return self._engine

    def _find(self, front: Front, before: int | None, refused: dict[int, int]) -> Place:
        transport = _transport(front)

        def free(port: int) -> int:
            return refused.get(port) or self._taken((front.address, port, transport), front.name)

        return front.address, ports.choose(front.port, transport, front.address, free, before), transport

    def _taken(self, place: Place, by: str) -> int:
        """0 if it can be had, or is had, by this front; else why not."""
        holder = self._places.get(place)
        if holder is not None:
            return 0 if holder == by else errno.EADDRINUSE
        return self._probe(*place)

    def _counters(self) -> Iterable[tuple[str, FrontCounters]]:
        return self._engine.counters().items() if self._engine is not None else ()

    def _sums(self, value: Callable[[FrontCounters], int]) -> Callable[[], Samples]:
        return lambda: [((name,), float(value(c))) for name, c in self._counters()]

    def _requests(self) -> Samples:
        return [((name,), float(c.requests)) for name, c in self._counters() if name in self._edges]

    def _answers(self) -> Samples:
        edges = [(name, c.codes) for name, c in self._counters() if name in self._edges]
        return [((name, code), float(number)) for name, codes in edges for code, number in codes.items()]


def _transport(front: Front) -> str:
    return "TCP" if isinstance(front, Edge) else front.transport


class _Totals(Counter):
    """A counter that others count."""

    def __init__(self, name: str, help: str, labels: Labels, samples: Callable[[], Samples]) -> None:
        super().__init__(f"pilothouse_loadbalancer_{name}", help, ("front", *labels))
        self._samples = samples

    def lines(self) -> Iterable[str]:
        self.values = dict(self._samples())
        return super().lines()

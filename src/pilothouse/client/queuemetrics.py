"""What work queues say of themselves, under the names that every Kubernetes component uses (`workqueue_*`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pilothouse.client.metrics import Counter, Gauge, Histogram, Labels, exponential
from pilothouse.clock import Clock

if TYPE_CHECKING:
    from pilothouse.client.workqueue import WorkQueue

_BUCKETS = exponential(1e-8, 10, 10)


class QueueMetrics:
    """The metrics of a component's queues."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[str, list[Watched]] = {}
        self.adds = Counter("workqueue_adds_total", "Keys that were added to a queue.", ("name",))
        self.retries = Counter("workqueue_retries_total", "Keys that were added again after a failure.", ("name",))
        self.waited = Histogram("workqueue_queue_duration_seconds", "Seconds that keys waited for a worker.", ("name",), _BUCKETS)
        self.worked = Histogram("workqueue_work_duration_seconds", "Seconds that workers had a key.", ("name",), _BUCKETS)
        self._gauges = (
            Gauge("workqueue_depth", "Keys that wait for a worker.", ("name",), self._depth),
            Gauge("workqueue_unfinished_work_seconds", "Seconds of work begun and not done.", ("name",), self._unfinished),
            Gauge(
                "workqueue_longest_running_processor_seconds", "Seconds of the longest work in hand.", ("name",), self._longest
            ),
        )

    def watch(self, name: str, queue: WorkQueue) -> Watched:
        """What a queue tells of its keys from now on."""
        watched = Watched(self, name, queue, self._clock)
        self._queues.setdefault(name, []).append(watched)
        return watched

    def forget(self, watched: Watched) -> None:
        """A queue that nobody works on any more."""
        self._queues[watched.name].remove(watched)

    def metrics(self) -> Iterable[Counter | Gauge | Histogram]:
        return (self.adds, self.retries, self.waited, self.worked, *self._gauges)

    def _depth(self) -> Iterable[tuple[Labels, float]]:
        return [((name,), float(sum(len(w.queue) for w in found))) for name, found in self._queues.items()]

    def _unfinished(self) -> Iterable[tuple[Labels, float]]:
        now = self._clock.monotonic()
        return [((name,), sum(now - t for w in found for t in w.started.values())) for name, found in self._queues.items()]

    def _longest(self) -> Iterable[tuple[Labels, float]]:
        now = self._clock.monotonic()
        return [
            ((name,), max((now - t for w in found for t in w.started.values()), default=0.0))
            for name, found in self._queues.items()
        ]


class Watched:
    """One queue's part: when its keys were added, and when a worker took them."""

    __slots__ = ("_clock", "_metrics", "added", "name", "queue", "started")

    def __init__(self, metrics: QueueMetrics, name: str, queue: WorkQueue, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self.name = name
        self.queue = queue
        self.added: dict[str, float] = {}
        self.started: dict[str, float] = {}

    def add(self, item: str) -> None:
        self._metrics.adds.add(self.name)
        self.added[item] = self._clock.monotonic()

    def retry(self) -> None:
        self._metrics.retries.add(self.name)

    def get(self, item: str) -> None:
        now = self._clock.monotonic()
        self._metrics.waited.observe(now - self.added.pop(item, now), self.name)
        self.started[item] = now

    def done(self, item: str) -> None:
        now = self._clock.monotonic()
        self._metrics.worked.observe(now - self.started.pop(item, now), self.name)

"""What the scheduler measures, under Kubernetes' own names (reference: Kubernetes Metrics, scheduler_*).

Durations of single plugins are sampled: every tenth cycle. Left out: metrics of goroutines, of the API dispatcher and of pod groups.
"""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.client.metrics import Counter, Gauge, Histogram, Samples, exponential, text
from pilothouse.scheduler.laps import Lap

#: One in so many cycles has its plugins' durations recorded.
SAMPLE = 10

SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"
_STATUS = {SCHEDULED: "Success", UNSCHEDULABLE: "Unschedulable", ERROR: "Error"}


class Metrics:
    """One scheduler's. `queue` and `cache` say how many pods are in which queue, and what the cache holds, when asked."""

    def __init__(
        self,
        queue: Callable[[], dict[str, int]],
        cache: Callable[[], dict[str, int]],
        refused: Callable[[], dict[tuple[str, str], int]],
    ) -> None:
        self.attempts = Counter(
            "scheduler_schedule_attempts_total",
            "[STABLE] Number of attempts to schedule pods, by the result.",
            ("result", "profile"),
        )
        self.attempt_seconds = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            ("result", "profile"),
            exponential(0.001, 2, 15),
        )
        self.algorithm_seconds = Histogram(
            "scheduler_scheduling_algorithm_duration_seconds",
            "[ALPHA] Scheduling algorithm latency in seconds",
            (),
            exponential(0.001, 2, 15),
        )
        self.victims = Histogram(
            "scheduler_preemption_victims", "[STABLE] Number of selected preemption victims", (), exponential(1, 2, 7)
        )
        self.preemptions = Counter(
            "scheduler_preemption_attempts_total", "[STABLE] Total preemption attempts in the cluster till now"
        )
        self.sli_seconds = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue.",
            ("attempts",),
            exponential(0.01, 2, 20),
        )
        self.pod_attempts = Histogram(
            "scheduler_pod_scheduling_attempts",
            "[STABLE] Number of attempts to successfully schedule a pod.",
            (),
            exponential(1, 2, 5),
        )
        self.point_seconds = Histogram(
            "scheduler_framework_extension_point_duration_seconds",
            "[STABLE] Latency for running all plugins of a specific extension point.",
            ("extension_point", "status", "profile"),
            exponential(0.0001, 2, 12),
        )
        self.plugin_seconds = Histogram(
            "scheduler_plugin_execution_duration_seconds",
            "[ALPHA] Duration for running a plugin at a specific extension point.",
            ("plugin", "extension_point", "status"),
            exponential(0.00001, 1.5, 20),
        )
        self.evaluations = Counter(
            "scheduler_plugin_evaluation_total",
            "[ALPHA] Number of attempts to schedule pods by each plugin and the extension point.",
            ("plugin", "extension_point", "profile"),
        )
        self.incoming = Counter(
            "scheduler_queue_incoming_pods_total",
            "[STABLE] Number of pods added to scheduling queues by event and queue type.",
            ("queue", "event"),
        )
        self.permit_seconds = Histogram(
            "scheduler_permit_wait_duration_seconds",
            "[ALPHA] Duration of waiting on permit.",
            ("result",),
            exponential(0.001, 2, 15),
        )
        self._cycles = 0
        self._gauges = [
            Gauge("scheduler_pending_pods", "[STABLE] Number of pending pods, by the queue type.", ("queue",), _by_name(queue)),
            Gauge(
                "scheduler_cache_size", "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.", ("type",),
                _by_name(cache),
            ),
            Gauge(
                "scheduler_unschedulable_pods", "[ALPHA] The number of unschedulable pods broken down by plugin name.",
                ("plugin", "profile"), lambda: refused().items(),
            ),
        ]  # fmt: skip

    def cycle(self, laps: list[Lap], result: str, profile: str) -> None:
        """One scheduling cycle up to the choice has ended."""
        status = _STATUS[result]
        points: dict[str, float] = {}
        sampled = self._cycles % SAMPLE == 0
        self._cycles += 1
        for point, plugin, seconds in laps:
            points[point] = points.get(point, 0.0) + seconds
            if sampled:
                self.plugin_seconds.observe(seconds, plugin, point, "Success")
                if point in ("PreFilter", "Filter"):
                    self.evaluations.add(plugin, point, profile, by=SAMPLE)
        for point, seconds in points.items():
            self.point_seconds.observe(seconds, point, status if point == "Filter" else "Success", profile)
        self.algorithm_seconds.observe(sum(points.values()))

    def ended(self, result: str, profile: str, seconds: float) -> None:
        """An attempt has ended, with the binding where there was one."""
        self.attempts.add(result, profile)
        self.attempt_seconds.observe(seconds, result, profile)

    def bound(self, attempts: int, waited: float) -> None:
        """A pod has its node, after so many attempts and seconds."""
        self.pod_attempts.observe(attempts)
        self.sli_seconds.observe(waited, str(attempts) if attempts < 15 else "15+")

    def preempted(self, victims: int) -> None:
        """Room is made for a pod by removing so many."""
        self.preemptions.add()
        self.victims.observe(victims)

    def text(self) -> str:
        """As /metrics shows them."""
        return text(
            (
                self.attempts, self.attempt_seconds, self.algorithm_seconds, self.victims, self.preemptions, self.sli_seconds,
                self.pod_attempts, self.point_seconds, self.plugin_seconds, self.evaluations, self.incoming, self.permit_seconds,
                *self._gauges,
            )
        )  # fmt: skip


def _by_name(source: Callable[[], dict[str, int]]) -> Callable[[], Samples]:
    return lambda: [((name,), number) for name, number in source().items()]

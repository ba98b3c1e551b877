"""What the proxier counts, under kube-proxy's names."""

from __future__ import annotations

from pilothouse.client.metrics import Counter, Gauge, Histogram, exponential, text
from pilothouse.clock import Clock

#: A minute by seconds, and coarser up to five.
_PROGRAMMING = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))


class ProxyMetrics:
    """`mode` is the backend's name."""

    def __init__(self, clock: Clock, mode: str) -> None:
        self._clock = clock
        self.last_synced = self.last_queued = 0.0
        self.seconds = Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds", "How long a round of changes took.", (), exponential(0.001, 2, 15)
        )
        self.programming = Histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From what changed endpoints, such as a pod that became ready, until traffic goes there.",
            (),
            _PROGRAMMING,
        )
        self.service_changes = Counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of Services.")
        self.endpoint_changes = Counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of endpoints.")
        failures = "nftables_sync_failures_total" if mode == "nftables" else "userspace_sync_failures_total"
        self.failures = Counter(f"kubeproxy_sync_proxy_rules_{failures}", "What could not be done.")
        self._synced = Gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When the last round ended.",
            (),
            lambda: [((), self.last_synced)],
        )
        self._queued = Gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When something last changed.",
            (),
            lambda: [((), self.last_queued)],
        )

    def queued(self) -> None:
        self.last_queued = self._clock.now()

    def synced(self, seconds: float) -> None:
        self.last_synced = self._clock.now()
        self.seconds.observe(seconds)

    def text(self) -> str:
        parts = (
            self.seconds,
            self.programming,
            self.service_changes,
            self.endpoint_changes,
            self.failures,
            self._synced,
            self._queued,
        )
        return text(parts)

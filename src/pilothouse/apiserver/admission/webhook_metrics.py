"""What is counted of webhooks, under Kubernetes' names: how long each took, what it rejected, and how often it was let pass as it failed."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.apiserver.metrics import Histogram, Sample

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25)
_PREFIX = "apiserver_admission_webhook"
_TOTAL = f"{_PREFIX}_request_total"
_REJECTIONS = f"{_PREFIX}_rejection_count"
_FAIL_OPEN = f"{_PREFIX}_fail_open_count"
_NAMES = {
    _TOTAL: ("name", "type", "operation", "code", "rejected"),
    _REJECTIONS: ("name", "type", "operation", "error_type", "rejection_code"),
    _FAIL_OPEN: ("name", "type"),
}
_TEXTS = {
    _TOTAL: "Admission webhook request total, identified by name and broken out for each admission type and operation.",
    _REJECTIONS: "Admission webhook rejection count, identified by name and broken out for each admission type and operation.",
    _FAIL_OPEN: "Admission webhook fail open count, identified by name and broken out for each admission type.",
}


class WebhookMetrics:
    """The counts of one type of webhooks: `admit` or `validating`."""

    def __init__(self, type: str) -> None:
        self._type = type
        self.durations = Histogram(
            f"{_PREFIX}_admission_duration_seconds",
            "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and type.",
            _BUCKETS,
            ("name", "type", "operation", "rejected"),
        )
        self._counts: dict[tuple[str, ...], int] = {}

    def answered(self, name: str, operation: str, seconds: float, rejected: bool, code: int) -> None:
        """A webhook said what it thinks; `code` is that of its refusal."""
        told = "true" if rejected else "false"
        self.durations.observe((name, self._type, operation, told), seconds)
        self._count(_TOTAL, name, self._type, operation, str(min(code, 600)), told)
        if rejected:
            self._count(_REJECTIONS, name, self._type, operation, "no_error", str(min(code, 600)))

    def failed(self, name: str, operation: str, seconds: float, ignored: bool) -> None:
        """A webhook could not be asked."""
        told = "false" if ignored else "true"
        self.durations.observe((name, self._type, operation, told), seconds)
        self._count(_TOTAL, name, self._type, operation, "500", told)
        if ignored:
            self._count(_FAIL_OPEN, name, self._type)
        else:
            self._count(_REJECTIONS, name, self._type, operation, "calling_webhook_error", "0")

    def _count(self, *key: str) -> None:
        self._counts[key] = self._counts.get(key, 0) + 1

    def samples(self) -> Iterable[Sample]:
        """The counters that have counted something."""
        for metric, labels in _NAMES.items():
            found = [(dict(zip(labels, key[1:], strict=True)), n) for key, n in self._counts.items() if key[0] == metric]
            if found:
                yield metric, _TEXTS[metric], "counter", found

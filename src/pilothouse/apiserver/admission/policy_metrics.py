"""What is counted of policies' expressions, under Kubernetes' names: of validating ones those that refuse, of mutating ones all."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.apiserver.metrics import Histogram, Metrics, Sample

_BUCKETS = (0.0000005, 0.001, 0.01, 0.1, 1.0)
_LABELS = ("policy", "policy_binding", "error_type")
_TEXTS = {
    "validating": "labeled by policy and further identified by binding and enforcement action taken.",
    "mutating": "labeled by policy and further identified by binding.",
}
_WHAT = {"validating": "Validation", "mutating": "Mutation"}


class PolicyMetrics:
    """The counts of one kind of policies. Those of validating ones also say what was done: allow, deny, audit or warn."""

    def __init__(self, metrics: Metrics, which: str) -> None:
        self._labels = (*_LABELS, "enforcement_action") if which == "validating" else _LABELS
        self._name = f"apiserver_{which}_admission_policy_check"
        self._what, self._text = _WHAT[which], _TEXTS[which]
        text = f"{self._what} admission latency for individual expressions in seconds, {self._text}"
        self._durations = Histogram(f"{self._name}_duration_seconds", text, _BUCKETS, self._labels)
        self._counts: dict[tuple[str, ...], int] = {}
        metrics.add_histogram(self._durations)
        metrics.add_gauges(self._samples)

    def checked(self, seconds: float, *labels: str) -> None:
        """An expression was evaluated; `labels` are the policy, the binding, why it failed, and what was done."""
        self._counts[labels] = self._counts.get(labels, 0) + 1
        self._durations.observe(labels, seconds)

    def _samples(self) -> Iterable[Sample]:
        if self._counts:
            found = [(dict(zip(self._labels, key, strict=True)), n) for key, n in self._counts.items()]
            yield f"{self._name}_total", f"{self._what} admission policy check total, {self._text}", "counter", found


def error_type(why: str) -> str:
    """The kind of an error, by what is told of it; no text: none."""
    if not why:
        return "no_error"
    if "running out of cost budget" in why:
        return "out_of_budget"
    return "compile_error" if why.startswith("compilation") else "invalid_error"

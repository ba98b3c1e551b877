"""One node with some of its pods thought away: what preemption tries out, without touching the node table."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.scheduler.podinfo import PodInfo, Requests
from pilothouse.scheduler.table import Row


@dataclass(slots=True)
class Trial:
    """`removed` by pod key; `freed` is the sum of their requests."""

    row: Row
    removed: dict[str, PodInfo] = field(default_factory=dict)
    freed: Requests = field(default_factory=dict)

    def remove(self, pod: PodInfo) -> None:
        self.removed[pod.key] = pod
        for name, value in pod.requests.items():
            self.freed[name] = self.freed.get(name, 0) + value

    def restore(self, pod: PodInfo) -> None:
        del self.removed[pod.key]
        for name, value in pod.requests.items():
            self.freed[name] -= value

    def left(self) -> list[PodInfo]:
        """The pods still there."""
        return [p for key, p in self.row.pods.items() if key not in self.removed]

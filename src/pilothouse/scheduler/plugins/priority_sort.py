"""PrioritySort: higher priority first, then who has waited longer."""

from __future__ import annotations

from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.podinfo import PodInfo


class PrioritySort(Plugin):
    name = "PrioritySort"

    def sort_key(self, pod: PodInfo) -> tuple[float, ...]:
        return (-pod.priority, pod.queued_at)

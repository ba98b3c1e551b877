"""ImageLocality: prefer nodes that hold the pod's images already, weighed by how widespread each image is."""

from __future__ import annotations

import numpy as np

from pilothouse.scheduler.framework import MAX_NODE_SCORE, Cycle, Plugin
from pilothouse.scheduler.table import Ints

MEBIBYTE = 1024 * 1024
LOWEST = 23 * MEBIBYTE
HIGHEST_PER_CONTAINER = 1000 * MEBIBYTE


class ImageLocality(Plugin):
    name = "ImageLocality"

    def uniform(self, cycle: Cycle) -> int | None:
        return None if cycle.table.image_nodes else 0

    def score_all(self, cycle: Cycle) -> Ints:
        caches = cycle.shared.caches
        stamp = (cycle.table.images_stamp, cycle.table.node_count(), cycle.table.capacity)
        known = caches.get(self.name)
        if known is None or known[0] != stamp:
            known = caches[self.name] = (stamp, self._scores(cycle))
        scores: Ints = known[1]
        return scores

    @staticmethod
    def _scores(cycle: Cycle) -> Ints:
        table, spec = cycle.table, cycle.pod.spec
        containers = [*(spec.get("initContainers") or ()), *spec.get("containers", ())]
        total = np.zeros(table.capacity, dtype=np.int64)
        nodes = table.node_count()
        for c in containers:
            name = normalized_name(c.get("image") or "")
            rows = table.image_nodes.get(name)
            if rows:
                total[list(rows)] += int(table.image_sizes[name] * (len(rows) / nodes))
        highest = HIGHEST_PER_CONTAINER * max(1, len(containers))
        return MAX_NODE_SCORE * (np.clip(total, LOWEST, highest) - LOWEST) // (highest - LOWEST)


def normalized_name(image: str) -> str:
    """An image reference with `:latest` where it has no tag."""
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"

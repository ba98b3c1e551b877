"""DynamicResources (KEP-4381), of which only its voice is here: it scores nothing and deallocates nothing.

Allocating devices for ResourceClaims is not written yet: a pod that has claims is held, rather than put where they may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilothouse.scheduler.framework import Code, Cycle, Plugin, Rejected, Status
from pilothouse.scheduler.table import Ints


class DynamicResources(Plugin):
    name = "DynamicResources"

    def pre_filter(self, cycle: Cycle) -> Status | None:
        if cycle.pod.spec.get("resourceClaims"):
            return Status(Code.UNRESOLVABLE, ("this scheduler does not allocate resource claims yet",))
        return None

    def post_filter(self, cycle: Cycle, rejections: Sequence[tuple[str, Rejected]]) -> Status | None:
        return Status(Code.UNSCHEDULABLE, ("no new claims to deallocate",))

    def score_all(self, cycle: Cycle) -> Ints:
        return np.zeros(cycle.table.capacity, dtype=np.int64)

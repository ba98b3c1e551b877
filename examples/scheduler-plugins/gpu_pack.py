"""Pack GPUs: of the nodes that can run a pod with GPUs, the one that has the fewest left over, so that whole nodes stay free for big jobs."""

import numpy as np

from pilothouse.scheduler.plugin import MAX_NODE_SCORE, SKIP, Cycle, Ints, Plugin, Status


class GpuPack(Plugin):
    name = "GpuPack"

    def pre_score(self, cycle: Cycle) -> Status | None:
        self.resource = self.args.get("resource", "nvidia.com/gpu")
        return None if cycle.pod.requests.get(self.resource) else SKIP

    def score_all(self, cycle: Cycle) -> Ints:
        total = cycle.table.resource_column(self.resource).data
        used = cycle.table.requested[self.resource].data + cycle.pod.requests[self.resource]
        return MAX_NODE_SCORE * used // np.maximum(total, 1)

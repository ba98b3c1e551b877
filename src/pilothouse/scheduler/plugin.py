"""What one needs to write a scheduler plugin in Python: `from pilothouse.scheduler.plugin import Plugin`.

A plugin is a subclass of `Plugin` with a `name`. Overriding a method is implementing that extension point; all others cost nothing. Filter and
Score have two faces, of which one is enough:

- one node at a time, the easy way: `filter(cycle, node) -> Status | None` and `score(cycle, node) -> int`;
- all nodes at once, the fast way: `filter_all(cycle)` yields `Rejected(reason, rows)` with a mask of the rows that it removes, and
  `score_all(cycle)` gives an array with a score for each row, of which only feasible rows are read.

`cycle.pod` is the pod (`spec`, `labels`, `requests`), `cycle.table` the nodes in columns (`resource_column(r).data`, `requested[r].data`,
`label_column(key)`), a `Row` one node (`name`, `labels`, `taints`, `pods`, `obj`). CPU is counted in thousandths, everything else in
units. A score ends in 0..100: `normalize` may scale it, `default_normalize` brings the highest to 100. What depends on nodes and on equal pods
only is kept with `cycle.cached_rows`, which repairs the rows that changed.

Plugins are found in packages by the entry point group `pilothouse.scheduler.plugins`, or in files (`--plugin-file`), and are enabled, weighted
and given arguments (`self.args`) by the ordinary KubeSchedulerConfiguration.
"""

from pilothouse.scheduler.framework import (
    MAX_NODE_SCORE,
    SKIP,
    ClusterEvent,
    Code,
    Cycle,
    Plugin,
    PreFilterResult,
    Rejected,
    Status,
    default_normalize,
)
from pilothouse.scheduler.podinfo import PodInfo, amount, amount_text
from pilothouse.scheduler.table import Ints, Mask, NodeTable, Row

__all__ = [
    "MAX_NODE_SCORE",
    "SKIP",
    "ClusterEvent",
    "Code",
    "Cycle",
    "Ints",
    "Mask",
    "NodeTable",
    "Plugin",
    "PodInfo",
    "PreFilterResult",
    "Rejected",
    "Row",
    "Status",
    "amount",
    "amount_text",
    "default_normalize",
]

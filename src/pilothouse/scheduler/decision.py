"""What was decided for one pod, and why: the record that explanations, events and tests read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """Nodes that one plugin removed for one reason."""

    plugin: str
    reason: str
    nodes: tuple[str, ...]
    unresolvable: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one scheduling cycle.

    `node` is the choice or None. `totals` maps each feasible node to its weighted sum, `scores` plugin to node to weighted score; both
    are empty where there was nothing to compare. `reason` is the PodScheduled condition's reason when there is no node. `nominated` is the node where
    `victims` (namespace/name) must make room.
    """

    pod: str
    node: str | None
    nodes_total: int
    rejected: tuple[FilterVerdict, ...] = ()
    scores: dict[str, dict[str, int]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    message: str = ""
    plugins: frozenset[str] = frozenset()
    nominated: str = ""
    victims: tuple[str, ...] = ()

    def score_of(self, node: str) -> dict[str, int]:
        """Plugin to weighted score of one feasible node."""
        return {plugin: by_node[node] for plugin, by_node in self.scores.items() if node in by_node}


def unschedulable_message(total: int, counts: Counter[str], extra: str = "") -> str:
    """`0/N nodes are available: ...`: counts with their reasons in the order of their texts, then what PostFilter said."""
    head = f"0/{total} nodes are available"
    if counts:
        told = sorted(f"{count} {reason}" for reason, count in counts.items())
        head += ": " + ", ".join(told) + "."
    elif not extra:
        return head
    else:
        head += ":"
    return f"{head} {extra}" if extra else head

"""A profile: the plugins of one scheduler name at their extension points, and what is left of them for pods of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.scheduler.framework import Cycle, Plugin, implements


@dataclass(slots=True)
class Profile:
    """Plugins of one scheduler name, in order, with score weights."""

    name: str
    plugins: Sequence[Plugin]
    weights: dict[str, int] = field(default_factory=dict)
    #: `percentageOfNodesToScore`; 0: all feasible nodes are scored.
    percentage: int = 0
    pre_filters: list[Plugin] = field(init=False)
    filters: list[Plugin] = field(init=False)
    post_filters: list[Plugin] = field(init=False)
    pre_scores: set[str] = field(init=False)
    scores: list[Plugin] = field(init=False)
    reserves: list[Plugin] = field(init=False)
    permits: list[Plugin] = field(init=False)
    pre_binds: list[Plugin] = field(init=False)
    binds: list[Plugin] = field(init=False)
    post_binds: list[Plugin] = field(init=False)
    pre_enqueues: list[Plugin] = field(init=False)
    sorter: Plugin = field(init=False)
    #: Names of plugins that do not ship with the scheduler: their scores are checked.
    foreign: frozenset[str] = field(init=False)
    #: Those that look things up in the stock.
    readers: list[Plugin] = field(init=False)

    def __post_init__(self) -> None:
        def having(*methods: str) -> list[Plugin]:
            return [p for p in self.plugins if any(implements(p, m) for m in methods)]

        self.foreign = frozenset(
            p.name for p in self.plugins if not type(p).__module__.startswith("pilothouse.scheduler.plugins.")
        )
        self.pre_enqueues = having("pre_enqueue")
        sorters = having("sort_key")
        if len(sorters) != 1:
            raise ValueError(f"profile {self.name!r} needs exactly one queue sort plugin, has {len(sorters)}")
        self.sorter = sorters[0]
        self.readers = having("needs")
        self.pre_filters = having("pre_filter")
        self.filters = having("filter", "filter_all")
        self.post_filters = having("post_filter")
        self.pre_scores = {p.name for p in having("pre_score")}
        self.scores = [p for p in having("score", "score_all") if self.weights.get(p.name, 1) > 0]
        self.reserves = having("reserve", "unreserve")
        self.permits = having("permit")
        self.pre_binds = having("pre_bind")
        self.binds = having("bind")
        self.post_binds = having("post_bind")


@dataclass(frozen=True, slots=True)
class Plan:
    """The plugins of a profile that have something to say about the pods of a class."""

    profile: Profile
    pre_filters: list[Plugin]
    filters: list[Plugin]
    scores: list[Plugin]
    idle: frozenset[str]  # the names of those whose filter has nothing to say


def plan_of(cycle: Cycle, profile: Profile) -> Plan:
    """Worked out once for all pods of the class."""
    plan: Plan | None = cycle.shared.plan
    if plan is None or plan.profile is not profile:

        def busy(plugins: Sequence[Plugin], point: str) -> list[Plugin]:
            return [p for p in plugins if not cycle.shared.is_idle(p, point, cycle.pod)]

        filters, befores = busy(profile.filters, "Filter"), busy(profile.pre_filters, "Filter")
        named = {p.name for p in (*profile.filters, *profile.pre_filters)}
        idle = frozenset(named - {p.name for p in (*filters, *befores)})
        plan = Plan(profile, befores, filters, busy(profile.scores, "Score"), idle)
        cycle.shared.plan = plan
    return plan

"""The heart: `schedule(snapshot, pod, profile) -> Decision`. No I/O, no clock; the same input and seed give the same answer.

All nodes are filtered and scored for every pod, column by column. One filter after another removes rows, so that each removed node
is told once, with the reasons of the first plugin that refused it (as kube-scheduler does node by node).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pilothouse.scheduler.decision import Decision, FilterVerdict, unschedulable_message
from pilothouse.scheduler.framework import (
    ClusterView,
    Code,
    Cycle,
    Plugin,
    PodClass,
    Preemption,
    PreFilterResult,
    Rejected,
    Status,
    implements,
)
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints, Mask, NodeTable

#: (plugin name, what it removed)
Rejections = list[tuple[str, Rejected]]


@dataclass(slots=True)
class Profile:
    """Plugins of one scheduler name, in order, with score weights."""

    name: str
    plugins: Sequence[Plugin]
    weights: dict[str, int] = field(default_factory=dict)
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

    def __post_init__(self) -> None:
        def having(*methods: str) -> list[Plugin]:
            return [p for p in self.plugins if any(implements(p, m) for m in methods)]

        self.pre_enqueues = having("pre_enqueue")
        sorters = having("sort_key")
        if len(sorters) != 1:
            raise ValueError(f"profile {self.name!r} needs exactly one queue sort plugin, has {len(sorters)}")
        self.sorter = sorters[0]
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


class Snapshot:
    """What a decision is made on: the node table, the view of everything else, and the classes' caches."""

    #: Classes kept; the least recently used half goes when there are more.
    MAX_CLASSES = 256

    def __init__(self, table: NodeTable, view: ClusterView | None = None) -> None:
        self.table = table
        self.view = view or ClusterView()
        self._classes: dict[tuple[str, bytes], PodClass] = {}
        self._uses = 0
        #: Pods for which others were preempted, by key, with the node that is kept for them.
        self.nominated: dict[str, tuple[PodInfo, str]] = {}

    def class_of(self, profile: str, pod: PodInfo) -> PodClass:
        key = (profile, pod.signature)
        found = self._classes.get(key)
        if found is None:
            if len(self._classes) >= self.MAX_CLASSES:
                oldest = sorted(self._classes, key=lambda k: self._classes[k].used)
                for old in oldest[: len(oldest) // 2]:
                    del self._classes[old]
            found = self._classes[key] = PodClass()
        self._uses += 1
        found.used = self._uses
        return found


@dataclass(slots=True)
class Outcome:
    """A decision in the making, still in rows: cheap for the scheduler, turned into a Decision when somebody asks."""

    cycle: Cycle
    row: int = -1
    rejections: Rejections = field(default_factory=list)
    weighted: list[tuple[str, Ints]] = field(default_factory=list)
    rows: Ints | None = None
    status: Status | None = None
    preemption: Preemption | None = None

    @property
    def node(self) -> str | None:
        if self.row < 0:
            return None
        row = self.cycle.table.rows[self.row]
        assert row is not None
        return row.name


def schedule(snapshot: Snapshot, pod: PodInfo, profile: Profile, rng: random.Random | None = None) -> Decision:
    """Decide where a pod goes. Nothing is changed but caches; ties are broken by `rng` (default: seeded with 0)."""
    return to_decision(decide(snapshot, pod, profile, rng or random.Random(0)))


def decide(snapshot: Snapshot, pod: PodInfo, profile: Profile, rng: random.Random) -> Outcome:
    """One scheduling cycle up to the choice."""
    cycle = Cycle(pod, snapshot.table, snapshot.view, snapshot.class_of(profile.name, pod))
    outcome = Outcome(cycle)
    held = first_failure(profile.pre_enqueues, lambda p: p.pre_enqueue(pod))
    if held is not None:
        outcome.status = held
        return outcome
    skipped = _pre_filter(cycle, profile, outcome)
    if outcome.status is None:
        _filter(cycle, profile, skipped, outcome.rejections)
        if snapshot.nominated:
            _respect_nominated(snapshot, cycle, profile, outcome.rejections)
        _choose(cycle, profile, rng, outcome)
    if outcome.row < 0:
        _fail(cycle, profile, outcome)
    return outcome


def first_failure(plugins: Sequence[Plugin], ask: Callable[[Plugin], Status | None]) -> Status | None:
    """The first answer that is not success, with its plugin's name."""
    for plugin in plugins:
        status = ask(plugin)
        if status is not None and status.code is not Code.SUCCESS:
            return Status(status.code, status.reasons, plugin.name)
    return None


def _pre_filter(cycle: Cycle, profile: Profile, outcome: Outcome) -> set[str]:
    skipped: set[str] = set()
    cycle.feasible = cycle.table.present.copy()
    narrowed: list[str] = []
    for plugin in profile.pre_filters:
        result = plugin.pre_filter(cycle)
        if isinstance(result, PreFilterResult):
            narrowed.append(plugin.name)
            _narrow(cycle, result, narrowed, outcome.rejections)
        elif result is None or result.code is Code.SUCCESS:
            continue
        elif result.code is Code.SKIP:
            skipped.add(plugin.name)
        else:
            outcome.status = Status(result.code, result.reasons, plugin.name)
            hopeless = result.code is Code.UNRESOLVABLE
            outcome.rejections.append((plugin.name, Rejected(", ".join(result.reasons), cycle.table.present, hopeless)))
            break
    return skipped


def _narrow(cycle: Cycle, result: PreFilterResult, narrowed: list[str], rejections: Rejections) -> None:
    keep: Mask = np.zeros_like(cycle.feasible)
    for name in result.node_names:
        row = cycle.table.by_name.get(name)
        if row is not None:
            keep[row.index] = cycle.feasible[row.index]
    gone = cycle.feasible & ~keep
    cycle.feasible = keep
    reason = f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(narrowed))}]"
    rejections.append((narrowed[-1], Rejected(reason, gone, unresolvable=True)))


def _filter(cycle: Cycle, profile: Profile, skipped: set[str], rejections: Rejections) -> None:
    cycle.filters = [p for p in profile.filters if p.name not in skipped]
    for plugin in cycle.filters:
        rejected = plugin.filter_all(cycle) if implements(plugin, "filter_all") else _filter_each(plugin, cycle)
        removed: Mask | None = None
        for r in rejected:
            rows = r.rows & cycle.feasible
            if rows.any():
                rejections.append((plugin.name, Rejected(r.reason, rows, r.unresolvable)))
                removed = rows if removed is None else removed | rows
        if removed is not None:
            cycle.feasible = cycle.feasible & ~removed
            if not cycle.feasible.any():
                return


def _respect_nominated(snapshot: Snapshot, cycle: Cycle, profile: Profile, rejections: Rejections) -> None:
    """Filter once more with the nominated pods of no lower priority in their places: room made for them is not free."""
    pod, table = cycle.pod, snapshot.table
    others = [
        (other, node)
        for other, node in snapshot.nominated.values()
        if other.priority >= pod.priority and other.key != pod.key and other.key not in table.pod_rows and node in table.by_name
    ]
    if not others or not cycle.feasible.any():
        return
    for other, node in others:
        table.add_pod(other, node)
    again = Cycle(pod, table, snapshot.view, cycle.shared)
    probe = Outcome(again)
    skipped = _pre_filter(again, profile, probe)
    again.feasible &= cycle.feasible
    if probe.status is None:
        _filter(again, profile, skipped, probe.rejections)
    for other, _ in others:
        table.remove_pod(other.key)
    removed = ((name, r.reason, r.rows & cycle.feasible, r.unresolvable) for name, r in probe.rejections)
    rejections += [(name, Rejected(reason, rows, hopeless)) for name, reason, rows, hopeless in removed if rows.any()]
    cycle.feasible = again.feasible if probe.status is None else np.zeros_like(cycle.feasible)


def _filter_each(plugin: Plugin, cycle: Cycle) -> list[Rejected]:
    out: list[Rejected] = []
    for i in np.flatnonzero(cycle.feasible):
        row = cycle.table.rows[i]
        assert row is not None
        status = plugin.filter(cycle, row)
        if status is None or status.code is Code.SUCCESS:
            continue
        mask = np.zeros_like(cycle.feasible)
        mask[i] = True
        out.extend(Rejected(reason, mask, status.code is Code.UNRESOLVABLE) for reason in status.reasons or ("",))
    return out


def _choose(cycle: Cycle, profile: Profile, rng: random.Random, outcome: Outcome) -> None:
    rows = np.flatnonzero(cycle.feasible)
    if not len(rows):
        return
    outcome.rows = rows
    if len(rows) == 1:
        outcome.row = int(rows[0])
        return
    total = np.zeros(len(rows), dtype=np.int64)
    for plugin in profile.scores:
        if plugin.name in profile.pre_scores:
            status = plugin.pre_score(cycle)
            if status is not None and status.code is Code.SKIP:
                continue
        raw = plugin.score_all(cycle)[rows] if implements(plugin, "score_all") else _score_each(plugin, cycle, rows)
        weighted = plugin.normalize(cycle, raw) * profile.weights.get(plugin.name, 1)
        outcome.weighted.append((plugin.name, weighted))
        total += weighted
    best = np.flatnonzero(total == total.max())
    outcome.weighted.append(("", total))
    outcome.row = int(rows[best[rng.randrange(len(best))] if len(best) > 1 else best[0]])


def _score_each(plugin: Plugin, cycle: Cycle, rows: Ints) -> Ints:
    nodes = [cycle.table.rows[i] for i in rows]
    return np.array([plugin.score(cycle, node) for node in nodes if node is not None], dtype=np.int64)


def _fail(cycle: Cycle, profile: Profile, outcome: Outcome) -> None:
    early = outcome.status
    if early is not None and early.code is Code.ERROR:
        return
    said = _post_filter(cycle, profile, outcome)
    total = cycle.table.node_count()
    if early is not None:  # refused before any node was looked at
        text = f"0/{total} nodes are available: {', '.join(early.reasons)}."
        outcome.status = Status(early.code, (f"{text} {said}" if said else text,), early.plugin)
        return
    counts: Counter[str] = Counter()
    for _, r in outcome.rejections:
        counts[r.reason] += int(np.count_nonzero(r.rows))
    outcome.status = Status(Code.UNSCHEDULABLE, (unschedulable_message(total, counts, said),))


def _post_filter(cycle: Cycle, profile: Profile, outcome: Outcome) -> str:
    """Ask the PostFilter plugins until one makes room; otherwise what they said."""
    said: list[str] = []
    for plugin in profile.post_filters:
        status = plugin.post_filter(cycle, outcome.rejections)
        if isinstance(status, Preemption):
            outcome.preemption = status
            return ""
        if status is not None:
            said += status.reasons
    return ", ".join(said)


def refusing_plugins(outcome: Outcome) -> frozenset[str]:
    """The plugins whose verdict stands between this pod and a node."""
    names = {name for name, _ in outcome.rejections}
    if outcome.status is not None and outcome.status.plugin:
        names.add(outcome.status.plugin)
    return frozenset(names)


def to_decision(outcome: Outcome) -> Decision:
    """The record of one cycle, by node names. The table must not have changed since."""
    table = outcome.cycle.table

    def names(rows: Ints) -> tuple[str, ...]:
        return tuple(row.name for row in (table.rows[i] for i in rows) if row is not None)

    rejected = tuple(
        FilterVerdict(plugin, r.reason, names(np.flatnonzero(r.rows)), r.unresolvable) for plugin, r in outcome.rejections
    )
    scores: dict[str, dict[str, int]] = {}
    totals: dict[str, int] = {}
    if outcome.weighted and outcome.rows is not None:
        finalists = names(outcome.rows)
        for plugin, vector in outcome.weighted:
            by_node = dict(zip(finalists, map(int, vector), strict=True))
            if plugin:
                scores[plugin] = by_node
            else:
                totals = by_node
    status = outcome.status
    reason = "" if status is None else condition_reason(status)
    return Decision(
        outcome.cycle.pod.key,
        outcome.node,
        table.node_count(),
        rejected,
        scores,
        totals,
        reason,
        status_message(status),
        refusing_plugins(outcome),
        outcome.preemption.node if outcome.preemption else "",
        tuple(p.key for p in outcome.preemption.victims) if outcome.preemption else (),
    )


def condition_reason(status: Status) -> str:
    """The PodScheduled condition's reason for a failure."""
    if status.plugin == "SchedulingGates":
        return "SchedulingGated"
    return "SchedulerError" if status.code is Code.ERROR else "Unschedulable"


def status_message(status: Status | None) -> str:
    """The text of a failure as events and conditions carry it."""
    if status is None:
        return ""
    return ", ".join(status.reasons)

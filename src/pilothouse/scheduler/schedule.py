"""The heart: `schedule(snapshot, pod, profile) -> Decision`. No I/O, no clock; the same input and seed give the same answer.

All nodes are filtered and scored for every pod, column by column. One filter after another removes rows, so that each removed node
is told once, with the reasons of the first plugin that refused it (as kube-scheduler does node by node).
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pilothouse.scheduler.decision import Decision, unschedulable_message
from pilothouse.scheduler.framework import (
    EXTENDER,
    MAX_NODE_SCORE,
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
from pilothouse.scheduler.laps import NO_LAPS, Laps
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.profile import Profile, plan_of
from pilothouse.scheduler.record import Record, Rejections
from pilothouse.scheduler.table import Ints, Mask, NodeTable

#: Rows scored at least, whatever `percentageOfNodesToScore` says.
MIN_SCORED = 100


class Snapshot:
    """What a decision is made on: the node table, the view of everything else, and the classes' caches."""

    #: Classes kept; the least recently used half goes when there are more.
    MAX_CLASSES = 256

    def __init__(self, table: NodeTable, view: ClusterView | None = None) -> None:
        self.table = table
        self.view = view or ClusterView()
        self._classes: dict[tuple[str, bytes], PodClass] = {}
        self._uses = 0
        self.next_row = 0  # where sampling goes on
        #: Pods for which others were preempted, by key, with the node that is kept for them.
        self.nominated: dict[str, tuple[PodInfo, str]] = {}

    def forget_classes(self) -> None:
        """Profiles have changed: nothing that their plugins derived counts any more."""
        self._classes.clear()

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
    laps: Laps = NO_LAPS
    #: The profile that decided, which sees the pod through to its node.
    profile: Profile | None = None
    #: The table's stamp when rows were narrowed down.
    stamp: int = -1
    #: When the attempt began, by the clock's `monotonic`.
    began: float = 0.0
    #: A PreEnqueue plugin keeps the pod out of the queue.
    held: bool = False
    #: What a plugin raised.
    error: Exception | None = None

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


def decide(snapshot: Snapshot, pod: PodInfo, profile: Profile, rng: random.Random, laps: Laps = NO_LAPS) -> Outcome:
    """One scheduling cycle up to the choice. `laps` takes the time of each plugin, where somebody wants to know."""
    outcome = narrow(snapshot, pod, profile, laps)
    conclude(snapshot, outcome, rng)
    return outcome


def narrow(snapshot: Snapshot, pod: PodInfo, profile: Profile, laps: Laps = NO_LAPS) -> Outcome:
    """The first half of a cycle: which rows are feasible, or what stands against the pod itself (`status`)."""
    cycle = Cycle(pod, snapshot.table, snapshot.view, snapshot.class_of(profile.name, pod))
    outcome = Outcome(cycle, laps=laps, profile=profile)
    _guarded(outcome, lambda: _narrow_down(snapshot, cycle, profile, outcome))
    outcome.stamp = snapshot.table.stamp
    return outcome


def conclude(snapshot: Snapshot, outcome: Outcome, rng: random.Random, besides: Mapping[str, int] | None = None) -> None:
    """The second half: the choice, or why there is none. `besides` are scores by node from outside, weighted already."""
    if outcome.error is None:
        _guarded(outcome, lambda: _finish(snapshot, outcome, rng, besides or {}))


def _guarded(outcome: Outcome, work: Callable[[], None]) -> None:
    """One plugin's fault must not end the scheduler."""
    try:
        work()
    except Exception as error:
        plugin = _at_fault(error)
        outcome.row, outcome.error = -1, error
        outcome.status = Status(Code.ERROR, (f"running plugin {plugin!r}: {type(error).__name__}: {error}",), plugin)


def _at_fault(error: Exception) -> str:
    """The plugin in which an exception was raised."""
    frame, name = error.__traceback__, ""
    while frame is not None:
        held = frame.tb_frame.f_locals
        owner = held.get("self", held.get("plugin"))
        name = owner.name if isinstance(owner, Plugin) else name
        frame = frame.tb_next
    return name


def _narrow_down(snapshot: Snapshot, cycle: Cycle, profile: Profile, outcome: Outcome) -> None:
    pod, laps = cycle.pod, outcome.laps
    held = first_failure(profile.pre_enqueues, lambda p: p.pre_enqueue(pod))
    if held is not None:
        outcome.status, outcome.held = held, True
        return
    skipped = pre_filter(cycle, profile, outcome)
    if outcome.status is None:
        _filter(cycle, profile, skipped, outcome.rejections, laps)
        if snapshot.nominated:
            cycle.nominated = list(snapshot.nominated.values())
            _respect_nominated(snapshot, cycle, profile, outcome.rejections)
        _prefer_nominated(cycle)
        if profile.percentage:
            _sample(snapshot, cycle, profile)


def _prefer_nominated(cycle: Cycle) -> None:
    """A pod that was nominated goes to its node if it can, without a look at the others."""
    row = cycle.table.by_name.get(cycle.pod.expected_node)
    if row is not None and cycle.feasible[row.index]:
        cycle.feasible = np.zeros_like(cycle.feasible)
        cycle.feasible[row.index] = True


def _sample(snapshot: Snapshot, cycle: Cycle, profile: Profile) -> None:
    """Keep only as many feasible rows as `percentageOfNodesToScore` asks for, going on where the last cycle ended."""
    wanted = max(MIN_SCORED, cycle.table.node_count() * profile.percentage // 100)
    rows = np.flatnonzero(cycle.feasible)
    if len(rows) <= wanted:
        return
    kept = np.roll(rows, -int(np.searchsorted(rows, snapshot.next_row)))[:wanted]
    snapshot.next_row = int(kept[-1]) + 1
    cycle.feasible = np.zeros_like(cycle.feasible)
    cycle.feasible[kept] = True


def _finish(snapshot: Snapshot, outcome: Outcome, rng: random.Random, besides: Mapping[str, int]) -> None:
    cycle, profile = outcome.cycle, outcome.profile
    assert profile is not None
    cycle.chance = rng
    if outcome.status is None:
        _choose(cycle, profile, rng, outcome, besides)
    elif outcome.held:
        return
    if outcome.row < 0:
        _fail(cycle, profile, outcome)


def first_failure(plugins: Sequence[Plugin], ask: Callable[[Plugin], Status | None]) -> Status | None:
    """The first answer that is not success, with its plugin's name."""
    for plugin in plugins:
        status = ask(plugin)
        if status is not None and status.code is not Code.SUCCESS:
            return Status(status.code, status.reasons, plugin.name)
    return None


def pre_filter(cycle: Cycle, profile: Profile, outcome: Outcome) -> set[str]:
    """Run the PreFilter plugins; the names of those whose filter has nothing to say."""
    plan = plan_of(cycle, profile)
    skipped = set(plan.idle)
    cycle.feasible = cycle.table.present.copy()
    narrowed: list[str] = []
    for plugin in plan.pre_filters:
        result = plugin.pre_filter(cycle)
        outcome.laps.lap("PreFilter", plugin.name)
        if isinstance(result, PreFilterResult):
            narrowed.append(plugin.name)
            _narrow(cycle, result, narrowed, outcome.rejections)
        elif result is None or result.code is Code.SUCCESS:
            continue
        elif result.code is Code.SKIP:
            skipped.add(plugin.name)
        else:
            outcome.status = Status(result.code, result.reasons, plugin.name)
            if result.code is Code.HOLD:
                break
            hopeless = result.code is Code.UNRESOLVABLE
            outcome.rejections.append((plugin.name, Rejected(", ".join(result.reasons), cycle.table.present.copy(), hopeless)))
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


def _filter(cycle: Cycle, profile: Profile, skipped: set[str], rejections: Rejections, laps: Laps = NO_LAPS) -> None:
    cycle.filters = [p for p in plan_of(cycle, profile).filters if p.name not in skipped]
    for plugin in cycle.filters:
        removed: Mask | None = None
        for r in refused(plugin, cycle):
            rows = r.rows & cycle.feasible
            if rows.any():
                rejections.append((plugin.name, Rejected(r.reason, rows, r.unresolvable)))
                removed = rows if removed is None else removed | rows
        laps.lap("Filter", plugin.name)
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
    try:
        skipped = pre_filter(again, profile, probe)
        again.feasible &= cycle.feasible
        if probe.status is None:
            _filter(again, profile, skipped, probe.rejections)
    finally:
        for other, _ in others:
            table.remove_pod(other.key)
    removed = ((name, r.reason, r.rows & cycle.feasible, r.unresolvable) for name, r in probe.rejections)
    rejections += [(name, Rejected(reason, rows, hopeless)) for name, reason, rows, hopeless in removed if rows.any()]
    cycle.feasible = again.feasible if probe.status is None else np.zeros_like(cycle.feasible)


def refused(plugin: Plugin, cycle: Cycle, among: Mask | None = None) -> Iterable[Rejected]:
    """What one plugin's filter removes, whichever face it has; a plugin that is asked node by node looks only at the rows `among`."""
    if implements(plugin, "filter_all"):
        return plugin.filter_all(cycle)
    return _filter_each(plugin, cycle, cycle.feasible if among is None else among)


def _filter_each(plugin: Plugin, cycle: Cycle, among: Mask) -> list[Rejected]:
    out: list[Rejected] = []
    for i in np.flatnonzero(among):
        row = cycle.table.rows[i]
        assert row is not None
        status = plugin.filter(cycle, row)
        if status is None or status.code is Code.SUCCESS:
            continue
        mask = np.zeros_like(cycle.feasible)
        mask[i] = True
        out.extend(Rejected(reason, mask, status.code is Code.UNRESOLVABLE) for reason in status.reasons or ("",))
    return out


def _choose(cycle: Cycle, profile: Profile, rng: random.Random, outcome: Outcome, besides: Mapping[str, int]) -> None:
    rows = np.flatnonzero(cycle.feasible)
    if not len(rows):
        return
    outcome.rows = rows
    if len(rows) == 1:
        outcome.row = int(rows[0])
        return
    total = np.zeros(len(rows), dtype=np.int64)
    offset = 0
    for plugin in plan_of(cycle, profile).scores:
        if plugin.name in profile.pre_scores:
            status = plugin.pre_score(cycle)
            outcome.laps.lap("PreScore", plugin.name)
            if status is not None and status.code is Code.SKIP:
                continue
        weight = profile.weights.get(plugin.name, 1)
        same = plugin.uniform(cycle)
        if same is not None:
            offset += same * weight
            outcome.weighted.append((plugin.name, _constant(len(rows), same * weight)))
            outcome.laps.lap("Score", plugin.name)
            continue
        raw = plugin.score_all(cycle).take(rows) if implements(plugin, "score_all") else _score_each(plugin, cycle, rows)
        scores = plugin.normalize(cycle, raw)
        if plugin.name in profile.foreign:
            scores = _checked(plugin, scores)
        weighted = scores * weight if weight != 1 else scores
        outcome.weighted.append((plugin.name, weighted))
        outcome.laps.lap("Score", plugin.name)
        total += weighted
    if besides:
        names = cycle.table.names()
        extra = np.array([besides.get(names[i], 0) for i in rows], dtype=np.int64)
        outcome.weighted.append((EXTENDER, extra))
        total += extra
    total += offset
    best = np.flatnonzero(total == total.max())
    outcome.weighted.append(("", total))
    outcome.row = int(rows[best[rng.randrange(len(best))] if len(best) > 1 else best[0]])


@functools.lru_cache(maxsize=64)
def _constant(length: int, value: int) -> Ints:
    """The same number many times over: kept in records, never changed."""
    out = np.full(length, value, dtype=np.int64)
    out.setflags(write=False)
    return out


def _checked(plugin: Plugin, scores: Ints) -> Ints:
    """The scores of a plugin that is not ours."""
    low, high = scores.min(), scores.max()
    if low < 0 or high > MAX_NODE_SCORE:
        raise ValueError(f"{plugin.name} scores {low if low < 0 else high}, which is not within 0..{MAX_NODE_SCORE}")
    return np.asarray(scores).astype(np.int64)


def _score_each(plugin: Plugin, cycle: Cycle, rows: Ints) -> Ints:
    nodes = [cycle.table.rows[i] for i in rows]
    return np.array([plugin.score(cycle, node) for node in nodes if node is not None], dtype=np.int64)


def _fail(cycle: Cycle, profile: Profile, outcome: Outcome) -> None:
    early = outcome.status
    if early is not None and early.code in (Code.ERROR, Code.HOLD):
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
        outcome.laps.lap("PostFilter", plugin.name)
        if isinstance(status, Preemption):
            outcome.preemption = status
            return ""
        if status is not None:
            said += status.reasons
    return ", ".join(said)


def refusing_plugins(outcome: Outcome) -> frozenset[str]:
    """The plugins whose verdict stands between this pod and a node."""
    return record_of(outcome).plugins


def record_of(outcome: Outcome) -> Record:
    """What is kept of a cycle: not the sum of the scores, which can be had again. To be called before nodes come or go."""
    table = outcome.cycle.table
    return Record(
        outcome.cycle.pod.key, table.names(), table.node_count(), outcome.row, outcome.rejections, outcome.weighted[:-1],
        outcome.cycle.feasible, outcome.status, outcome.preemption, outcome.laps.taken,
    )  # fmt: skip


def to_decision(outcome: Outcome) -> Decision:
    """The record of one cycle, by node names."""
    return record_of(outcome).decision()

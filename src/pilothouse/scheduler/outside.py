"""A scheduling cycle with extenders in it: after the filters they remove nodes, after the scores they add theirs, and before victims are
removed they have a say. While they are asked, the cluster goes on; a cycle whose nodes changed meanwhile is narrowed down anew.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np

from pilothouse.scheduler.extender import Extender, ExtenderError, Verdict
from pilothouse.scheduler.framework import EXTENDER, Code, Preemption, Rejected, Status
from pilothouse.scheduler.laps import Laps
from pilothouse.scheduler.plugins.default_preemption import Candidate, preemption
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.schedule import Outcome, Snapshot, conclude, narrow

log = logging.getLogger("pilothouse.scheduler")

T = TypeVar("T")


async def decide_with(
    extenders: Sequence[Extender], snapshot: Snapshot, pod: PodInfo, profile: Profile, rng: random.Random, laps: Laps
) -> Outcome:
    """One scheduling cycle up to the choice, with these extenders' part in it."""
    asked = [e for e in extenders if e.interested(pod)]
    outcome = narrow(snapshot, pod, profile, laps)
    try:
        verdicts = await _filter(asked, outcome)
        outcome = _again(snapshot, outcome, laps)
        _apply(outcome, verdicts)
        scores = await _prioritize(asked, outcome)
        if outcome.cycle.table.stamp != outcome.stamp:
            outcome = _again(snapshot, outcome, laps)
            _apply(outcome, verdicts)
        conclude(snapshot, outcome, rng, scores)
        if outcome.preemption is not None:
            outcome.preemption = await _preempt(asked, outcome, outcome.preemption)
    except ExtenderError as error:
        outcome.row, outcome.preemption = -1, None
        outcome.status = Status(Code.ERROR, (str(error),), EXTENDER)
    return outcome


def _again(snapshot: Snapshot, outcome: Outcome, laps: Laps) -> Outcome:
    if outcome.cycle.table.stamp == outcome.stamp or outcome.profile is None:
        return outcome
    return narrow(snapshot, outcome.cycle.pod, outcome.profile, laps)


def _open(outcome: Outcome) -> bool:
    return outcome.status is None and bool(outcome.cycle.feasible.any())


def _nodes(outcome: Outcome) -> dict[str, dict[str, object]]:
    rows = (outcome.cycle.table.rows[i] for i in np.flatnonzero(outcome.cycle.feasible))
    return {row.name: row.obj for row in rows if row is not None}


async def _lenient(extender: Extender, question: Callable[[], Awaitable[T]]) -> T | None:
    """The answer; None from an extender that is not there and need not be."""
    try:
        return await question()
    except ExtenderError as error:
        if not extender.ignorable:
            raise
        log.warning("extender %s left out: %s", extender.name, error)
        return None


async def _filter(extenders: Sequence[Extender], outcome: Outcome) -> list[Verdict]:
    verdicts: list[Verdict] = []
    if not _open(outcome):
        return verdicts
    left = _nodes(outcome)
    for extender in (e for e in extenders if e.can("filter")):
        if not left:
            break
        verdict = await _lenient(extender, lambda e=extender, nodes=list(left.values()): e.filter(outcome.cycle.pod, nodes))  # type: ignore[misc]
        if verdict is not None:
            verdicts.append(verdict)
            left = {name: left[name] for name in verdict.names}
    return verdicts


def _apply(outcome: Outcome, verdicts: Sequence[Verdict]) -> None:
    """Take away what extenders took away."""
    cycle = outcome.cycle
    for verdict in verdicts if outcome.status is None else ():
        kept = set(verdict.names)
        reasons: dict[tuple[str, bool], list[int]] = {}
        for i in np.flatnonzero(cycle.feasible):
            row = cycle.table.rows[i]
            if row is None or row.name in kept:
                continue
            hopeless = row.name in verdict.hopeless
            told = verdict.hopeless.get(row.name) or verdict.failed.get(row.name) or ""
            reasons.setdefault((told, hopeless), []).append(int(i))
        for (told, hopeless), rows in reasons.items():
            mask = np.zeros_like(cycle.feasible)
            mask[rows] = True
            if told:
                outcome.rejections.append((EXTENDER, Rejected(told, mask, hopeless)))
            cycle.feasible = cycle.feasible & ~mask


async def _prioritize(extenders: Sequence[Extender], outcome: Outcome) -> dict[str, int]:
    total: dict[str, int] = {}
    if not _open(outcome) or int(outcome.cycle.feasible.sum()) < 2:
        return total
    nodes = list(_nodes(outcome).values())
    for extender in (e for e in extenders if e.can("prioritize")):
        try:
            scores = await extender.prioritize(outcome.cycle.pod, nodes)
        except ExtenderError as error:  # a pod can do without being liked
            log.warning("extender %s did not score: %s", extender.name, error)
            continue
        for name, score in scores.items():
            total[name] = total.get(name, 0) + score
    return total


async def _preempt(extenders: Sequence[Extender], outcome: Outcome, wanted: Preemption) -> Preemption | None:
    """The cheapest of the candidates that all extenders agree to; None if there is none left."""
    candidates: dict[str, Candidate] = {c.row.name: c for c in wanted.candidates}
    for extender in (e for e in extenders if e.can("preempt")):
        if not candidates:
            return None
        asked = {name: (c.victims, c.violations) for name, c in candidates.items()}
        answer = await _lenient(extender, lambda e=extender, a=asked: e.preempt(outcome.cycle.pod, a))  # type: ignore[misc]
        if answer is not None:
            candidates = {n: _chosen(candidates[n], uids, broken) for n, (uids, broken) in answer.items() if n in candidates}
    return preemption(wanted.plugin, list(candidates.values())) if candidates else None


def _chosen(candidate: Candidate, uids: Sequence[str], broken: int) -> Candidate:
    """The candidate with the victims that an extender names."""
    there = {p.uid: p for p in candidate.row.pods.values()}
    missing = next((uid for uid in uids if uid not in there), None)
    if missing is not None:
        told = f"claims to preempt pod (UID: {missing}) on node: {candidate.row.name}, but the pod is not found on that node"
        raise ExtenderError(f"extender {told}")
    victims = sorted((there[uid] for uid in uids), key=lambda p: (-p.priority, p.started_at))
    return Candidate(candidate.row, victims, broken)

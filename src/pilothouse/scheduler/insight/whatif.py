"""Where would these pods go? The scheduler's own decisions, one after the other, in a sandbox: nothing is written.

In the order of the queue (priority first) each pod is decided and counted where it would go. Pods of drained nodes are decided again as their
controllers would make them again; those without a controller are gone. Pods that would be preempted make room at once, and are
decided again after the others if they have a controller.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.scheduler.framework import Code
from pilothouse.scheduler.insight.expand import Expansion
from pilothouse.scheduler.insight.sandbox import Sandbox
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.record import status_message
from pilothouse.scheduler.schedule import Outcome, Snapshot, decide

Obj = dict[str, Any]

HOSTNAME = "kubernetes.io/hostname"
#: A pod that is preempted again and again is left at that.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What would be different. `like` names the node that `add_nodes` new ones are copies of."""

    objects: tuple[Obj, ...] = ()
    namespace: str = "default"
    add_nodes: int = 0
    like: str = ""
    drain: tuple[str, ...] = ()
    #: Pods of the cluster that wait for a node are decided, too.
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one pod would go. `source`: manifest, waiting, drained or preempted; `before`: the node that it would leave."""

    pod: str
    source: str
    node: str = ""
    message: str = ""
    before: str = ""
    victims: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    placements: list[Placement] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    #: Pods that would end with nobody to make them again.
    lost: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def placed(self) -> int:
        return sum(1 for p in self.placements if p.node)


def answer(
    base: Snapshot,
    profiles: Mapping[str, Profile],
    question: Question,
    waiting: Iterable[PodInfo] = (),
    classes: Iterable[Obj] = (),
) -> Report:
    """Try it out. ValueError, in one line, for a question that makes no sense."""
    _check(base, question)
    report = Report()
    first = Expansion(question.namespace, lambda: (), classes)
    first.add_all(question.objects)
    report.ignored = first.ignored
    with Sandbox(base, first.more) as box:
        report.added = _add_nodes(box, question, first.nodes)
        _Trial(box, profiles, report).run(question, waiting, classes)
    return report


def needs(
    base: Snapshot, profiles: Mapping[str, Profile], question: Question, waiting: Iterable[PodInfo], classes: Iterable[Obj]
) -> set[str]:
    """The plurals that will be looked up in the stock for an answer. ValueError as for `answer`."""
    _check(base, question)
    expansion = Expansion(question.namespace, base.table.nodes, classes)
    expansion.add_all(question.objects)
    pods = [pod_info(pod) for pod in expansion.pods] + (list(waiting) if question.waiting else [])
    pods += [pod for name in question.drain for pod in base.table.by_name[name].pods.values()]
    readers = [plugin for profile in profiles.values() for plugin in profile.readers]
    return {plural for pod in pods for plugin in readers for plural in plugin.needs(pod)}


def _check(base: Snapshot, question: Question) -> None:
    names = [*([question.like] if question.like else []), *question.drain]
    missing = [name for name in names if name not in base.table.by_name or not base.table.present[base.table.by_name[name].index]]
    if missing:
        raise ValueError(f"there is no node {missing[0]}")
    if question.add_nodes < 0:
        raise ValueError("the number of nodes to add cannot be negative")
    if question.add_nodes and not question.like:
        raise ValueError("nodes to add need one that they are like")


def _add_nodes(box: Sandbox, question: Question, described: Sequence[Obj]) -> list[str]:
    """Nodes of manifests, and copies of one that is there."""
    for node in described:
        if node["metadata"]["name"] in box.table.by_name:
            raise ValueError(f"there is a node {node['metadata']['name']} already")
        box.add_node(node)
    named = [node["metadata"]["name"] for node in described]
    added: list[str] = []
    number = 0
    while len(added) < question.add_nodes:
        number += 1
        name = f"{question.like}-like-{number}"
        if name not in box.table.by_name:
            box.add_node(_like(box.table.by_name[question.like].obj, name))
            added.append(name)
    return named + added


def _like(node: Obj, name: str) -> Obj:
    """A new node of the same kind: with its own name, and nothing against scheduling that is the old one's own trouble."""
    meta, spec = node["metadata"], dict(node.get("spec") or {})
    labels = dict(meta.get("labels") or {})
    if HOSTNAME in labels:
        labels[HOSTNAME] = name
    spec.pop("unschedulable", None)
    spec["taints"] = [t for t in spec.get("taints") or () if not t["key"].startswith("node.kubernetes.io/")]
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": node.get("status") or {}}


class _Trial:
    """One run in a sandbox."""

    def __init__(self, box: Sandbox, profiles: Mapping[str, Profile], report: Report) -> None:
        self._box, self._profiles, self._report = box, profiles, report
        self._rng = random.Random(0)
        self._work: deque[tuple[PodInfo, str, str]] = deque()  # pod, source, the node that it leaves
        self._preempted: dict[str, int] = {}

    def run(self, question: Question, waiting: Iterable[PodInfo], classes: Iterable[Obj]) -> None:
        for name in question.drain:
            self._drain(name)
        wanted = [(pod, "waiting", "") for pod in waiting] if question.waiting else []
        expansion = Expansion(question.namespace, self._box.table.nodes, classes)
        expansion.add_all(question.objects)
        wanted += [(self._new(pod), "manifest", "") for pod in expansion.pods]
        wanted += self._work
        sorter = next(iter(self._profiles.values())).sorter
        self._work = deque(sorted(wanted, key=lambda w: sorter.sort_key(w[0])))
        while self._work:
            self._place(*self._work.popleft())

    def _new(self, pod: Obj) -> PodInfo:
        """A pod of a manifest, by another name where there is one of that name already."""
        meta = pod["metadata"]
        key = f"{meta['namespace']}/{meta['name']}"
        if key in self._box.table.pod_rows:
            pod = {**pod, "metadata": {**meta, "name": f"{meta['name']}-new"}}
        return pod_info(pod)

    def _drain(self, name: str) -> None:
        self._box.cordon(name)
        self._report.drained.append(name)
        for pod in list(self._box.table.by_name[name].pods.values()):
            if not _stays(pod):
                self._box.remove(pod.key)
                self._again(pod, "drained", name)

    def _again(self, pod: PodInfo, source: str, before: str) -> None:
        """A pod that ended: its controller makes it again, if it has one."""
        if not any(ref.get("controller") for ref in pod.obj["metadata"].get("ownerReferences") or ()):
            self._report.lost.append(pod.key)
            return
        spec = {k: v for k, v in pod.spec.items() if k != "nodeName"}
        self._work.append((pod_info({**pod.obj, "spec": spec, "status": {}}), source, before))

    def _place(self, pod: PodInfo, source: str, before: str) -> None:
        name = pod.spec.get("schedulerName") or "default-scheduler"
        profile = self._profiles.get(name)
        if profile is None:
            told = f"waits for another scheduler: {name}"
            self._report.placements.append(Placement(pod.key, source, message=told, before=before))
            return
        outcome = decide(self._box.snapshot, pod, profile, self._rng)
        victims: tuple[str, ...] = ()
        if outcome.preemption is not None:
            victims = tuple(v.key for v in outcome.preemption.victims)
            self._evict(outcome.preemption.victims, outcome.preemption.node)
            outcome = decide(self._box.snapshot, pod, profile, self._rng)
        node, told = self._take(outcome, profile)
        self._report.placements.append(Placement(pod.key, source, node, told, before, victims))

    def _evict(self, victims: Iterable[PodInfo], node: str) -> None:
        for victim in victims:
            self._box.remove(victim.key)
            self._preempted[victim.key] = self._preempted.get(victim.key, 0) + 1
            if self._preempted[victim.key] <= _ROUNDS:
                self._again(victim, "preempted", node)

    def _take(self, outcome: Outcome, profile: Profile) -> tuple[str, str]:
        """Count the pod where it goes, with what it claims; the node and, where it gets none, why."""
        node, cycle = outcome.node, outcome.cycle
        if node is None:
            return "", status_message(outcome.status)
        self._box.place(cycle.pod, node)
        for plugin in profile.reserves:
            self._box.on_close(lambda plugin=plugin: plugin.unreserve(cycle, node))  # type: ignore[misc]
            status = plugin.reserve(cycle, node)
            if status is not None and status.code is not Code.SUCCESS:
                self._box.remove(cycle.pod.key)
                return "", status_message(status)
        return node, ""


def _stays(pod: PodInfo) -> bool:
    """Draining leaves pods of daemons, and those that a kubelet made of files."""
    meta = pod.obj["metadata"]
    daemon = any(ref["kind"] == "DaemonSet" and ref.get("controller") for ref in meta.get("ownerReferences") or ())
    return daemon or "kubernetes.io/config.mirror" in (meta.get("annotations") or {})


# --- as an API object ---------------------------------------------------------------------------------------------------------


def question_of(spec: Obj) -> Question:
    """`spec` of a WhatIf. ValueError for what is not understood."""
    from pilothouse.scheduler.insight.situation import flattened

    added = spec.get("addNodes") or {}
    return Question(
        tuple(flattened(spec.get("objects") or ())),
        spec.get("namespace") or "default",
        int(added.get("count") or 0),
        added.get("like") or "",
        tuple(spec.get("drain") or ()),
        bool(spec.get("waiting")),
    )


def report_object(report: Report) -> Obj:
    """`status` of a WhatIf."""

    def one(p: Placement) -> Obj:
        out: Obj = {"pod": p.pod, "source": p.source}
        more = {"nodeName": p.node, "message": p.message, "leaves": p.before, "victims": list(p.victims)}
        return out | {k: v for k, v in more.items() if v}

    summary = {"pods": len(report.placements), "placed": report.placed, "withoutNode": len(report.placements) - report.placed}
    lists = {"nodesAdded": report.added, "nodesDrained": report.drained, "podsLost": report.lost, "ignored": report.ignored}
    return {"summary": summary, **{k: v for k, v in lists.items() if v}, "placements": [one(p) for p in report.placements]}

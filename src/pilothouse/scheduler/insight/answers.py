"""Questions to a running scheduler, and its answers: the decision about a pod, all that are remembered, where pods would go.

A question is what the hub passes on (see `attend`): {"kind": "decision", "namespace", "name"}, {"kind": "decisions", "namespace"} or
{"kind": "whatif", "object"}. An answer is an HTTP code with an object: what was asked for, or a Status.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pilothouse.api.errors import StatusError, bad_request, not_found_error
from pilothouse.clock import Clock
from pilothouse.scheduler.config import SchedulerConfig, parse_config
from pilothouse.scheduler.insight import whatif
from pilothouse.scheduler.insight.explain import API_VERSION, KIND, decision_object
from pilothouse.scheduler.insight.journal import Journal, Noted
from pilothouse.scheduler.insight.nearest import nearest
from pilothouse.scheduler.insight.sandbox import Sandbox
from pilothouse.scheduler.laps import Laps
from pilothouse.scheduler.plugins import BY_NAME
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.schedule import Snapshot, decide, record_of

Obj = dict[str, Any]

GROUP, RESOURCE = "pilothouse.dev", "schedulingdecisions"


@dataclass(frozen=True, slots=True)
class Known:
    """What answers are made from; functions where the scheduler's state may be exchanged."""

    snapshot: Snapshot
    config: Callable[[], SchedulerConfig]
    journal: Journal
    clock: Clock
    pod: Callable[[str, str], Obj | None]
    waiting: Callable[[], Iterable[PodInfo]]
    #: Which of the scheduler's queues a pod (namespace/name) is in, "" for none.
    queue: Callable[[str], str]


def needs(known: Known, question: Obj, classes: Iterable[Obj] = ()) -> set[str]:
    """The plurals that must be in the stock before a question can be answered."""
    if question["kind"] == "decision":
        obj = known.pod(question["namespace"], question["name"])
        profile = known.config().profiles.get(obj["spec"].get("schedulerName", "")) if obj else None
        pod = pod_info(obj) if obj else None
        return {plural for plugin in (profile.readers if profile else ()) for plural in plugin.needs(pod)} if pod else set()
    if question["kind"] != "whatif":
        return set()
    try:
        asked = whatif.question_of(question["object"].get("spec") or {})
        return whatif.needs(known.snapshot, known.config().profiles, asked, known.waiting(), classes)
    except ValueError:
        return set()  # the answer says what is wrong


def answer(known: Known, question: Obj, classes: Iterable[Obj] = ()) -> tuple[int, Obj]:
    """Answer one question, in one turn of the event loop. `classes` are the cluster's priority classes, for what-if questions."""
    try:
        if question["kind"] == "decision":
            return 200, decision(known, question["namespace"], question["name"])
        if question["kind"] == "decisions":
            return 200, decisions(known, question["namespace"])
        return 201, _what_if(known, question["object"], classes)
    except StatusError as error:
        return error.code, error.status()


def decision(known: Known, namespace: str, name: str) -> Obj:
    """The newest decision about a pod: the remembered one, or one that is made now."""
    obj = known.pod(namespace, name)
    key = f"{namespace}/{name}"
    noted = known.journal.of(key)
    if obj is None and noted is None:
        raise not_found_error(GROUP, RESOURCE, name)
    if obj is None or (noted is not None and _about(noted, obj)):
        assert noted is not None
        return _told(known, noted, recorded=True)
    profile = known.config().profiles.get(obj["spec"].get("schedulerName", ""))
    if profile is None:
        raise not_found_error(GROUP, RESOURCE, name)
    return _told(known, decide_anew(known.snapshot, pod_info(obj), profile, known.clock), recorded=False)


def _about(noted: Noted, obj: Obj) -> bool:
    """Whether a remembered decision is about this very pod, and is the one that put it where it is."""
    same = noted.pod.uid == obj["metadata"].get("uid", "")
    return same and (not obj["spec"].get("nodeName") or noted.record.node == obj["spec"]["nodeName"])


def decide_anew(snapshot: Snapshot, pod: PodInfo, profile: Profile, clock: Clock) -> Noted:
    """The decision that would be made if the pod came now; a pod on a node is thought away first."""
    with Sandbox(snapshot) as box:
        box.remove(pod.key)
        spec = {k: v for k, v in pod.spec.items() if k != "nodeName"}
        again = pod_info({**pod.obj, "spec": spec})
        outcome = decide(box.snapshot, again, profile, random.Random(0), Laps(clock.monotonic))
        return Noted(again, profile.name, clock.now(), pod.attempts, record_of(outcome))


def _told(known: Known, noted: Noted, recorded: bool) -> Obj:
    profile = known.config().profiles.get(noted.profile)
    near = nearest(known.snapshot, noted.pod, profile) if noted.record.row < 0 and profile is not None else ()
    out = decision_object(noted, near, recorded)
    queue = known.queue(noted.pod.key)
    if queue:
        out["status"]["queue"] = queue
    return out


def decisions(known: Known, namespace: str) -> Obj:
    """All decisions that are remembered ("" for every namespace), without nodes and scores."""
    listed = [n for n in known.journal.all() if not namespace or n.pod.namespace == namespace]
    items = [decision_object(n, full=False) for n in listed]
    return {"kind": KIND + "List", "apiVersion": API_VERSION, "metadata": {}, "items": items}


def _what_if(known: Known, obj: Obj, classes: Iterable[Obj]) -> Obj:
    spec = obj.get("spec") or {}
    try:
        profiles = known.config().profiles
        if spec.get("configuration"):
            more = {plugin.name: type(plugin) for profile in profiles.values() for plugin in profile.plugins}
            profiles = parse_config(spec["configuration"], {**BY_NAME, **more}).profiles
        question = whatif.question_of(spec)
        waiting = known.waiting() if question.waiting else ()
        report = whatif.answer(known.snapshot, profiles, question, waiting, classes)
    except ValueError as error:
        raise bad_request(f"WhatIf: {error}") from None
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}
    return {**obj, "metadata": metadata, "status": whatif.report_object(report)}

"""The scheduler at work: informers feed the node table and the queue; each pod is decided, assumed on its node, and bound.

Deciding is synchronous and one pod at a time; binding happens meanwhile, many at once. A pod counts on its node from the moment of the
decision (assumed), so that the next decision sees it; if the binding fails it is taken back and tried again after its back-off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.clock import Clock, rfc3339
from pilothouse.scheduler.changes import claim_names, node_changes, only_status_changed, same_room
from pilothouse.scheduler.config import SchedulerConfig, default_config
from pilothouse.scheduler.evict import Evictor
from pilothouse.scheduler.feeds import Feeds
from pilothouse.scheduler.framework import ClusterEvent, ClusterView, Code, Plugin, Status
from pilothouse.scheduler.insight.answers import Known, answer, needs
from pilothouse.scheduler.insight.attend import attend
from pilothouse.scheduler.insight.journal import Journal, Noted
from pilothouse.scheduler.laps import Laps
from pilothouse.scheduler.metrics import ERROR, SCHEDULED, UNSCHEDULABLE, Metrics
from pilothouse.scheduler.owners import OWNERS, owner_selectors
from pilothouse.scheduler.plugins.default_preemption import INELIGIBLE
from pilothouse.scheduler.podinfo import PodInfo, observed_generation, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.queue import SchedulingQueue
from pilothouse.scheduler.record import condition_reason, status_message
from pilothouse.scheduler.reserving import reserve, unreserve
from pilothouse.scheduler.schedule import Outcome, Snapshot, decide, record_of, refusing_plugins
from pilothouse.scheduler.stock import Stock
from pilothouse.scheduler.table import NodeTable

if TYPE_CHECKING:
    from pilothouse.scheduler.extender import Extender

log = logging.getLogger("pilothouse.scheduler")

Obj = dict[str, Any]

BINDERS = 32
#: Pods decided before other work on the event loop gets a turn.
TURN = 8


class Scheduler:
    """One scheduler process. `run` works until cancelled."""

    def __init__(self, transport: Transport, clock: Clock, config: SchedulerConfig | None = None) -> None:
        self._transport = transport
        self._clock = clock
        self._config = config or default_config()
        self._informers = InformerFactory(transport, clock)
        self._recorders: dict[str, EventRecorder] = {}  # by scheduler name, in whose name events are told
        self._table = NodeTable()
        self._evictor = Evictor(transport, clock, self._record)
        self._namespaces_version = 0
        self._stock = Stock()
        view = ClusterView(
            owner_selectors=self._owner_selectors,
            namespace_labels=self._namespace_labels,
            namespaces_version=lambda: self._namespaces_version,
            budgets=lambda namespace: self._budgets.indexed("namespace", namespace),
            stock=self._stock,
            clock=clock,
        )
        self._snapshot = Snapshot(self._table, view)
        self._sorter = next(iter(self._config.profiles.values())).sorter
        self._queue = SchedulingQueue(
            clock,
            lambda pod: self._sorter.sort_key(pod),
            self._plugins_of,
            self._config.initial_backoff,
            self._config.max_backoff,
            lambda queue, event: self.metrics.incoming.add(queue, event),
        )
        self.metrics = Metrics(self._queue.counts, self._cache_size, self._queue.refused_by)
        #: None before it runs, False until it has seen everything that existed at its start.
        self.synced: bool | None = None
        self._feeds = Feeds(transport, clock, self._informers, self._stock, self._queue.happened)
        self._extenders = _extenders(self._config)
        self._assumed: dict[str, str] = {}
        self._waiting_conditions: dict[str, str] = {}
        self._to_bind: asyncio.Queue[Outcome] = asyncio.Queue()
        #: The last decisions.
        self.journal = Journal()
        self.bound = 0
        self._known = Known(
            self._snapshot, lambda: self._config, self.journal, clock, lambda namespace, name: self._pods.get(namespace, name),
            self._queue.pods, self._queue.where,
        )  # fmt: skip

    async def run(self) -> None:
        self.synced = False
        self._pods = pods = self._informers.informer("/api/v1/pods")
        nodes = self._informers.informer("/api/v1/nodes")
        self._services = self._informers.informer("/api/v1/services")
        self._services.add_index("namespace", lambda o: [o["metadata"].get("namespace", "")])
        self._owners = {kind: self._informers.informer(path) for kind, path in OWNERS.items()}
        self._namespaces = self._informers.informer("/api/v1/namespaces")
        self._namespaces.add_handler(self._on_namespace)
        self._budgets = self._informers.informer("/apis/policy/v1/poddisruptionbudgets")
        self._budgets.add_index("namespace", lambda o: [o["metadata"].get("namespace", "")])
        nodes.add_handler(self._on_node)
        pods.add_handler(self._on_pod)
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._informers.run())
            group.create_task(self._queue.run())
            group.create_task(self._evictor.run())
            for informer in (nodes, pods, self._services, self._namespaces, self._budgets, *self._owners.values()):
                await informer.wait_synced()
            group.create_task(attend(self._transport, self._clock, lambda: list(self._config.profiles), self._answer))
            self.synced = True
            for _ in range(BINDERS):
                group.create_task(self._bind_forever())
            try:
                await self._decide_forever()
            finally:
                for extender in self._extenders:
                    await extender.close()

    def reconfigure(self, config: SchedulerConfig) -> None:
        """Go on with other profiles. Pods that wait are tried again, also those that no profile was there for."""
        self._config = config
        former, self._extenders = self._extenders, _extenders(config)
        for extender in former:
            self._group.create_task(extender.close())
        self._sorter = next(iter(config.profiles.values())).sorter
        self._snapshot.forget_classes()
        for pod in self._pods.list():
            if not pod["spec"].get("nodeName"):
                self._on_pod(None, pod)
        self._queue.retry_all()

    def _plugins_of(self, pod: PodInfo) -> list[Plugin]:
        profile = self._config.profiles.get(pod.spec.get("schedulerName", ""))
        return list(profile.plugins) if profile is not None else []

    def _profile(self, pod: PodInfo) -> Profile:
        return self._config.profiles[pod.spec["schedulerName"]]

    # --- what happens in the cluster -------------------------------------------------------------------------------------------------

    def _on_node(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old is not None
            self._table.remove_node(old["metadata"]["name"])
            self._queue.happened(ClusterEvent("Node", "Delete"), old, None)
            return
        self._table.set_node(new)
        for action in node_changes(old, new):
            self._queue.happened(ClusterEvent("Node", action), old, new)

    def _on_namespace(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._namespaces_version += 1

    def _namespace_labels(self, name: str) -> dict[str, str]:
        found = self._namespaces.get("", name)
        return (found["metadata"].get("labels") or {}) if found is not None else {}

    def _on_pod(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None
        key = f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
        if new is None or (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._forget(key, old)
        elif new["spec"].get("nodeName"):
            self._assigned(key, old, new)
        elif new["spec"].get("schedulerName") in self._config.profiles and "deletionTimestamp" not in new["metadata"]:
            self._read_nomination(key, old, new)
            if only_status_changed(old, new) and claim_names(old) == claim_names(new):
                self._queue.refresh(key, new)
            elif key not in self._assumed:
                self._queue.add(pod_info(new))
        else:
            self._queue.remove(key)

    def _read_nomination(self, key: str, old: Obj | None, new: Obj) -> None:
        """A nomination that somebody wrote (this scheduler before it was started anew, or another component) or took back."""
        was, now = ((o or {}).get("status") or {} for o in (old, new))
        before, node = was.get("nominatedNodeName"), now.get("nominatedNodeName")
        if node and node != before:
            self._snapshot.nominated[key] = pod_info(new), node
        elif before and not node:
            self._snapshot.nominated.pop(key, None)

    def _forget(self, key: str, old: Obj | None) -> None:
        self._assumed.pop(key, None)
        self._snapshot.nominated.pop(key, None)
        self._waiting_conditions.pop(key, None)
        self._queue.remove(key)
        if self._table.remove_pod(key) is not None:
            self._queue.happened(ClusterEvent("AssignedPod", "Delete"), old, None)

    def _assigned(self, key: str, old: Obj | None, new: Obj) -> None:
        self._waiting_conditions.pop(key, None)
        self._snapshot.nominated.pop(key, None)
        if self._assumed.pop(key, None) == new["spec"]["nodeName"] and "deletionTimestamp" not in new["metadata"]:
            self._queue.happened(ClusterEvent("AssignedPod", "Add"), old, new)
            return
        row = self._table.pod_rows.get(key)
        if row is not None and old is not None and only_status_changed(old, new) and same_room(old, new):
            return
        self._queue.remove(key)
        info = pod_info(new)
        before = row.pods[key].requests if row is not None else {}
        self._table.add_pod(info, new["spec"]["nodeName"])
        if row is None:
            self._queue.happened(ClusterEvent("AssignedPod", "Add"), old, new)
            return
        if any(info.requests.get(name, 0) < amount for name, amount in before.items()):
            self._queue.happened(ClusterEvent("AssignedPod", "UpdateScaleDown"), old, new)
        if old is not None and old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._queue.happened(ClusterEvent("AssignedPod", "UpdateLabel"), old, new)

    def _owner_selectors(self, pod: PodInfo) -> list[Obj]:
        return owner_selectors(pod, self._services.indexed("namespace", pod.namespace), self._owner)

    def _owner(self, kind: str, namespace: str, name: str) -> Obj | None:
        informer = self._owners.get(kind)
        return None if informer is None else informer.get(namespace, name)

    async def _answer(self, question: Obj) -> tuple[int, Obj]:
        """A question that the hub passes on."""
        classes: list[Obj] = []
        if question["kind"] == "whatif":
            response = await self._transport.request("GET", "/apis/scheduling.k8s.io/v1/priorityclasses")
            classes = response.body["items"] if response.status == 200 else []
        await self._feeds.ready(needs(self._known, question, classes))
        return answer(self._known, question, classes)

    # --- deciding ----------------------------------------------------------------------------------------------------------------------

    async def _decide_forever(self) -> None:
        turn = 0
        while True:
            pod = await self._queue.pop()
            await self._decide(pod)
            turn += 1
            if turn % TURN == 0:
                await asyncio.sleep(0)

    async def _decide(self, pod: PodInfo) -> None:
        profile = self._profile(pod)
        wanted = {plural for plugin in profile.readers for plural in plugin.needs(pod)}
        if wanted:
            try:
                await self._feeds.ready(wanted)
            except OSError as error:
                log.warning("%s was not decided: %s", pod.key, error)
                self._queue.refused(pod, frozenset(), error=True)
                return
        began = self._clock.monotonic()
        laps = Laps(self._clock.monotonic)
        if self._extenders:
            from pilothouse.scheduler.outside import decide_with

            outcome = await decide_with(self._extenders, self._snapshot, pod, profile, self._clock.random, laps)
        else:
            outcome = decide(self._snapshot, pod, profile, self._clock.random, laps)
        if outcome.error is not None:
            log.error("%s was not decided", pod.key, exc_info=outcome.error)
        outcome.began = began
        self._note(outcome)
        node = outcome.node
        self.metrics.cycle(laps.taken, _result(outcome), profile.name)
        if node is None:
            self._nominate(outcome)
            await self._refuse(outcome)
            return
        self._assumed[pod.key] = node
        self._snapshot.nominated.pop(pod.key, None)
        self._table.add_pod(pod, node)
        refused = reserve(outcome, node)
        if refused is not None:
            await self._undo(outcome, refused)
            return
        if profile.permits or any(p.pre_bind_needed(outcome.cycle, node) for p in profile.pre_binds):
            self._group.create_task(self._bind_one(outcome))  # may take long: none of the workers' business
        else:
            self._to_bind.put_nowait(outcome)

    def _ended(self, outcome: Outcome) -> None:
        self.metrics.ended(_result(outcome), _profile_of(outcome).name, self._clock.monotonic() - outcome.began)

    def _cache_size(self) -> dict[str, int]:
        return {"nodes": self._table.node_count(), "pods": len(self._table.pod_rows), "assumed_pods": len(self._assumed)}

    def _note(self, outcome: Outcome) -> None:
        pod = outcome.cycle.pod
        self.journal.note(Noted(pod, pod.spec["schedulerName"], self._clock.now(), pod.attempts, record_of(outcome)))

    def _nominate(self, outcome: Outcome) -> None:
        """Have room made, and keep it; a nomination ends when nobody on its node is on the way out any more."""
        pod, nominated = outcome.cycle.pod, self._snapshot.nominated
        if outcome.preemption is not None:
            node = outcome.preemption.node
            for key, (other, chosen) in list(nominated.items()):
                if chosen == node and other.priority < pod.priority:  # its room is taken: it may look elsewhere
                    del nominated[key]
                    self._evictor.forget_nomination(other)
            nominated[pod.key], pod.nominated = (pod, node), node
            self._queue.hold(pod.key)
            self._evictor.make_room(pod, outcome.preemption, lambda: self._queue.release(pod.key))
            self.metrics.preempted(len(outcome.preemption.victims))
        elif _gives_up(outcome) and (nominated.pop(pod.key, None) is not None or pod.expected_node):
            pod.nominated = ""
            self._evictor.forget_nomination(pod)

    async def _undo(self, outcome: Outcome, status: Status) -> None:
        pod = outcome.cycle.pod
        unreserve(outcome)
        if pod.nominated:  # the node was not to be
            self._snapshot.nominated.pop(pod.key, None)
            pod.nominated = ""
            self._evictor.forget_nomination(pod)
        if self._assumed.pop(pod.key, None) is not None:
            self._table.remove_pod(pod.key)
            self._queue.happened(ClusterEvent("AssignedPod", "Delete"), pod.obj, None)  # its room is free again
        outcome.status = status
        outcome.row = -1
        self._note(outcome)
        await self._refuse(outcome)

    async def _refuse(self, outcome: Outcome) -> None:
        pod, status = outcome.cycle.pod, outcome.status
        assert status is not None
        await self._run_errands(outcome)
        error = status.code is Code.ERROR
        if status.code is not Code.HOLD:
            self._ended(outcome)
        message = status_message(status)
        if self._is_gone(pod):
            self._queue.done(pod)
            return
        self._queue.refused(pod, refusing_plugins(outcome), error)
        if status.code is Code.HOLD or self._waiting_conditions.get(pod.key) == message:
            return
        self._waiting_conditions[pod.key] = message
        self._record(pod, pod, "Warning", "FailedScheduling", message, "Scheduling")
        await self._write_condition(pod, condition_reason(status), message)

    def _is_gone(self, pod: PodInfo) -> bool:
        """Whether nothing is left to decide: the pod was deleted, or somebody else has given it a node."""
        now = self._pods.get(pod.namespace, pod.name)
        return now is None or now["metadata"].get("uid") != pod.uid or bool(now["spec"].get("nodeName"))

    async def _run_errands(self, outcome: Outcome) -> None:
        for errand in outcome.cycle.errands:
            try:
                await errand(self._transport)
            except OSError as error:
                log.warning("work for %s left undone: %s", outcome.cycle.pod.key, error)
        outcome.cycle.errands.clear()

    async def _write_condition(self, pod: PodInfo, reason: str, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastProbeTime": None,
                     "lastTransitionTime": rfc3339(self._clock.now()), **observed_generation(pod)}  # fmt: skip
        await self._patch_status(pod, {"conditions": [condition]})

    async def _patch_status(self, pod: PodInfo, status: Obj) -> None:
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        patch = {"status": status}
        try:
            answer = await self._transport.request(
                "PATCH", path, body=patch, content_type="application/strategic-merge-patch+json"
            )
            if answer.status not in (200, 404):
                log.warning("status of %s not written: %s", pod.key, answer.body)
        except OSError as error:
            log.warning("status of %s not written: %s", pod.key, error)

    # --- binding -----------------------------------------------------------------------------------------------------------------------

    async def _bind_forever(self) -> None:
        while True:
            await self._bind_one(await self._to_bind.get())

    async def _bind_one(self, outcome: Outcome) -> None:
        try:
            status = await self._bind(outcome)
        except OSError as error:
            status = Status(Code.ERROR, (str(error),))
        except Exception as error:  # one plugin's fault must not end the scheduler
            log.exception("%s was not bound", outcome.cycle.pod.key)
            status = Status(Code.ERROR, (f"{type(error).__name__}: {error}",))
        if status is None:
            self._bound(outcome)
        else:
            await self._undo(outcome, status)

    async def _bind(self, outcome: Outcome) -> Status | None:
        cycle, node, profile = outcome.cycle, outcome.node, _profile_of(outcome)
        assert node is not None
        for plugin in profile.permits:
            began = self._clock.monotonic()
            status = await plugin.permit(cycle, node)
            result = Code.SUCCESS if status is None else status.code
            self.metrics.permit_seconds.observe(self._clock.monotonic() - began, result.value)
            if status is not None and status.code is not Code.SUCCESS:
                return Status(status.code, status.reasons, plugin.name)
        pre_binds = [p for p in profile.pre_binds if p.pre_bind_needed(cycle, node)]
        if profile.permits or pre_binds:
            await self._expect(cycle.pod, node)
        for plugin in pre_binds:
            status = await plugin.pre_bind(self._transport, cycle, node)
            if status is not None and status.code is not Code.SUCCESS:
                return Status(status.code, status.reasons, plugin.name)
        binder = next((e for e in self._extenders if e.can("bind") and e.interested(cycle.pod)), None)
        if binder is not None:
            return await self._bind_outside(binder, outcome, node)
        for plugin in profile.binds:
            status = await plugin.bind(self._transport, cycle, node)
            if status is None or status.code is Code.SUCCESS:
                for after in profile.post_binds:
                    await after.post_bind(cycle, node)
                return None
            if status.code is not Code.SKIP:
                return status
        return Status(Code.ERROR, ("no bind plugin took the pod",))

    async def _bind_outside(self, extender: Extender, outcome: Outcome, node: str) -> Status | None:
        from pilothouse.scheduler.extender import ExtenderError

        try:
            await extender.bind(outcome.cycle.pod, node)
        except ExtenderError as error:
            return Status(Code.ERROR, (str(error),))
        for after in _profile_of(outcome).post_binds:
            await after.post_bind(outcome.cycle, node)
        return None

    async def _expect(self, pod: PodInfo, node: str) -> None:
        """Note the node that the pod is going to have, when there is work to do before (KEP-5278)."""
        if pod.expected_node != node:
            pod.nominated = node
            await self._patch_status(pod, {"nominatedNodeName": node})

    def _bound(self, outcome: Outcome) -> None:
        pod = outcome.cycle.pod
        self.bound += 1
        self._queue.done(pod)
        self._ended(outcome)
        self.metrics.bound(pod.attempts, self._clock.now() - pod.queued_at)
        self._record(pod, pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {outcome.node}", "Binding")

    def _record(self, decided: PodInfo, about: PodInfo, type: str, reason: str, message: str, action: str) -> None:
        """An event about a pod, in the name of the profile that decided about one."""
        name = decided.spec["schedulerName"]
        recorder = self._recorders.get(name)
        if recorder is None:
            recorder = self._recorders[name] = EventRecorder(self._transport, self._clock, name)
            self._group.create_task(recorder.run())
        recorder.record(about.obj, type, reason, message, action)


def _extenders(config: SchedulerConfig) -> list[Extender]:
    if not config.extenders:
        return []
    from pilothouse.scheduler.extender import Extender

    return [Extender(raw) for raw in config.extenders]


def _profile_of(outcome: Outcome) -> Profile:
    assert outcome.profile is not None
    return outcome.profile


def _result(outcome: Outcome) -> str:
    if outcome.row >= 0:
        return SCHEDULED
    return ERROR if outcome.status is not None and outcome.status.code is Code.ERROR else UNSCHEDULABLE


def _gives_up(outcome: Outcome) -> bool:
    """Whether a pod without a node has no reason to wait for the one that it was nominated for."""
    status = outcome.status
    return status is not None and status.code is Code.UNSCHEDULABLE and INELIGIBLE not in outcome.cycle.state

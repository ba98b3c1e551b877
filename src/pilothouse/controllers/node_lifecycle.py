"""node-lifecycle-controller: finds dead nodes and says so, in their conditions, their taints and their pods' readiness.

Every few seconds each node's heartbeat is judged (see `node_health`). Taints of effect NoSchedule follow conditions at once; NoExecute
ones, which cost pods, pass through a rate limit per zone and stop altogether when every zone seems dead. References: "Nodes: node
controller", KEP-589 (leases), "Taint nodes by condition".
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import LEASES, NODES, PODS
from pilothouse.client.reconcile.kit import Context, Controller, gather, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, condition, labels_of
from pilothouse.clock import rfc3339
from pilothouse.controllers import indexes, node_health, taints
from pilothouse.controllers.node_health import Bucket, Health, Timing, ZoneState
from pilothouse.controllers.pods import is_ready

_LEASE_NAMESPACE = "kube-node-lease"
#: Stable labels and the older names under which they are repeated.
_REPEATED = (("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch"))


class NodeLifecycleController(Controller):
    name = "node-lifecycle-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.timing = Timing(**(context.options.get("node_lifecycle") or {}))
        self.nodes = self.cache(NODES)
        self.leases = self.cache(LEASES)
        self.pods = self.cache(PODS)
        self.health: dict[str, Health] = {}
        self.buckets: dict[str, Bucket] = {}
        self.was_dead_everywhere = False
        indexes.add(self.pods, "node")
        self.nodes.add_handler(self._node_changed)

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._rounds(),)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            self.health.pop((old or {})["metadata"]["name"], None)
        else:
            self.enqueue(new)

    # What follows from a node's own word --------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        """NoSchedule taints by condition, and repeated labels."""
        node = self.nodes.get("", key)
        if node is None:
            return
        await self._taint(node, taints.no_schedule(node, self.clock.now()))
        repeated = {old: labels_of(node)[new] for new, old in _REPEATED if new in labels_of(node)}
        if any(labels_of(node).get(k) != v for k, v in repeated.items()):
            await self.api.patch(NODES, "", key, {"metadata": {"labels": repeated}}, "strategic")

    async def _taint(self, node: Obj, wanted: list[Obj] | None) -> None:
        """Write a node's taints; the version makes sure that nobody else's change is lost."""
        if wanted is None:
            return
        meta = node["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": {"taints": wanted or None}}
        await self.api.patch(NODES, "", meta["name"], body, "merge")

    # What follows from its silence ----------------------------------------------------------------------------------------

    async def _rounds(self) -> None:
        async for _ in self.every(self.timing.monitor_period):
            try:
                await self.round()
            except (StatusError, OSError) as error:
                log.warning("%s: %s", self.name, error)

    async def round(self) -> None:
        """Judge every node, then the zones."""
        nodes = {n["metadata"]["name"]: n for n in self.nodes.list()}
        self._greet(nodes.values())
        silent = [node for node in nodes.values() if self._is_silent(node)]
        for error in await gather(*(self._pronounce(node, nodes) for node in silent)):
            log.warning("%s: %s", self.name, error)
        await self._judge_zones(list(nodes.values()))

    def _greet(self, nodes: Iterable[Obj]) -> None:
        for node in nodes:
            name = node["metadata"]["name"]
            if name not in self.health:
                self._event(node, "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller")

    def _is_silent(self, node: Obj) -> bool:
        """Note the node's heartbeat."""
        now, name = self.clock.now(), node["metadata"]["name"]
        lease = self.leases.get(_LEASE_NAMESPACE, name)
        health = self.health[name] = node_health.observe(node, lease, self.health.get(name), now)
        return node_health.silent_since(node, health, self.timing, now)

    async def _pronounce(self, node: Obj, judged: dict[str, Obj]) -> None:
        """Say of a silent node that nothing is known of it, and put what became of it into `judged`."""
        now, name = self.clock.now(), node["metadata"]["name"]
        conditions = node_health.unknown_conditions(node, now)
        if conditions is not None:
            before = condition(node, "Ready")
            body = {**node, "status": {**(node.get("status") or {}), "conditions": conditions}}
            judged[name] = await self.api.update(NODES, body, "status")
            if before is not None and before["status"] == "True":
                self._event(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        await self._mark_pods(node)

    async def _mark_pods(self, node: Obj) -> None:
        """Nobody can say any more that the pods of a silent node are ready."""

        async def unready(pod: Obj) -> None:
            meta = pod["metadata"]
            told = {"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(self.clock.now())}
            try:
                patch = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [told]}}
                await self.api.patch(PODS, meta["namespace"], meta["name"], patch, "strategic", "status")
            except StatusError as error:
                if not is_not_found(error):
                    raise
            self.context.event(pod, PODS, "Warning", "NodeNotReady", "Node is not ready")

        ready = [p for p in self.pods.indexed("node", node["metadata"]["name"]) if is_ready(p)]
        for error in await gather(*map(unready, ready)):
            log.warning("%s: %s", self.name, error)

    async def _judge_zones(self, nodes: list[Obj]) -> None:
        """Taint dead nodes NoExecute as fast as their zone allows, and take the taint from those that live."""
        now = self.clock.now()
        zones: dict[str, list[Obj]] = {}
        for node in nodes:
            zones.setdefault(node_health.zone_of(node), []).append(node)
        states = {
            zone: node_health.zone_state([_status(n) == "True" for n in members], self.timing) for zone, members in zones.items()
        }
        everywhere = bool(states) and all(s is ZoneState.FULL for s in states.values())
        if self.was_dead_everywhere and not everywhere:
            self._start_anew(now)
        self.was_dead_everywhere = everywhere
        work = []
        for zone, members in zones.items():
            bucket = self.buckets.setdefault(zone, Bucket(self.timing.eviction_rate, now))
            bucket.set_rate(node_health.eviction_rate(states[zone], len(members), everywhere, self.timing), now)
            for node in members:
                wanted = self._no_execute(node, bucket, everywhere)
                if wanted is not None:
                    work.append(self._taint_at_rate(node, wanted, bucket))
        for error in await gather(*work):
            log.info("%s: %s", self.name, error)

    async def _taint_at_rate(self, node: Obj, wanted: list[Obj], bucket: Bucket) -> None:
        """A write that failed costs the zone nothing."""
        try:
            await self._taint(node, wanted)
        except BaseException:
            bucket.give_back(self.clock.now())
            raise

    def _no_execute(self, node: Obj, bucket: Bucket, everywhere: bool) -> list[Obj] | None:
        """The taints that the node should have now; None if it has them, or must wait for its zone's rate."""
        now = self.clock.now()
        wanted = taints.no_execute(node, "True" if everywhere else _status(node), now)
        if wanted is None:
            return None
        marked = any(taints.has(node, k, "NoExecute") for k in (taints.NOT_READY, taints.UNREACHABLE))
        new = _status(node) != "True" and not everywhere and not marked
        return wanted if not new or bucket.take(now) else None

    def _start_anew(self, now: float) -> None:
        """The world is back: what was silent meanwhile was perhaps ourselves."""
        self.health = {name: Health(h.heartbeat, h.renewed, now) for name, h in self.health.items()}

    def _event(self, node: Obj, reason: str, message: str) -> None:
        self.context.event(node, NODES, "Normal", reason, message)


def _status(node: Obj) -> str:
    """`True`, `False` or `Unknown`; a node that has never said anything is Unknown."""
    ready = condition(node, "Ready")
    return ready["status"] if ready else "Unknown"

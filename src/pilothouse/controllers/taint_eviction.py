"""taint-eviction-controller: deletes pods from nodes with NoExecute taints that they do not (or not for ever) tolerate.

A pod that bears all of a node's NoExecute taints for a while gets a timer; when the taint goes first, the timer is dropped.
Reference: "Taints and tolerations: taint based evictions", KEP-3902.
"""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import NODES, PODS
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, created_at, is_deleting, key, split_key, uid
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers import indexes, taints
from pilothouse.controllers.pod_status import mark
from pilothouse.controllers.pods import is_finished

REASON = "DeletionByTaintManager"
MESSAGE = "Taint manager: deleting due to NoExecute taint"
#: Stamps are whole seconds: a taint as young as this was added now.
_JUST_NOW = 2.0


def evict_at(pod: Obj, node: Obj, started: float | None, now: float) -> float | None:
    """The moment to evict a pod from its node; None for never. `started` is when its patience began, if it runs already."""
    present = taints.with_effect(node, "NoExecute")
    patience = taints.patience(pod["spec"].get("tolerations") or [], present) if present else None
    if patience is None:
        return None
    if patience == 0:
        return now
    return (started if started is not None else began(pod, present, now)) + patience


def began(pod: Obj, present: list[Obj], now: float) -> float:
    """When the pod's patience began: with the newest of the taints, or with the pod; what is about now is now."""
    stamps = [parse_rfc3339(t["timeAdded"]) for t in present if t.get("timeAdded")]
    since = max([*stamps, created_at(pod)]) if len(stamps) == len(present) else now
    return since if now - since >= _JUST_NOW else now


class TaintEvictionController(Controller):
    name = "taint-eviction-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.nodes = self.cache(NODES)
        self.pods = self.cache(PODS)
        #: By pod uid: when its patience began.
        self._running: dict[str, float] = {}
        indexes.add(self.pods, "node")
        self.nodes.add_handler(self._node_changed)
        self.pods.add_handler(self._pod_changed)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        before = taints.with_effect(old, "NoExecute") if old else []
        after = taints.with_effect(new, "NoExecute") if new else []
        if before != after:
            for pod in self.pods.indexed("node", (new or old or {})["metadata"]["name"]):
                self.enqueue(pod)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            self._running.pop(uid(old or {}), None)
            return
        moved = old is None or old["spec"].get("nodeName") != new["spec"].get("nodeName")
        if moved or (old or {})["spec"].get("tolerations") != new["spec"].get("tolerations"):
            node = self.nodes.get("", new["spec"].get("nodeName") or "")
            if node is not None and taints.with_effect(node, "NoExecute"):
                self.enqueue(new)

    async def sync(self, key: str) -> None:
        pod = self.pods.get(*split_key(key))
        if pod is None or is_deleting(pod) or is_finished(pod):
            return
        node = self.nodes.get("", pod["spec"].get("nodeName") or "")
        now = self.clock.now()
        at = evict_at(pod, node, self._running.get(uid(pod)), now) if node else None
        if at is None:
            if self._running.pop(uid(pod), None) is not None:
                self._event(pod, "Cancelling deletion of Pod")
        elif at <= now:
            await self._evict(pod)
        else:
            present = taints.with_effect(node, "NoExecute") if node else []
            self._running.setdefault(uid(pod), began(pod, present, now))
            self.queue.add_after(key, at - now)

    async def _evict(self, pod: Obj) -> None:
        meta = pod["metadata"]
        self._event(pod, "Marking for deletion Pod")
        try:
            await mark(self.api, pod, REASON, MESSAGE, self.clock.now())
            await self.api.delete(PODS, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except StatusError as error:
            if not is_not_found(error):
                raise
        self._running.pop(meta["uid"], None)

    def _event(self, pod: Obj, text: str) -> None:
        self.context.event(pod, PODS, "Normal", "TaintManagerEviction", f"{text} {key(pod)}")

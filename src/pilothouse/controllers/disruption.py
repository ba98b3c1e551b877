"""disruption-controller: tells in each PodDisruptionBudget's status how many pods may be evicted. Decisions are in `disruption_plan`.

It also takes back the mark DisruptionTarget of pods whose announced deletion has not come (KEP-3329). Reference: policy/v1.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from pilothouse.api import selectors
from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, controller_of, key, labels_of, split_key
from pilothouse.clock import rfc3339
from pilothouse.controllers import disruption_plan as plans
from pilothouse.controllers import indexes
from pilothouse.controllers.scales import NoScale, Scales
from pilothouse.controllers.selection import Selectors

#: Seconds for which changes of pods are gathered before their budget is counted again.
PAUSE_PER_POD, LONGEST_PAUSE = 0.0002, 0.5


class Uncountable(Exception):
    """A budget whose pods cannot be counted; the message says why."""


class DisruptionController(Controller):
    name = "disruption-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.selectors = Selectors()
        self.stale = context.queue()
        self.budgets = self.cache(POD_DISRUPTION_BUDGETS)
        self.pods = self.cache(PODS)
        followed = (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)
        self.scales = Scales(self.api, {kind: self.cache(kind) for kind in followed})
        indexes.add(self.budgets, "namespace")
        self.budgets.add_handler(self._budget_changed)
        self.pods.add_handler(self._pod_changed)

    # Events -----------------------------------------------------------------------------------------------------------

    def _budget_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self.selectors.forget(old)
        self.enqueue(new or old or {})

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        for budget in self.budgets.indexed("namespace", pod["metadata"]["namespace"]):
            matches = self.selectors.of(budget)
            if any(each is not None and matches(labels_of(each)) for each in (old, new)):
                size = (budget.get("status") or {}).get("expectedPods") or 0
                self.enqueue(budget, min(LONGEST_PAUSE, size * PAUSE_PER_POD))
        due = plans.stale_at(new) if new is not None else None
        if due is not None:
            self.stale.add_after(key(pod), max(0.0, due - self.clock.now()))

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._take_back_marks(),)

    # Budgets ----------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        budget = self.budgets.get(*split_key(key))
        if budget is None:
            return
        now = self.clock.now()
        matching = self._pods_of(budget)
        if not matching:
            self._tell(budget, "Normal", "NoPods", "No matching pods found")
        try:
            wanted = await self._expected(budget, matching)
        except (Uncountable, NoScale) as error:
            why = f"Failed to calculate the number of expected pods: {error}"
            self._tell(budget, "Warning", "CalculateExpectedPodCountFailed", why)
            await self._write(budget, plans.failed(budget, str(error), now))
            return
        leaving = plans.disrupted(budget, matching, now)
        self._tell_overdue(budget, leaving.overdue)
        current = plans.healthy(matching, leaving.pods)
        await self._write(budget, plans.status(budget, wanted, current, leaving.pods, now))
        if leaving.recheck is not None:
            self.queue.add_after(key, leaving.recheck - now + 1)

    def _pods_of(self, budget: Obj) -> list[Obj]:
        matches = self.selectors.of(budget)
        return [p for p in self.pods.list(budget["metadata"]["namespace"]) if matches(labels_of(p))]

    async def _expected(self, budget: Obj, matching: Sequence[Obj]) -> plans.Expected:
        if not plans.needs_scale(budget):
            return plans.expected(budget, len(matching), 0)
        sizes: dict[str, int] = {}
        seen: set[str] = set()
        unmanaged = False
        for pod in matching:
            reference = controller_of(pod)
            if reference is None:
                unmanaged = True
            elif reference["uid"] not in seen:
                seen.add(reference["uid"])
                scale = await self.scales.of(reference, pod["metadata"]["namespace"])
                if scale is None:
                    why = f'found no controllers for pod "{pod["metadata"]["name"]}"'
                    self._tell(budget, "Warning", "NoControllers", why)
                    raise Uncountable(why)
                sizes[scale.uid] = scale.replicas
        if unmanaged:
            self._tell_unmanaged(budget)
        return plans.expected(budget, len(matching), sum(sizes.values()))

    def _tell_unmanaged(self, budget: Obj) -> None:
        selector = selectors.go_text(budget["spec"].get("selector") or {})
        message = (
            f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of "
            "the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set "
            '".spec.minAvailable" field of the PDB to an integer value.'
        )
        self._tell(budget, "Warning", "UnmanagedPods", message)

    def _tell_overdue(self, budget: Obj, overdue: Iterable[Obj]) -> None:
        name = key(budget)
        for pod in overdue:
            message = f"Pod was expected by PDB {name} to be deleted but it wasn't"
            self.context.event(pod, PODS, "Warning", "NotDeleted", message)

    def _tell(self, budget: Obj, type: str, reason: str, message: str) -> None:
        self.context.event(budget, POD_DISRUPTION_BUDGETS, type, reason, message)

    async def _write(self, budget: Obj, status: Obj) -> None:
        if status != (budget.get("status") or {}):
            await self.api.update(POD_DISRUPTION_BUDGETS, {**budget, "status": status}, "status")

    # Marks ------------------------------------------------------------------------------------------------------------

    async def _take_back_marks(self) -> None:
        while True:
            item = await self.stale.get()
            try:
                await self._take_back_mark(item)
                self.stale.forget(item)
            except (StatusError, OSError) as error:
                log.info("%s: %s: %s", self.name, item, error)
                self.stale.add_rate_limited(item)
            finally:
                self.stale.done(item)

    async def _take_back_mark(self, item: str) -> None:
        namespace, name = split_key(item)
        pod = self.pods.get(namespace, name)
        due = plans.stale_at(pod) if pod is not None else None
        if pod is None or due is None:
            return
        now = self.clock.now()
        if due > now:
            self.stale.add_after(item, due - now)
            return
        told = {"type": "DisruptionTarget", "status": "False", "lastTransitionTime": rfc3339(now), "reason": "", "message": ""}
        if generation := pod["metadata"].get("generation"):
            told["observedGeneration"] = generation
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [told]}}
        try:
            await self.api.patch(PODS, namespace, name, patch, "strategic", "status")
        except StatusError as error:
            if not is_not_found(error):
                raise

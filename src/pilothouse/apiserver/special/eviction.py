"""pods/eviction: a deletion that asks the pod's disruption budget first (API-initiated eviction).

Pods that are not running yet, or no more, need no budget; pods that are not ready may go if the budget says so. A budget that its
controller has not seen yet, or that is used up, answers 429: try again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.api import selectors
from pilothouse.api.errors import Obj, StatusError, bad_request, not_found_error
from pilothouse.apiserver.deleteoptions import of_object
from pilothouse.apiserver.deletion import check_preconditions
from pilothouse.apiserver.interface import SpecialRequest, SpecialResult
from pilothouse.apiserver.special.body import body_of, success
from pilothouse.apiserver.special.podwrite import change
from pilothouse.clock import rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_POLICY = "policy"
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_TOO_MANY_BUDGETS = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
#: More evicted pods than that the controller cannot keep up with.
_MOST_DISRUPTED = 2000
_TRIES = 20


class Evict:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        if (body.get("metadata") or {}).get("name", request.name) != request.name:
            raise bad_request("name in URL does not match name in Eviction object")
        pod = self._pod(request)
        options = dict(body.get("deleteOptions") or {})
        if not needs_no_budget(pod):
            await self._ask_budget(request, pod, options)
        await self._delete(request, options)
        return SpecialResult(201, success())

    def _pod(self, request: SpecialRequest) -> Obj:
        entry = self._server.cache("", "pods").get(request.namespace, request.name)
        if entry is None:
            raise not_found_error("", "pods", request.name)
        return entry.obj

    async def _delete(self, request: SpecialRequest, options: Obj) -> None:
        dry_run = request.dry_run or bool(options.pop("dryRun", None))
        if not dry_run:
            pod = await change(self._server, request.namespace, request.name, lambda pod: self._mark(pod, options))
            if (options.get("preconditions") or {}).get("resourceVersion"):
                options["preconditions"] = {**options["preconditions"], "resourceVersion": pod["metadata"]["resourceVersion"]}
        await self._server.delete(
            "",
            "pods",
            request.name,
            namespace=request.namespace,
            options=options,
            user=request.user,
            dry_run=dry_run,
            admitted=True,  # as an eviction
        )

    def _mark(self, pod: Obj, options: Obj) -> None:
        """The condition by which workloads know that the pod was evicted. 409 if this is not the pod that was meant."""
        check_preconditions(self._server.registry.of("", "pods"), of_object(options), pod)
        status = pod.setdefault("status", {})
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": rfc3339(self._server.clock.now()),
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        status["conditions"] = [*(c for c in status.get("conditions") or () if c["type"] != "DisruptionTarget"), condition]

    async def _update(self, group: str, plural: str, obj: Obj) -> bool:
        """Write a status; False if somebody else was faster."""
        try:
            await self._server.update(group, plural, obj, subresource="status")
        except StatusError as error:
            if error.reason != "Conflict":
                raise
            return False
        return True

    # --- budgets ----------------------------------------------------------------------------------------------------------------

    async def _ask_budget(self, request: SpecialRequest, pod: Obj, options: Obj) -> None:
        """Take one disruption from the pod's budget, if it has one. 429 if there is none left."""
        for _ in range(_TRIES):
            budgets = self._budgets(pod)
            if not budgets:
                return
            if len(budgets) > 1:
                raise StatusError(500, "", _TOO_MANY_BUDGETS)
            budget = budgets[0]
            if not is_ready(pod) and unhealthy_may_go(budget):
                _pin(options, pod)
                return
            changed = take_one(budget, request.name, rfc3339(self._server.clock.now()))
            if request.dry_run or options.get("dryRun") or await self._update(_POLICY, "poddisruptionbudgets", changed):
                return
        raise _refused("The disruption budget is changing too often; try again.", 10)

    def _budgets(self, pod: Obj) -> list[Obj]:
        metadata = pod["metadata"]
        labels = metadata.get("labels") or {}
        found = []
        for entry in self._server.cache(_POLICY, "poddisruptionbudgets").list(metadata["namespace"]):
            selector = (entry.obj.get("spec") or {}).get("selector")
            if selector is not None and selectors.label_predicate(selector)(labels):
                found.append(entry.obj)
        return found


def needs_no_budget(pod: Obj) -> bool:
    """Pods that do no work: finished, not started, or being deleted already."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def is_ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def unhealthy_may_go(budget: Obj) -> bool:
    """Whether a pod that is not ready may be evicted without asking for a disruption."""
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    return bool(healthy >= desired and desired > 0)


def take_one(budget: Obj, pod: str, now: str) -> Obj:
    """The budget with one disruption less, spent on `pod`. StatusError 429 or 403 if that cannot be."""
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused(f"The disruption budget {name} is still being processed by the server.", 10)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise StatusError(
            403, "Forbidden", f'poddisruptionbudgets.policy "{name}" is forbidden: pdb disruptions allowed is negative'
        )
    disrupted = status.get("disruptedPods") or {}
    if len(disrupted) > _MOST_DISRUPTED:
        raise StatusError(
            403, "Forbidden", f'poddisruptionbudgets.policy "{name}" is forbidden: DisruptedPods map too big - too many evictions'
        )
    if allowed == 0:
        desired, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _refused(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    new = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": {**disrupted, pod: now}}
    if allowed == 1:
        new["conditions"] = _none_left(status.get("conditions") or [], budget["metadata"].get("generation", 0), now)
    return {**budget, "status": new}


def _none_left(conditions: list[Obj], generation: int, now: str) -> list[Obj]:
    before = next((c for c in conditions if c.get("type") == "DisruptionAllowed"), None)
    since = before["lastTransitionTime"] if before is not None and before.get("status") == "False" else now
    condition = {
        "type": "DisruptionAllowed",
        "status": "False",
        "observedGeneration": generation,
        "lastTransitionTime": since,
        "reason": "InsufficientPods",
        "message": "",
    }
    return [condition if c is before else c for c in conditions] if before is not None else [*conditions, condition]


def _refused(why: str, retry_after: int = 0) -> StatusError:
    details: Obj = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    return StatusError(429, "TooManyRequests", _REFUSED, details)


def _pin(options: Obj, pod: Obj) -> None:
    """Delete this very state of the pod: it might have become ready since."""
    preconditions = dict(options.get("preconditions") or {})
    preconditions.setdefault("uid", pod["metadata"]["uid"])
    preconditions.setdefault("resourceVersion", pod["metadata"]["resourceVersion"])
    options["preconditions"] = preconditions

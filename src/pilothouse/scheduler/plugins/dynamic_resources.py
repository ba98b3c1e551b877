"""DynamicResources (KEP-4381, structured parameters): devices for the ResourceClaims of pods.

For each node the first fit of devices is searched and kept for all pods that ask for the same; a node is searched again when one of its
pools, or itself, changes. Reserve counts on the allocation, PreBind writes it. Arguments: `bindingTimeout` ("600s"), and `filterTimeout`,
which is checked and has no effect here: a search ends after so many steps. Extended resources that device classes stand for (KEP-5004)
become a claim of the pod's own. Left out: DeviceTaintRules (beta, off).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.client.interface import Transport
from pilothouse.clock import rfc3339
from pilothouse.scheduler.devices import CLAIMS, DEVICE_CLASSES, SLICES
from pilothouse.scheduler.devices.extended import claim_for, extended_resources
from pilothouse.scheduler.devices.podclaims import (
    Unready,
    allocation_of,
    claims_of,
    consumers,
    names_claim,
    reserved_for,
    with_consumer,
)
from pilothouse.scheduler.framework import (
    IDLE_FILTER,
    NOWHERE,
    SKIP,
    ClusterEvent,
    Code,
    Cycle,
    Obj,
    Plugin,
    Rejected,
    Status,
    default_normalize,
)
from pilothouse.scheduler.noderows import rows_matching_terms
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.table import Ints, Mask

if TYPE_CHECKING:  # what searches and writes is loaded when a pod first asks for devices
    from pilothouse.scheduler.devices.binder import ClaimBinder
    from pilothouse.scheduler.devices.state import State

NOT_THERE = "resourceclaim not available on the node"

BINDING_TIMEOUT = 600.0


class DynamicResources(Plugin):
    name = "DynamicResources"
    events = (
        ClusterEvent("Node", "Add"),
        ClusterEvent("Node", "UpdateLabel"),
        ClusterEvent("Node", "UpdateTaint"),
        ClusterEvent("ResourceClaim", "Add"),
        ClusterEvent("ResourceClaim", "Update"),
        ClusterEvent("ResourceClaim", "Delete"),
        ClusterEvent("Pod", "UpdateResourceClaims"),
        ClusterEvent("DeviceClass", "Add"),
        ClusterEvent("DeviceClass", "Update"),
        ClusterEvent("ResourceSlice", "Add"),
        ClusterEvent("ResourceSlice", "Update"),
    )

    def __init__(self, args: Obj | None = None) -> None:
        super().__init__(args)
        self.timeout = _seconds(self.args.get("bindingTimeout"), BINDING_TIMEOUT)

    def needs(self, pod: PodInfo) -> Sequence[str]:
        return (CLAIMS, SLICES, DEVICE_CLASSES) if pod.spec.get("resourceClaims") or extended_resources(pod) else ()

    def idle(self, pod: PodInfo) -> frozenset[str]:
        return NOWHERE if pod.spec.get("resourceClaims") or extended_resources(pod) else IDLE_FILTER

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        if event.resource != "ResourceClaim":
            return True
        freed = old is not None and allocation_of(old) is not None and (new is None or allocation_of(new) is None)
        return freed or (new is not None and names_claim(pod, new))

    # --- deciding ------------------------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> Status | None:
        from pilothouse.scheduler.devices.requests import Impossible
        from pilothouse.scheduler.devices.state import gather

        try:
            claims = claims_of(cycle.pod, cycle.view.stock)
        except Unready as problem:
            return Status(Code.HOLD, (str(problem),))
        try:
            state = gather(cycle, claims)
        except (Unready, Impossible) as problem:
            return Status(Code.UNRESOLVABLE, (str(problem),))
        if not state.anything:
            return SKIP
        cycle.state[self.name] = state
        return None

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        from pilothouse.scheduler.devices.requests import Impossible
        from pilothouse.scheduler.devices.state import find_fits

        state: State = cycle.state[self.name]
        table = cycle.table
        elsewhere: Mask = np.zeros(table.capacity, dtype=np.bool_)
        for claim in state.ready:
            selector = (allocation_of(claim) or {}).get("nodeSelector")
            if selector is not None:
                away = ~rows_matching_terms(table, selector.get("nodeSelectorTerms") or ())
                if (away & cycle.feasible).any():
                    state.unavailable.append(claim)
                elsewhere |= away
        out = [Rejected(NOT_THERE, elsewhere, unresolvable=True)]
        if state.wishes or state.resources:
            try:
                find_fits(cycle, state)
            except Impossible as problem:
                return [Rejected(str(problem), table.present.copy(), unresolvable=True)]
            out += [Rejected(reason, rows & ~elsewhere, unresolvable=True) for reason, rows in state.refused.items()]
        return out

    def post_filter(self, cycle: Cycle, rejections: Sequence[tuple[str, Rejected]]) -> Status | None:
        state: State | None = cycle.state.get(self.name)
        if state is None:
            return Status(Code.UNSCHEDULABLE, ("no new claims to deallocate",))
        for claim in state.unavailable:
            if all(c.get("uid") == cycle.pod.uid for c in consumers(claim)):
                cycle.errands.append(_deallocation(cycle.pod, claim))
                return Status(Code.UNSCHEDULABLE, ("deallocation of ResourceClaim completed",))
        return Status(Code.UNSCHEDULABLE, ("still not schedulable",))

    def uniform(self, cycle: Cycle) -> int | None:
        return None if self.name in cycle.state else 0

    def score_all(self, cycle: Cycle) -> Ints:
        from pilothouse.scheduler.devices.requests import preference

        scores = np.zeros(cycle.table.capacity, dtype=np.int64)
        state: State | None = cycle.state.get(self.name)
        if state is not None and any(len(r.options) > 1 for _, wish in state.wishes for r in wish.requests):
            for i in np.flatnonzero(cycle.feasible):
                fit = state.fits[i]
                scores[i] = sum(
                    preference(wish, [g.option.name for g in given]) for (_, wish), given in zip(state.wishes, fit, strict=False)
                )
        return scores

    def normalize(self, cycle: Cycle, scores: Ints) -> Ints:
        return default_normalize(scores)

    # --- after the choice ------------------------------------------------------------------------------------------------------------

    def reserve(self, cycle: Cycle, node_name: str) -> Status | None:
        state: State | None = cycle.state.get(self.name)
        if state is None:
            return None
        from pilothouse.scheduler.devices.result import allocation_result

        stock, clock = cycle.view.stock, cycle.view.clock
        state.written = [(claim, None) for claim in state.ready if not reserved_for(claim, cycle.pod)]
        row = cycle.table.by_name[node_name].index
        fit: Sequence[Any] = state.fits[row] if state.fits is not None else ()
        now = rfc3339(clock.now())
        for (claim, wish), given in zip(state.wishes, fit, strict=False):
            allocation = allocation_result(wish, given, node_name, stock, clock.random, now)
            state.written.append((claim, allocation))
            self._assume(cycle, with_consumer(claim, cycle.pod, allocation))
        if len(fit) > len(state.wishes) and state.needed is not None:
            asked, wish = state.asked[int(state.needed[row])]
            allocation = allocation_result(wish, fit[-1], node_name, stock, clock.random, now)
            claim = with_consumer(claim_for(cycle.pod, asked.requests), cycle.pod, allocation)
            claim["metadata"] = {**claim["metadata"], "name": f"<extended resources of {cycle.pod.uid}>"}
            state.own = claim, allocation, asked
            self._assume(cycle, claim)
        return None

    def _assume(self, cycle: Cycle, claim: Obj) -> None:
        """Count on an allocation until it is read."""
        cycle.state[self.name, claim["metadata"]["name"]] = claim
        cycle.view.stock.assume(CLAIMS, claim, lambda read: allocation_of(read) is not None)

    def _take_back(self, cycle: Cycle, name: str) -> None:
        assumed = cycle.state.pop((self.name, name), None)
        if assumed is not None:
            cycle.view.stock.take_back(CLAIMS, assumed)

    def unreserve(self, cycle: Cycle, node_name: str) -> None:
        state: State | None = cycle.state.get(self.name)
        if state is None:
            return
        for claim, _ in state.written:
            self._take_back(cycle, claim["metadata"]["name"])
            now = cycle.view.stock.get(CLAIMS, claim["metadata"]["namespace"], claim["metadata"]["name"])
            if now is not None and reserved_for(now, cycle.pod):
                cycle.errands.append(_release(cycle.pod, now))
        if state.own is not None:
            self._take_back(cycle, state.own[0]["metadata"]["name"])
        if state.made is not None:
            self._take_back(cycle, state.made["metadata"]["name"])
            cycle.errands.append(_unmaking(cycle.pod, state.made))

    def pre_bind_needed(self, cycle: Cycle, node_name: str) -> bool:
        state: State | None = cycle.state.get(self.name)
        return state is not None and bool(state.written or state.own)

    async def pre_bind(self, transport: Transport, cycle: Cycle, node_name: str) -> Status | None:
        from pilothouse.scheduler.devices.binder import ClaimBinder, Failed, wait_for_conditions

        state: State = cycle.state[self.name]
        binder = ClaimBinder(transport, cycle.pod)
        try:
            for claim, allocation in state.written:
                await binder.bind(claim, allocation)
            if state.own is not None:
                await self._make_own(binder, cycle, state)
        except Failed as problem:
            return Status(Code.ERROR, (str(problem),))
        waiting = [(claim, allocation) for claim, allocation in state.written if allocation is not None]
        if state.own is not None and state.made is not None:
            waiting.append((state.made, state.own[1]))
        for claim, allocation in waiting:
            if any(r.get("bindingConditions") for r in allocation["devices"]["results"]):
                told = await wait_for_conditions(claim, cycle.view.stock, cycle.view.clock, self.timeout)
                if told:
                    return Status(Code.UNSCHEDULABLE, (told,))
        return None

    async def _make_own(self, binder: ClaimBinder, cycle: Cycle, state: State) -> None:
        """The claim for extended resources, which so far was only assumed, and its name in the pod's status."""
        assert state.own is not None
        assumed, allocation, asked = state.own
        state.made = await binder.make(claim_for(cycle.pod, asked.requests), allocation)
        self._assume(cycle, state.made)
        self._take_back(cycle, assumed["metadata"]["name"])
        await binder.tell_pod({"resourceClaimName": state.made["metadata"]["name"], "requestMappings": asked.mappings})


def _seconds(text: Any, default: float) -> float:
    if not isinstance(text, str):
        return default
    from pilothouse.api.cel.lib.times import parse_duration

    return parse_duration(text) / 1e9


Errand = Callable[[Transport], Any]


def _binder(transport: Transport, pod: PodInfo) -> ClaimBinder:
    from pilothouse.scheduler.devices.binder import ClaimBinder

    return ClaimBinder(transport, pod)


def _deallocation(pod: PodInfo, claim: Obj) -> Errand:
    return lambda transport: _binder(transport, pod).deallocate(claim)


def _unmaking(pod: PodInfo, claim: Obj) -> Errand:
    return lambda transport: _binder(transport, pod).unmake(claim)


def _release(pod: PodInfo, claim: Obj) -> Errand:
    return lambda transport: _binder(transport, pod).release(claim)

"""What one scheduling cycle knows of a pod's devices: claims that are allocated, claims to allocate, extended resources, and the fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from pilothouse.scheduler.devices import CLAIMS
from pilothouse.scheduler.devices.extended import Asked, asked_of_devices, classes_by_resource, extended_resources
from pilothouse.scheduler.devices.podclaims import MOST_CONSUMERS, Unready, allocation_of, consumers, reserved_for
from pilothouse.scheduler.devices.requests import Wish, parse_wish
from pilothouse.scheduler.devices.rows import fits_of
from pilothouse.scheduler.framework import Cycle, Obj
from pilothouse.scheduler.table import Ints, Mask


class State:
    """`ready` are claims that are allocated already, `wishes` those to allocate with what they ask for, `resources` the extended
    resources that device classes stand for."""

    def __init__(self, ready: list[Obj], wishes: list[tuple[Obj, Wish]], resources: Sequence[str]) -> None:
        self.ready = ready
        self.wishes = wishes
        self.resources = resources
        self.unavailable: list[Obj] = []  # allocated where the pod cannot go
        self.fits: Any = None  # per row an Allocation, a reason, or None
        self.refused: dict[str, Mask] = {}  # rows without a fit, by reason
        self.needed: Ints | None = None  # per row a bit for each of `resources` that it does not have by itself
        self.asked: dict[int, tuple[Asked, Wish]] = {}  # what is asked of devices for such bits
        self.written: list[tuple[Obj, Obj | None]] = []  # what Reserve counts on: (claim, its allocation if it is new)
        self.own: tuple[Obj, Obj, Asked] | None = (
            None  # the claim that is made for the pod: as assumed, its allocation, what it is for
        )
        self.made: Obj | None = None  # the same once it exists

    @property
    def anything(self) -> bool:
        return bool(self.ready or self.wishes or self.resources)


def gather(cycle: Cycle, claims: Iterable[Obj]) -> State:
    """Which of the pod's claims are allocated, and what the others ask for. Unready or Impossible if one cannot be had."""
    pod, stock = cycle.pod, cycle.view.stock
    ready: list[Obj] = []
    wishes: list[tuple[Obj, Wish]] = []
    for claim in claims:
        meta = claim["metadata"]
        if stock.is_assumed(CLAIMS, meta["namespace"], meta["name"]):
            raise Unready(f"resource claim {meta['namespace']}/{meta['name']} is in the process of being allocated")
        if allocation_of(claim) is None:
            wishes.append((claim, parse_wish(claim["spec"], stock)))
            continue
        if len(consumers(claim)) >= MOST_CONSUMERS and not reserved_for(claim, pod):
            raise Unready("resourceclaim in use")
        ready.append(claim)
    classes = classes_by_resource(stock)
    return State(ready, wishes, [r for r in extended_resources(pod) if r in classes])


def find_fits(cycle: Cycle, state: State) -> None:
    """Search devices for every row: for the claims, and for extended resources that the row's node does not have by itself."""
    table, wishes = cycle.table, [wish for _, wish in state.wishes]
    key = orjson.dumps([claim["spec"] for claim, _ in state.wishes], option=orjson.OPT_SORT_KEYS)
    needed = np.zeros(table.capacity, dtype=np.int64)
    for n, resource in enumerate(state.resources):
        needed |= (table.resource_column(resource).data <= 0).astype(np.int64) << n
    state.needed = needed
    fits = np.empty(table.capacity, dtype=object)
    state.refused = {}
    for bits in map(int, np.unique(needed[table.present])) if state.resources else (0,):
        rows = needed == bits
        more = [_ask(cycle, state, bits)[1]] if bits else []
        if not wishes and not more:
            fits[rows] = _NOTHING
            continue
        whole_key = key + (orjson.dumps(state.asked[bits][0].requests) if bits else b"")
        found = fits_of(cycle, whole_key, [*wishes, *more])
        values, codes = found.refresh()
        np.copyto(fits, values, where=rows)
        for code in map(int, np.unique(codes)) if codes.any() else ():
            if code:
                reason, without = found.reasons[code], (codes == code) & rows
                state.refused[reason] = without | state.refused[reason] if reason in state.refused else without
    state.fits = fits


_NOTHING = np.empty((), dtype=object)
_NOTHING[()] = []


def _ask(cycle: Cycle, state: State, bits: int) -> tuple[Asked, Wish]:
    resources = [r for n, r in enumerate(state.resources) if bits >> n & 1]
    stock = cycle.view.stock
    asked = asked_of_devices(cycle.pod, resources, classes_by_resource(stock))
    state.asked[bits] = asked, parse_wish({"devices": {"requests": asked.requests}}, stock)
    return state.asked[bits]

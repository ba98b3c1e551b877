"""A pod's volumes bound to its claims: what is counted on (Bindings), and how it is made true (VolumeBinder).

A volume that exists gets the claim in its claimRef; a claim whose volume is to be made gets the annotation that names the node. The
volume controller and provisioners do the rest, which is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.claims import BOUND_BY_CONTROLLER, SELECTED_NODE
from pilothouse.api.nodeselectors import matches_term
from pilothouse.client.interface import Transport
from pilothouse.scheduler.claims import CLAIMS, VOLUMES, affinity_terms, annotations_of, is_bound
from pilothouse.scheduler.framework import ClusterView
from pilothouse.scheduler.stock import Stock

Obj = dict[str, Any]

#: Seconds between looks at whether the claims are bound.
PERIOD = 1.0


@dataclass(slots=True)
class Bindings:
    """What one pod's placement on a node does to volumes (claim, volume) and to claims that get new volumes."""

    stock: Stock
    node: str
    bind: list[tuple[Obj, Obj]]
    make: list[Obj]
    assumed: list[tuple[str, Obj]] = field(default_factory=list)

    def assume(self) -> None:
        """Count on all of it."""
        self.assumed = [(VOLUMES, _with_claim(volume, claim)) for claim, volume in self.bind]
        self.assumed += [(CLAIMS, _annotated(claim, SELECTED_NODE, self.node)) for claim in self.make]
        for plural, obj in self.assumed:
            if self.stock.get(plural, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) is not None:
                self.stock.assume(plural, obj)

    def take_back(self) -> None:
        for plural, obj in self.assumed:
            self.stock.take_back(plural, obj)


def _annotated(obj: Obj, key: str, value: str) -> Obj:
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), key: value}}}


def _with_claim(volume: Obj, claim: Obj) -> Obj:
    meta = claim["metadata"]
    ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"],
           "uid": meta.get("uid"), "resourceVersion": meta.get("resourceVersion")}  # fmt: skip
    before = volume["spec"].get("claimRef")
    if before is None or not before.get("uid"):
        volume = _annotated(volume, BOUND_BY_CONTROLLER, "yes") if before is None else volume
    return {**volume, "spec": {**volume["spec"], "claimRef": {k: v for k, v in ref.items() if v}}}


class VolumeBinder:
    """Writes bindings and waits for them. Errors are told as texts."""

    def __init__(self, transport: Transport, view: ClusterView, bindings: Bindings, timeout: float) -> None:
        self._transport = transport
        self._view = view
        self._bindings = bindings
        self._timeout = timeout

    async def bind(self, labels: dict[str, str]) -> str:
        """Empty when every claim is bound; else what went wrong. `labels` are the node's."""
        for plural, obj in self._bindings.assumed:
            problem = await self._write(plural, obj)
            if problem:
                return problem
        clock = self._view.clock
        began = clock.monotonic()
        while True:
            left, problem = self._state(labels)
            if problem or not left:
                return problem
            if clock.monotonic() - began >= self._timeout:
                return "binding volumes: context deadline exceeded"
            await clock.sleep(PERIOD)

    async def _write(self, plural: str, obj: Obj) -> str:
        meta = obj["metadata"]
        namespace = f"namespaces/{meta['namespace']}/" if plural == CLAIMS else ""
        kind = "PersistentVolumeClaim" if plural == CLAIMS else "PersistentVolume"
        body = {"apiVersion": "v1", "kind": kind, **obj}
        answer = await self._transport.request("PUT", f"/api/v1/{namespace}{plural}/{meta['name']}", body=body)
        if answer.status < 300:
            return ""
        message = answer.body.get("message") if isinstance(answer.body, dict) else str(answer.body)
        return message or f"writing {plural} {meta['name']} answered {answer.status}"

    def _state(self, labels: dict[str, str]) -> tuple[bool, str]:
        """Whether something is still unbound, and what will never be bound."""
        left = False
        for volume in self._bound_now():
            ref = volume["spec"].get("claimRef")
            if not ref or not ref.get("uid"):
                return True, f'binding volumes: ClaimRef got reset for pv "{volume["metadata"]["name"]}"'
        for claim in [claim for claim, _ in self._bindings.bind] + self._bindings.make:
            meta = claim["metadata"]
            now = self._bindings.stock.get(CLAIMS, meta["namespace"], meta["name"])
            if now is None:
                return True, f'binding volumes: persistentvolumeclaim "{meta["name"]}" not found'
            if claim in self._bindings.make and annotations_of(now).get(SELECTED_NODE) != self._bindings.node:
                return True, f'binding volumes: selectedNode annotation reset for PVC "{meta["name"]}"'
            if not is_bound(now):
                left = True
                continue
            problem = self._misplaced(now, labels)
            if problem:
                return True, problem
        return left, ""

    def _bound_now(self) -> Iterator[Obj]:
        for _, volume in self._bindings.bind:
            now = self._bindings.stock.get(VOLUMES, "", volume["metadata"]["name"])
            if now is not None:
                yield now

    def _misplaced(self, claim: Obj, labels: dict[str, str]) -> str:
        volume = self._bindings.stock.get(VOLUMES, "", claim["spec"]["volumeName"])
        terms = None if volume is None else affinity_terms(volume)
        if terms is None or any(matches_term(t, self._bindings.node, labels) for t in terms):
            return ""
        name = claim["spec"]["volumeName"]
        return f'binding volumes: pv "{name}" node affinity doesn\'t match node "{self._bindings.node}": no matching NodeSelectorTerms'

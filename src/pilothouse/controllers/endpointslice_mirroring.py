"""endpointslice-mirroring-controller: slices for Endpoints that were made by hand, for Services without a selector.

Endpoints labelled `endpointslice.kubernetes.io/skip-mirror`, or used for leader election, are not mirrored. Reference: "EndpointSlices:
EndpointSlice mirroring".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import (
    Obj,
    annotations_of,
    changed,
    controller_reference,
    key,
    labels_of,
    split_key,
    without_empty,
)
from pilothouse.controllers import indexes, service_pods
from pilothouse.controllers.endpointslice_plan import MANAGED_BY, SERVICE_NAME
from pilothouse.controllers.slice_writer import SliceWriter

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
_PRIVATE = ("endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration")
_LEADER = "control-plane.alpha.kubernetes.io/leader"
#: Addresses of one subset that are mirrored.
LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    create: list[Obj] = field(default_factory=list)
    update: list[Obj] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)


def is_mirrored(endpoints: Obj) -> bool:
    return labels_of(endpoints).get(SKIP) != "true" and _LEADER not in annotations_of(endpoints)


def plan(endpoints: Obj, slices: Sequence[Obj]) -> Plan:
    """One slice for each subset and address family; existing ones are used again, in order."""
    wanted = [w for subset in endpoints.get("subsets") or () for w in _slices(endpoints, subset)]
    out, left = Plan(), list(slices)
    for body in wanted:
        same = next((s for s in left if s["addressType"] == body["addressType"]), None)
        if same is None:
            out.create.append(body)
            continue
        left.remove(same)
        if not _agrees(same, body):
            meta = changed(same["metadata"], labels=body["metadata"]["labels"], annotations=body["metadata"].get("annotations"))
            out.update.append({**same, "metadata": meta, "endpoints": body["endpoints"], "ports": body["ports"]})
    out.delete.extend(left)
    return out


def _agrees(each: Obj, body: Obj) -> bool:
    same = (each.get("endpoints") or []) == body["endpoints"] and (each.get("ports") or []) == body["ports"]
    return same and labels_of(each) == labels_of(body) and annotations_of(each) == annotations_of(body)


def _slices(endpoints: Obj, subset: Obj) -> Iterable[Obj]:
    members = [(a, True) for a in subset.get("addresses") or ()] + [(a, False) for a in subset.get("notReadyAddresses") or ()]
    for family in ("IPv4", "IPv6"):
        found = [_endpoint(a, ready) for a, ready in members[:LIMIT] if (":" in a["ip"]) == (family == "IPv6")]
        if found:
            yield _slice(endpoints, family, found, [_port(p) for p in subset.get("ports") or ()])


def _endpoint(address: Obj, ready: bool) -> Obj:
    more = {"hostname": address.get("hostname"), "nodeName": address.get("nodeName"), "targetRef": address.get("targetRef")}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **without_empty(more)}


def _port(port: Obj) -> Obj:
    out = {"name": port.get("name") or "", "port": port["port"], "protocol": port.get("protocol") or "TCP"}
    return {**out, **without_empty({"appProtocol": port.get("appProtocol")})}


def _slice(endpoints: Obj, family: str, members: list[Obj], ports: list[Obj]) -> Obj:
    meta = endpoints["metadata"]
    kept = {k: v for k, v in labels_of(endpoints).items() if k not in (SERVICE_NAME, MANAGED_BY, service_pods.HEADLESS)}
    metadata: Obj = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "labels": {**kept, SERVICE_NAME: meta["name"], MANAGED_BY: MANAGER},
        "ownerReferences": [controller_reference(endpoints, "v1", "Endpoints")],
    }
    if notes := {k: v for k, v in annotations_of(endpoints).items() if k not in _PRIVATE}:
        metadata["annotations"] = notes
    body = {"apiVersion": ENDPOINT_SLICES.api_version, "kind": ENDPOINT_SLICES.kind, "metadata": metadata}
    return {**body, "addressType": family, "endpoints": members, "ports": ports}


class EndpointSliceMirroringController(Controller):
    name = "endpointslice-mirroring-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.services = self.cache(SERVICES)
        self.endpoints = self.cache(ENDPOINTS)
        self.slices = self.cache(ENDPOINT_SLICES)
        self.writer = SliceWriter(self.api)
        indexes.add(self.slices, "service")
        self.endpoints.add_handler(self._endpoints_changed)
        self.services.add_handler(self._service_changed)
        self.slices.add_handler(self._slice_changed)

    def _endpoints_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Those that a controller made for a Service with a selector concern nobody here."""
        each = new or old or {}
        service = self.services.get(*split_key(key(each)))
        if service is None or not service["spec"].get("selector"):
            self.enqueue(each)

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        selectors = [bool(s["spec"].get("selector")) if s else None for s in (old, new)]
        if selectors[0] != selectors[1]:
            self.enqueue(new or old or {})

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        each = new or old or {}
        owner = f"{each['metadata']['namespace']}/{labels_of(each).get(SERVICE_NAME)}"
        if labels_of(each).get(MANAGED_BY) == MANAGER and not self.writer.is_expected(owner, each, gone=new is None):
            self.queue.add(owner)

    async def sync(self, key: str) -> None:
        namespace, name = split_key(key)
        endpoints, service = self.endpoints.get(namespace, name), self.services.get(namespace, name)
        mine = [s for s in self.slices.indexed("service", key) if labels_of(s).get(MANAGED_BY) == MANAGER]
        wanted = endpoints is not None and service is not None and not service["spec"].get("selector") and is_mirrored(endpoints)
        if self.writer.is_stale(key, mine):
            raise TryAgain(f"{key}: the cache does not show the last writes yet")
        result = plan(endpoints, mine) if wanted and endpoints is not None else Plan(delete=mine)
        await self.writer.carry_out(key, result.create, result.update, result.delete)
        if endpoints is None:
            self.writer.forget(key)

"""Which EndpointSlices a Service should have, and the fewest writes that lead there.

A slice holds endpoints of one address family and one set of ports, at most a hundred. Endpoints stay in the slice where they are,
new ones fill gaps before a new slice is made, and slices never are rebalanced: every write of a slice travels to every node.
References: "EndpointSlices: distribution of EndpointSlices", KEP-752, KEP-4444 (trafficDistribution).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pilothouse.client.reconcile.objects import (
    Obj,
    annotations_of,
    changed,
    controller_reference,
    is_deleting,
    labels_of,
    without_empty,
)
from pilothouse.controllers import service_pods
from pilothouse.controllers.pods import is_ready
from pilothouse.controllers.service_pods import HEADLESS, Port

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"
RESERVED_LABELS = (SERVICE_NAME, MANAGED_BY, HEADLESS)
NodeOf = Callable[[str], Obj | None]
#: Endpoints in one slice.
FULL = 100


@dataclass(frozen=True, slots=True)
class Plan:
    create: list[Obj] = field(default_factory=list)
    update: list[Obj] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    #: Pods left out because their Node is not known (yet): a reason to look again.
    missing_nodes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    """A slice being filled. `slice` is None for a new one."""

    slice: Obj | None
    endpoints: list[Obj]
    touched: bool = False

    @property
    def room(self) -> int:
        return FULL - len(self.endpoints)


def plan(service: Obj, pods: Iterable[Obj], node_of: NodeOf, slices: Sequence[Obj], trigger: str | None = None) -> Plan:
    """Compare a Service's pods with its slices (those of this controller only)."""
    out = Plan()
    wanted_families = service_pods.families(service)
    out.delete.extend(s for s in slices if s["addressType"] not in wanted_families)
    chosen = [p for p in pods if service_pods.has_endpoint(p, with_terminating=True)]
    for family in wanted_families:
        groups = _groups(service, chosen, node_of, family, out.missing_nodes)
        existing = [s for s in slices if s["addressType"] == family]
        _reconcile(service, family, groups, existing, trigger, out)
    return out


def _groups(
    service: Obj, pods: Iterable[Obj], node_of: NodeOf, family: str, missing: list[str]
) -> dict[tuple[Port, ...], list[Obj]]:
    """The wanted endpoints of one family by their ports."""
    out: dict[tuple[Port, ...], list[Obj]] = {}
    fixed = service_pods.fixed_ports(service)
    for pod in pods:
        found = service_pods.addresses_of_family(pod, family)
        if not found:
            continue
        node_name = pod["spec"].get("nodeName")
        node = node_of(node_name) if node_name else None
        if node_name and node is None and not service["spec"].get("publishNotReadyAddresses"):
            missing.append(
                f"skipping Pod {pod['metadata']['name']} for Service {service['metadata']['name']}: Node {node_name} Not Found"
            )
            continue
        ports = service_pods.ports(service, pod) if fixed is None else fixed
        out.setdefault(ports, []).append(_endpoint(service, pod, node, found))
    return out


def _endpoint(service: Obj, pod: Obj, node: Obj | None, found: list[str]) -> Obj:
    serving, terminating = is_ready(pod), is_deleting(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    out = {
        "addresses": found,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "hostname": service_pods.hostname(service, pod),
        "targetRef": service_pods.target_reference(pod),
        "nodeName": pod["spec"].get("nodeName"),
        "zone": labels_of(node).get(ZONE) if node else None,
    }
    out = without_empty(out)
    if hints := _hints(service, out):
        out["hints"] = hints
    return out


def _hints(service: Obj, endpoint: Obj) -> Obj:
    """Whom a ready endpoint is for, where the Service prefers near ones."""
    near = service["spec"].get("trafficDistribution")
    if not near or not endpoint["conditions"]["ready"]:
        return {}
    zone, node = endpoint.get("zone"), endpoint.get("nodeName")
    hints: Obj = {"forZones": [{"name": zone}]} if zone else {}
    if near == "PreferSameNode" and node:
        hints["forNodes"] = [{"name": node}]
    return hints


def _reconcile(
    service: Obj,
    family: str,
    groups: dict[tuple[Port, ...], list[Obj]],
    existing: list[Obj],
    trigger: str | None,
    out: Plan,
) -> None:
    by_ports: dict[tuple[Port, ...], list[Obj]] = {}
    for each in existing:
        by_ports.setdefault(_ports_of(each), []).append(each)
    new: list[Obj] = []
    spare: list[Obj] = []
    if not any(groups.values()):
        groups = {(): []}  # one empty slice says: this Service is known and has no endpoints
    for ports in dict.fromkeys([*groups, *by_ports]):
        wanted = groups.get(ports)
        drafts = _fill(wanted or [], by_ports.get(ports, []))
        kept = [d for d in drafts if d.endpoints]
        if wanted == []:
            kept = drafts[:1] or [_Draft(None, [])]
        spare += [d.slice for d in drafts if d not in kept and d.slice]
        for draft in kept:
            if draft.slice is None:
                new.append(_slice(service, family, ports, draft.endpoints, trigger))
            elif draft.touched or labels_of(draft.slice) != wanted_labels(service):
                out.update.append(_revised(service, draft.slice, ports, draft.endpoints, trigger))
    _reuse(new, spare, out)


def _reuse(new: list[Obj], spare: list[Obj], out: Plan) -> None:
    """An empty slice becomes a new one where one is needed, and is deleted where none is."""
    for body in new:
        if spare:
            old = spare.pop()
            metadata = {**old["metadata"], **_only(body["metadata"], "labels", "annotations")}
            out.update.append({**old, "metadata": metadata, "endpoints": body["endpoints"], "ports": body["ports"]})
        else:
            out.create.append(body)
    out.delete.extend(spare)


def _only(members: Obj, *names: str) -> Obj:
    return {k: members[k] for k in names if k in members}


def _fill(wanted: list[Obj], existing: list[Obj]) -> list[_Draft]:
    """Distribute the wanted endpoints over the existing slices and as many new ones as are needed."""
    left = {_identity(e): e for e in wanted}
    drafts = []
    for each in sorted(existing, key=lambda s: s["metadata"]["name"]):
        kept: list[Obj] = []
        for present in each.get("endpoints") or ():
            now = left.pop(_identity(present), None)
            if now is not None:
                kept.append(now)
        drafts.append(_Draft(each, kept, touched=kept != (each.get("endpoints") or [])))
    rest = list(left.values())
    for draft in sorted(drafts, key=lambda d: not d.touched):  # a slice that is written anyway comes first
        if not draft.touched or not rest:
            continue
        _put(draft, rest)
    while rest:
        roomy = [d for d in drafts if d.room >= len(rest)]
        if roomy:
            _put(min(roomy, key=lambda d: d.room), rest)
        else:
            drafts.append(_Draft(None, []))
            _put(drafts[-1], rest)
    return drafts


def _put(draft: _Draft, rest: list[Obj]) -> None:
    """Move as many as fit."""
    room = draft.room
    if room > 0 and rest:
        draft.endpoints = draft.endpoints + rest[:room]
        del rest[:room]
        draft.touched = True


def _identity(endpoint: Obj) -> tuple[str, ...]:
    reference = endpoint.get("targetRef") or {}
    return (reference.get("uid") or "", *sorted(endpoint["addresses"]))


def _ports_of(each: Obj) -> tuple[Port, ...]:
    """The key of a slice; None and [] are the same: no ports."""
    found = each.get("ports") or ()
    return tuple(
        sorted(
            Port(p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP", p.get("appProtocol") or "") for p in found
        )
    )


def _port_objects(ports: tuple[Port, ...]) -> list[Obj]:
    return [
        {
            "name": p.name,
            "port": p.port,
            "protocol": p.protocol,
            **({"appProtocol": p.app_protocol} if p.app_protocol else {}),
        }
        for p in ports
    ]


def wanted_labels(service: Obj) -> dict[str, str]:
    out = service_pods.inherited_labels(service, RESERVED_LABELS)
    out |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    if service_pods.is_headless(service):
        out[HEADLESS] = ""
    return out


def _slice(service: Obj, family: str, ports: tuple[Port, ...], endpoints: list[Obj], trigger: str | None) -> Obj:
    meta = service["metadata"]
    metadata: Obj = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "labels": wanted_labels(service),
        "ownerReferences": [controller_reference(service, "v1", "Service")],
    }
    if notes := service_pods.with_trigger_time({}, trigger):
        metadata["annotations"] = notes
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": family,
        "endpoints": endpoints,
        "ports": _port_objects(ports),
    }


def _revised(service: Obj, each: Obj, ports: tuple[Port, ...], endpoints: list[Obj], trigger: str | None) -> Obj:
    notes = service_pods.with_trigger_time(annotations_of(each), trigger)
    metadata = changed(each["metadata"], labels=wanted_labels(service), annotations=notes or None)
    return {**each, "metadata": metadata, "endpoints": endpoints, "ports": _port_objects(ports)}

"""Cluster IPs put right: every service holds the addresses that it says, and no address is held for a service that is not there.

A crash between taking an address and storing its service leaves an IPAddress behind; an IPAddress that somebody deleted leaves a service
without. Both are mended at a start and every three minutes, as by Kubernetes' ipallocator-repair-controller, with its events on what it
finds. `plan` is the pure part. Node ports need none of this: services are the only record of them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.allocators.addresses import ALLOCATOR, GROUP, MANAGED_BY, Addresses, family_of
from pilothouse.apiserver.allocators.errors import AlreadyAllocated
from pilothouse.apiserver.interface import Hub
from pilothouse.clock import parse_rfc3339, rfc3339_micro

log = logging.getLogger(__name__)

SECONDS = 180.0
#: An address this young may be one whose service is about to be stored.
GRACE_SECONDS = 60.0
_REPORTER = "ipallocator-repair-controller"


@dataclass(frozen=True, slots=True)
class Told:
    """An event about an object: why, while doing what, and the words."""

    about: Obj
    reason: str
    action: str
    note: str


@dataclass(slots=True)
class Plan:
    """What is to be done: addresses to release, then addresses to take for services, and what is to be told."""

    release: list[Obj] = field(default_factory=list)
    take: list[tuple[str, Obj]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)


def plan(services: Iterable[Obj], held: Mapping[str, Obj], in_range: Callable[[str], bool], now: float, grace: float) -> Plan:
    """What is wrong between services and addresses. `held` are the IPAddress objects by name; `grace` in seconds."""
    out = Plan()
    known = {(s["metadata"]["namespace"], s["metadata"]["name"]): s for s in services}
    wanted: set[str] = set()
    for service in sorted(known.values(), key=lambda s: s["metadata"].get("creationTimestamp", "")):
        for address in _addresses(service):
            _judge(out, service, address, held.get(address), known, in_range)
            wanted.add(address)
    for address, obj in held.items():
        managed = (obj["metadata"].get("labels") or {}).get(MANAGED_BY) == ALLOCATOR
        if managed and address not in wanted and now - parse_rfc3339(obj["metadata"]["creationTimestamp"]) >= grace:
            namespace, name = _owner(obj)
            note = f"IPAddress: {address} for Service {namespace}/{name} appears to have leaked: cleaning up"
            out.release.append(obj)
            out.told.append(Told(obj, "IPAddressNotAllocated", "IPAddressAllocation", note))
    return out


def _addresses(service: Obj) -> list[str]:
    return [a for a in (service.get("spec") or {}).get("clusterIPs") or () if a not in ("", "None")]


def _judge(
    out: Plan, service: Obj, address: str, obj: Obj | None, known: Mapping[tuple[str, str], Obj], in_range: Callable[[str], bool]
) -> None:
    """One address of one service."""
    head, action = f"Cluster IP [{family_of(address)}]: {address}", "ClusterIPAllocation"
    if not in_range(address):
        note = f"{head} is not within any configured Service CIDR; please recreate service"
        out.told.append(Told(service, "ClusterIPOutOfRange", action, note))
    elif obj is None:
        out.take.append((address, service))
        out.told.append(Told(service, "ClusterIPNotAllocated", action, f"{head} is not allocated; repairing"))
    elif _owner(obj) != (service["metadata"]["namespace"], service["metadata"]["name"]):
        other = known.get(_owner(obj))
        if other is not None and address in _addresses(other):
            note = f"{head} was assigned to multiple services; please recreate service"
            out.told.append(Told(service, "ClusterIPAlreadyAllocated", action, note))
            return
        out.release.append(obj)
        out.take.append((address, service))
        where = "{}/{}".format(*_owner(obj))
        note = f"IPAddress: {address} for Service {where} has a wrong reference; cleaning up"
        out.told.append(Told(obj, "IPAddressWrongReference", "IPAddressAllocation", note))


def _owner(obj: Obj) -> tuple[str, str]:
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    return parent.get("namespace", ""), parent.get("name", "")


class Repair:
    """Carries plans out."""

    def __init__(self, hub: Hub, addresses: Addresses) -> None:
        self._hub = hub
        self._addresses = addresses

    async def __call__(self, grace: float = GRACE_SECONDS) -> None:
        """One round."""
        services = [entry.obj for entry in self._hub.cache("", "services").list()]
        held = {entry.obj["metadata"]["name"]: entry.obj for entry in self._hub.cache(GROUP, "ipaddresses").list()}
        found = plan(services, held, self._in_range, self._hub.clock.now(), grace)
        for obj in found.release:
            await self._release(obj)
        for address, service in found.take:
            try:
                await self._addresses.take(address, service)
            except AlreadyAllocated:
                continue  # somebody was faster: the next round looks at it
        for told in found.told:
            await self._tell(told)

    def _in_range(self, address: str) -> bool:
        return self._addresses.covers(ipaddress.ip_address(address))

    async def _release(self, obj: Obj) -> None:
        """Delete just this object: its address may be another service's in a moment."""
        metadata = obj["metadata"]
        options = {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}}
        try:
            await self._hub.delete(GROUP, "ipaddresses", metadata["name"], options=options)
        except StatusError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise

    async def _tell(self, told: Told) -> None:
        """An event. What is wrong for long is told again when the event has expired."""
        log.warning("%s", told.note)
        metadata = told.about["metadata"]
        digest = hashlib.sha256(f"{metadata['uid']} {told.reason} {told.note}".encode()).hexdigest()[:16]
        regarding = {key: told.about[key] for key in ("apiVersion", "kind")}
        regarding |= {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in metadata}
        event = {
            "metadata": {"name": f"{metadata['name'].replace(':', '-')}.{digest}", "namespace": metadata.get("namespace", "default")},
            "eventTime": rfc3339_micro(self._hub.clock.now()), "reportingController": _REPORTER, "reportingInstance": _REPORTER,
            "action": told.action, "reason": told.reason, "type": "Warning", "note": told.note, "regarding": regarding,
        }  # fmt: skip
        try:
            await self._hub.create("events.k8s.io", "events", event)
        except StatusError as error:
            if error.code not in (403, 404, 409):  # told already, or its namespace is going away
                raise

"""service-cidr-controller: says of each ServiceCIDR that it can be used, and keeps one that is going until no address needs it.

A range may go when each of its IPAddresses lies in another range that stays; ten seconds after that it does, so that services that are being
written meanwhile are heard of. Reference: KEP-1880, multiple Service CIDRs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from pilothouse.client.reconcile.kinds import IP_ADDRESSES, SERVICE_CIDRS
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, condition, is_deleting, key, with_metadata, without_condition
from pilothouse.clock import parse_rfc3339, rfc3339

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE = 10.0
READY = "Kubernetes Service CIDR is ready"
IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(cidr: Obj) -> Iterator[Network]:
    for text in (cidr.get("spec") or {}).get("cidrs") or ():
        yield ipaddress.ip_network(text, strict=False)


def is_needed(cidr: Obj, others: Iterable[Obj], addresses: Iterable[str]) -> bool:
    """Whether an address lies in this range and in none of those that stay."""
    own = list(networks(cidr))
    staying = [n for other in others if not is_deleting(other) and key(other) != key(cidr) for n in networks(other)]
    for text in addresses:
        address = ipaddress.ip_address(text)
        if any(address in n for n in own) and not any(address in n for n in staying):
            return True
    return False


class ServiceCIDRController(Controller):
    name = "service-cidr-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.cidrs, self.addresses = self.cache(SERVICE_CIDRS), self.cache(IP_ADDRESSES)
        self.cidrs.add_handler(lambda old, new: self._all())
        self.addresses.add_handler(self._address_changed)

    def _all(self) -> None:
        """There are few ranges, and each may be another's reason to stay."""
        for cidr in self.cidrs.list():
            self.enqueue(cidr)

    def _address_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            for cidr in self.cidrs.list():
                if is_deleting(cidr):
                    self.enqueue(cidr)

    async def sync(self, name: str) -> None:
        cidr = self.cidrs.get("", name)
        if cidr is None:
            return
        finalizers = cidr["metadata"].get("finalizers") or []
        if is_deleting(cidr):
            if FINALIZER in finalizers:
                await self._let_go(cidr, finalizers)
            return
        if FINALIZER not in finalizers:
            cidr = await self.api.update(SERVICE_CIDRS, with_metadata(cidr, finalizers=[*finalizers, FINALIZER]))
        await self._tell(cidr, "True", "", READY)

    async def _let_go(self, cidr: Obj, finalizers: list[str]) -> None:
        if is_needed(cidr, self.cidrs.list(), (a["metadata"]["name"] for a in self.addresses.list())):
            await self._tell(cidr, "False", "Terminating", IN_USE)
            return
        waited = self.clock.now() - parse_rfc3339(cidr["metadata"]["deletionTimestamp"])
        if waited < GRACE:
            self.queue.add_after(key(cidr), GRACE - waited)
            return
        left = [f for f in finalizers if f != FINALIZER]
        await self.api.update(SERVICE_CIDRS, with_metadata(cidr, finalizers=left or None))

    async def _tell(self, cidr: Obj, status: str, reason: str, message: str) -> None:
        known = condition(cidr, "Ready")
        if known is not None and (known["status"], known.get("reason") or "") == (status, reason):
            return
        told = {"type": "Ready", "status": status, "reason": reason, "message": message}
        told["lastTransitionTime"] = rfc3339(self.clock.now())
        before = (cidr.get("status") or {}).get("conditions") or []
        body = {**cidr, "status": {**(cidr.get("status") or {}), "conditions": [*without_condition(before, "Ready"), told]}}
        await self.api.update(SERVICE_CIDRS, body, "status")

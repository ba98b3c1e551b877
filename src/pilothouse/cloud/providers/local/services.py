"""Load balancers of Services: an address each, a front for every port, and pools that follow the endpoints.

Traffic goes straight to the pods, so nodes, node ports, health-check node ports and the external traffic policy make no difference: no
second hop is taken by either policy. ipMode is Proxy (KEP-1860): what comes from inside has to come by here as well. An address stays
with its Service, across restarts too, because its status tells it. SCTP is left out, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.objects import Obj, annotations_of, is_deleting, key
from pilothouse.cloud.provider import CloudError, Surroundings, default_name
from pilothouse.cloud.providers.local import ports
from pilothouse.cloud.providers.local.addresses import Addresses, NotGiven
from pilothouse.cloud.providers.local.config import SHARED
from pilothouse.cloud.providers.local.plane import Plane
from pilothouse.cloud.providers.local.pools import Pools, Wanted
from pilothouse.cloud.providers.local.words import Words
from pilothouse.dataplane.model import Forward

log = logging.getLogger(__name__)

#: The older way to say spec.loadBalancerSourceRanges.
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
DOMAIN = "pilothouse.dev"
#: The index of Services by addresses in their statuses.
BY_ADDRESS = "address of load balancer"


@dataclass(frozen=True, slots=True)
class Listener:
    """One port of a Service: the front, and the pool behind it."""

    front: Forward
    pool: Wanted

    @property
    def port(self) -> tuple[int, str]:
        return self.front.port, self.front.transport


@dataclass(slots=True)
class Balancer:
    """What there is of one Service."""

    address: str
    #: Addresses that it had before, until nothing of it is there any more.
    former: set[str] = field(default_factory=set)
    #: Names of fronts and of their pools.
    fronts: set[str] = field(default_factory=set)
    status: Obj | None = None


def listeners(service: Obj, address: str) -> list[Listener]:
    """A front and a pool for each port that can be carried."""
    out = []
    for port in service["spec"].get("ports") or ():
        number, transport = port["port"], port.get("protocol", "TCP")
        if transport not in ("TCP", "UDP"):
            continue
        name = f"Service/{key(service)}:{number}/{transport}"
        front = Forward(name, address, number, transport, name, source_ranges(service))
        out.append(Listener(front, Wanted(name, key(service), number, transport, affinity_seconds=affinity(service))))
    return out


def source_ranges(service: Obj) -> tuple[str, ...]:
    told = service["spec"].get("loadBalancerSourceRanges") or annotations_of(service).get(RANGES, "").split(",")
    return tuple(r.strip() for r in told if r.strip())


def affinity(service: Obj) -> int:
    """Seconds for which a client stays with an endpoint; 0: no affinity."""
    if service["spec"].get("sessionAffinity") != "ClientIP":
        return 0
    client = (service["spec"].get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client.get("timeoutSeconds") or 10_800)


def status(service: Obj, address: str, found: ports.Moved, refused: Iterable[tuple[int, str]]) -> Obj:
    """status.loadBalancer. A port's error says that it is not where it was asked for, and where else."""
    refused = set(refused)
    told = []
    for port in service["spec"].get("ports") or ():
        number, transport = port["port"], port.get("protocol", "TCP")
        entry: Obj = {"port": number, "protocol": transport}
        if (number, transport) in refused:
            entry["error"] = f"{DOMAIN}/PortInUse"
        elif (number, transport) not in found:
            entry["error"] = f"{DOMAIN}/ProtocolNotSupported"
        elif found[number, transport] != number:
            entry["error"] = f"{DOMAIN}/FoundOnPort{found[number, transport]}"
        told.append(entry)
    return {"ingress": [{"ip": address, "ipMode": "Proxy", "ports": told}]}


def addresses_of(service: Obj) -> list[str]:
    """Addresses that its status tells."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    return [i["ip"] for i in balancer.get("ingress") or () if i.get("ip")]


class LocalLoadBalancers:
    """The Services' part of the provider."""

    def __init__(self, addresses: Addresses, plane: Plane, pools: Pools, around: Surroundings, services: Cache) -> None:
        self._addresses = addresses
        self._plane = plane
        self._pools = pools
        self._words = Words(around)
        self._services = services
        self._balancers: dict[str, Balancer] = {}

    def name(self, cluster: str, service: Obj) -> str:
        return default_name(service)

    async def get(self, cluster: str, service: Obj) -> Obj | None:
        known = self._balancers.get(_owner(service))
        return (known.status or {}) if known is not None else None

    async def ensure(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> Obj:
        owner = _owner(service)
        try:
            address = self._address(service, owner)
        except NotGiven as error:
            raise CloudError(str(error)) from None
        known = self._balancers.setdefault(owner, Balancer(address))
        known.former.add(known.address)
        known.address = address
        wanted = listeners(service, address)
        found, refused = await self._listen(service, address, known, wanted)
        for name in known.fronts - {w.front.name for w in wanted}:
            await self._end(known, name)
        self._release(known, owner, known.former - {address})
        known.status = status(service, address, found, refused)
        await self._words.tell(service, address, found, refused)
        return known.status

    async def update(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> None:
        """Nodes make no difference."""

    async def ensure_deleted(self, cluster: str, service: Obj) -> None:
        owner = _owner(service)
        known = self._balancers.get(owner)
        if known is not None:
            for name in sorted(known.fronts):
                await self._end(known, name)
            self._release(known, owner, known.former | {known.address})
            del self._balancers[owner]
        if not is_deleting(service):
            await self._words.withdraw(service)

    def _release(self, known: Balancer, owner: str, addresses: set[str]) -> None:
        for address in addresses:
            self._addresses.release(address, owner)
        known.former.clear()

    # --- addresses -----------------------------------------------------------------------------------------------------------------

    def _address(self, service: Obj, owner: str) -> str:
        """The one that is asked for, or the one that it has, or had before, or a new one. NotGiven if there is none."""
        asked = service["spec"].get("loadBalancerIP")
        if asked:
            self._addresses.claim(asked, owner)
            return str(asked)
        known = self._balancers.get(owner)
        if known is not None:
            return known.address
        for address in addresses_of(service):
            try:
                self._addresses.claim(address, owner)
            except NotGiven as error:
                log.info("%s cannot keep its address: %s", owner, error)
            else:
                return address
        return self._new_address(service, owner)

    def _new_address(self, service: Obj, owner: str) -> str:
        fronts = [w.front for w in listeners(service, "")]
        return self._addresses.quiet(
            owner,
            lambda: self._addresses.for_service(owner, lambda a: self._is_anothers(a, service)),
            lambda a: self._plane.is_quiet(a, fronts),
        )

    def _is_anothers(self, address: str, service: Obj) -> bool:
        return any(key(s) != key(service) for s in self._services.indexed(BY_ADDRESS, address))

    # --- fronts --------------------------------------------------------------------------------------------------------------------

    async def _listen(
        self, service: Obj, address: str, known: Balancer, wanted: Sequence[Listener]
    ) -> tuple[dict[tuple[int, str], int], dict[tuple[int, str], str]]:
        """By port: where it is found, and why it is not to be had.

        On a shared address a port stays where it was; otherwise whoever had the port that is asked for may be gone by now.
        """
        before = ports.read(annotations_of(service).get(ports.ANNOTATION, "")) if address == SHARED else {}
        found: dict[tuple[int, str], int] = {}
        refused: dict[tuple[int, str], str] = {}
        for each in wanted:
            known.fronts.add(each.front.name)
            await self._pools.use(each.pool)
            try:
                found[each.port] = await self._plane.listen(each.front, before.get(each.port))
            except ports.NotHere as error:
                raise CloudError(str(error)) from None
            except ports.NoPort as error:
                refused[each.port] = str(error)
            except ValueError as error:
                raise CloudError(str(error)) from None  # such as a source range that is none
        return found, refused

    async def _end(self, known: Balancer, name: str) -> None:
        await self._plane.drop(name)
        await self._pools.drop(name)
        known.fronts.discard(name)


def _owner(service: Obj) -> str:
    return f"Service/{key(service)}"

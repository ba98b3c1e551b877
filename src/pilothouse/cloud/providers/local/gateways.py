"""Gateways and Ingresses: an address each (or those that they ask for), their edges on it, and pools that follow the backends.

References: Gateway API, "GatewaySpec.addresses" and "status.addresses". Addresses are IPAddresses of the range, or 127.0.0.1, which several
may share; names cannot be given. A Gateway keeps its address across restarts, because its status tells it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.objects import Obj
from pilothouse.cloud.provider import AddressNotUsable, Backend, CloudError, GatewayPlan, GatewayState, Surroundings
from pilothouse.cloud.providers.local.addresses import Addresses, NotGiven
from pilothouse.cloud.providers.local.plane import Plane
from pilothouse.cloud.providers.local.pools import Pools, Wanted
from pilothouse.cloud.providers.local.ports import NoPort, NotHere
from pilothouse.cloud.providers.local.services import BY_ADDRESS, addresses_of

GATEWAYS = Kind("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
INGRESSES = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
#: Backends that are spoken to in HTTP/2 from the first byte.
_HTTP2 = ("kubernetes.io/h2c", "grpc")


@dataclass(slots=True)
class Held:
    """What there is of one plan."""

    #: Addresses that were chosen here; all that it listens on; and all that are kept from others for it.
    chosen: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    fronts: set[str] = field(default_factory=set)
    pools: set[str] = field(default_factory=set)


def wanted_pool(backend: Backend) -> Wanted:
    return Wanted(
        backend.pool,
        f"{backend.namespace}/{backend.service}",
        backend.port,
        protocol="http2" if backend.app_protocol in _HTTP2 else "http1",
        tls=backend.tls,
    )


class LocalGateways:
    """The Gateways' part of the provider. Plans may use the same pools; a pool goes with the last that does."""

    def __init__(self, addresses: Addresses, plane: Plane, pools: Pools, around: Surroundings, services: Cache) -> None:
        self._addresses = addresses
        self._plane = plane
        self._pools = pools
        self._around = around
        self._services = services
        self._held: dict[str, Held] = {}
        self._users: dict[str, set[str]] = {}
        #: Addresses that Gateways and Ingresses had when this process looked first.
        self._earlier: set[str] | None = None

    async def ensure(self, plan: GatewayPlan) -> GatewayState:
        if self._earlier is None:
            self._earlier = await self._look()
        held = self._held.setdefault(plan.key, Held())
        try:
            addresses = self._choose(plan, held)
        except CloudError:
            self._release(plan.key, held, held.used)
            raise
        for backend in plan.backends:
            await self._use(plan.key, held, wanted_pool(backend))
        problems: dict[str, str] = {}
        moved: dict[str, int] = {}
        fronts = {f"{plan.key}/{e.name}@{a}": (a, e) for a in addresses for e in plan.edges}
        for name in held.fronts - fronts.keys():
            await self._end(held, name)
        for name, (address, edge) in fronts.items():
            held.fronts.add(name)
            try:
                port = await self._plane.listen(replace(edge, name=name, address=address))
            except NotHere as error:
                raise AddressNotUsable(str(error)) from None
            except (NoPort, ValueError) as error:  # ValueError: more than the engine can do
                problems[edge.name] = str(error)
            else:
                if port != edge.port:
                    moved[edge.name] = port
        for pool in held.pools - {b.pool for b in plan.backends}:
            await self._give_back(plan.key, held, pool)
        held.used = addresses
        self._release(plan.key, held, addresses)
        return GatewayState(tuple({"type": "IPAddress", "value": a} for a in addresses), problems, moved)

    async def ensure_deleted(self, key: str) -> None:
        held = self._held.get(key)
        if held is None:
            return
        for name in sorted(held.fronts):
            await self._end(held, name)
        for pool in sorted(held.pools):
            await self._give_back(key, held, pool)
        self._earlier = (self._earlier or set()) - held.claimed
        self._release(key, held, ())
        del self._held[key]

    # --- addresses -----------------------------------------------------------------------------------------------------------------

    def _choose(self, plan: GatewayPlan, held: Held) -> list[str]:
        """Those that are asked for, and one of ours for each that is left open (or, if none is asked for, one). AddressNotUsable."""
        asked = self._asked(plan, held)
        count = sum(not value for _, value in plan.wanted) if plan.wanted else 1
        chosen: list[str] = []
        for address in dict.fromkeys((*held.chosen, *plan.given)):
            if len(chosen) < count and address not in asked and self._can_keep(plan.key, held, address):
                chosen.append(address)
        while len(chosen) < count:
            chosen.append(self._new_address(plan, held))
        held.chosen = chosen
        return [*dict.fromkeys(asked), *chosen]

    def _asked(self, plan: GatewayPlan, held: Held) -> list[str]:
        out = []
        for kind, value in plan.wanted:
            if kind != "IPAddress":
                raise AddressNotUsable(f"addresses of the type {kind} cannot be given here, only those of the type IPAddress")
            if not value:
                continue
            try:
                self._claim(plan.key, held, value)
            except NotGiven as error:
                raise AddressNotUsable(str(error)) from None
            out.append(value)
        return out

    def _claim(self, owner: str, held: Held, address: str) -> None:
        self._addresses.claim(address, owner)
        held.claimed.add(address)

    def _can_keep(self, owner: str, held: Held, address: str) -> bool:
        try:
            self._claim(owner, held, address)
        except NotGiven:
            return False
        return True

    def _new_address(self, plan: GatewayPlan, held: Held) -> str:
        try:
            address = self._addresses.quiet(
                plan.key,
                lambda: self._addresses.for_gateway(plan.key, self._is_anothers),
                lambda a: self._plane.is_quiet(a, plan.edges),
            )
        except NotGiven as error:
            raise CloudError(str(error)) from None
        held.claimed.add(address)
        return address

    def _release(self, owner: str, held: Held, kept: Iterable[str]) -> None:
        """Let others have what is not kept."""
        for address in held.claimed - set(kept):
            self._addresses.release(address, owner)
        held.claimed &= set(kept)

    def _is_anothers(self, address: str) -> bool:
        return address in (self._earlier or ()) or any(self._services.indexed(BY_ADDRESS, address))

    async def _look(self) -> set[str]:
        """Addresses that are told in statuses now: theirs who will ask for them."""
        out: set[str] = set()
        for kind, read in ((GATEWAYS, _of_gateway), (INGRESSES, addresses_of)):
            try:
                found = await self._around.api.list(kind)
            except StatusError as error:
                if error.code == 404:  # no Gateway API here
                    continue
                raise CloudError(f"{kind.plural} could not be listed: {error.message}") from None
            out.update(address for each in found.get("items") or () for address in read(each))
        return out

    # --- fronts and pools ------------------------------------------------------------------------------------------------------------

    async def _use(self, key: str, held: Held, pool: Wanted) -> None:
        held.pools.add(pool.name)
        self._users.setdefault(pool.name, set()).add(key)
        await self._pools.use(pool)

    async def _give_back(self, key: str, held: Held, pool: str) -> None:
        held.pools.discard(pool)
        users = self._users.get(pool, set())
        users.discard(key)
        if not users:
            self._users.pop(pool, None)
            await self._pools.drop(pool)

    async def _end(self, held: Held, name: str) -> None:
        await self._plane.drop(name)
        held.fronts.discard(name)


def _of_gateway(gateway: Obj) -> Iterable[str]:
    return [a["value"] for a in (gateway.get("status") or {}).get("addresses") or () if a.get("value")]

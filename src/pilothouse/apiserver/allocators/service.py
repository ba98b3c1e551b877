"""What a service holds: cluster IPs, node ports and a health check node port, taken before it is stored, given back after.

One `ServiceHook` runs around every write of a service (see `WriteHook`). Values that the user leaves out of an update are those
that the service has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pilothouse.api.errors import Obj, internal, invalid, invalid_object
from pilothouse.apiserver.allocators import families
from pilothouse.apiserver.allocators.addresses import Addresses
from pilothouse.apiserver.allocators.errors import AllocationError
from pilothouse.apiserver.allocators.nodeports import NodePorts, ports_of
from pilothouse.apiserver.interface import Finish, Hub, WriteHook


def needs_cluster_ip(spec: Obj) -> bool:
    return spec.get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_port(spec: Obj) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


def needs_health_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_headless(spec: Obj) -> bool:
    return (spec.get("clusterIPs") or [spec.get("clusterIP")])[:1] == ["None"]


class _Transaction:
    """What one write has taken and will give back. With `dry_run` nothing is ever taken."""

    def __init__(self, addresses: Addresses, ports: NodePorts, dry_run: bool) -> None:
        self.addresses = addresses
        self.ports = ports
        self.dry_run = dry_run
        self.taken_addresses: list[str] = []
        self.freed_addresses: list[str] = []
        self.taken_ports: list[int] = []

    async def finish(self, stored: bool) -> None:
        """After the write: keep what was taken if it was stored, else give it back."""
        for port in self.taken_ports:
            await self.ports.release(port)  # a stored service holds its ports by itself
        for address in self.freed_addresses if stored else self.taken_addresses:
            await self.addresses.release(address)

    async def port(self, port: int) -> None:
        await self.ports.reserve(port, self.dry_run)
        self.taken_ports.append(port)

    async def next_port(self) -> int:
        port = await self.ports.reserve_next(self.dry_run)
        self.taken_ports.append(port)
        return port

    async def address(self, address: str, service: Obj) -> None:
        await self.addresses.allocate(address, service, self.dry_run)
        if not self.dry_run:
            self.taken_addresses.append(address)

    async def next_address(self, family: str, service: Obj) -> str:
        address = await self.addresses.allocate_next(family, service, self.dry_run)
        if not self.dry_run:
            self.taken_addresses.append(address)
        return address


class ServiceHook(WriteHook):
    def __init__(self, hub: Hub, addresses: Addresses, ports: NodePorts) -> None:
        super().__init__(hub)
        self._addresses = addresses
        self._ports = ports

    async def begin_create(self, obj: Obj, dry_run: bool) -> Finish | None:
        nameless = not obj["metadata"].get("name")  # will be refused, and nothing can be held for it until then
        return await self._begin(obj, None, dry_run or nameless)

    async def begin_update(self, obj: Obj, old: Obj, dry_run: bool) -> Finish | None:
        keep_allocated(obj["spec"], old["spec"])
        return await self._begin(obj, old, dry_run)

    async def after_delete(self, obj: Obj) -> None:
        for address in (obj.get("spec") or {}).get("clusterIPs") or ():
            if address not in ("", "None"):
                await self._addresses.release(address)

    async def _begin(self, obj: Obj, old: Obj | None, dry_run: bool) -> Finish:
        transaction = _Transaction(self._addresses, self._ports, dry_run)
        try:
            await self._allocate(transaction, obj, old)
        except BaseException:
            await transaction.finish(False)
            raise
        return transaction.finish

    async def _allocate(self, transaction: _Transaction, obj: Obj, old: Obj | None) -> None:
        spec, before = obj["spec"], old["spec"] if old is not None else None
        families.normalize(spec, before)
        if needs_cluster_ip(spec):
            errors = families.complete(spec, before, self._addresses.families)
            if errors:
                raise invalid_object("", "Service", obj["metadata"].get("name", ""), errors)
            await _allocate_addresses(transaction, obj, before)
        elif before is not None and needs_cluster_ip(before):
            transaction.freed_addresses += [a for a in before.get("clusterIPs") or () if a not in ("", "None")]
        held = frozenset(ports_of(old)) if old is not None else frozenset()
        if needs_node_port(spec):
            await _allocate_ports(transaction, obj, held, old is not None)
        if needs_health_check(spec) and not (before is not None and needs_health_check(before)):
            await _allocate_health_check(transaction, obj)


def keep_allocated(spec: Obj, old: Obj) -> None:
    """What a user leaves out of an update stays as it is."""
    if needs_cluster_ip(spec) and needs_cluster_ip(old):
        if not spec.get("clusterIP") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if not spec.get("clusterIPs") and old.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP"):
            spec["clusterIPs"] = list(old["clusterIPs"])
    if needs_node_port(spec) and needs_node_port(old):
        _keep_ports(spec, old)
    if needs_health_check(spec) and needs_health_check(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort")


def _keep_ports(spec: Obj, old: Obj) -> None:
    had = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in old.get("ports") or ()}
    used = {p.get("nodePort") for p in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        before = had.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and before and before not in used:
            port["nodePort"] = before


# --- cluster IPs ------------------------------------------------------------------------------------------------------------------------


async def _allocate_addresses(transaction: _Transaction, obj: Obj, before: Obj | None) -> None:
    spec = obj["spec"]
    if is_headless(spec):
        return
    held = list(before.get("clusterIPs") or ()) if before is not None and needs_cluster_ip(before) else []
    wanted = list(spec.get("clusterIPs") or ())
    count = len(spec["ipFamilies"])
    if held and count == 1 and len(held) == 2 and spec.get("ipFamilyPolicy") == families.SINGLE:
        transaction.freed_addresses.append(held[1])
        wanted = wanted[:1]
    for index, family in enumerate(spec["ipFamilies"]):
        if index < len(wanted):
            if wanted[index] not in held:
                await _take_address(transaction, obj, wanted, index)
        else:
            wanted.append(await _take_next(transaction, obj, family))
    spec["clusterIPs"] = wanted
    spec["clusterIP"] = wanted[0]


async def _take_address(transaction: _Transaction, obj: Obj, wanted: list[str], index: int) -> None:
    try:
        await transaction.address(wanted[index], obj)
    except AllocationError as why:
        error = invalid("spec.clusterIPs", wanted, f"failed to allocate IP {wanted[index]}: {why}")
        raise invalid_object("", "Service", obj["metadata"].get("name", ""), [error]) from None


async def _take_next(transaction: _Transaction, obj: Obj, family: str) -> str:
    try:
        return await transaction.next_address(family, obj)
    except AllocationError as why:
        raise internal(f"failed to allocate a serviceIP: {why}") from None


# --- node ports -------------------------------------------------------------------------------------------------------------------------


async def _allocate_ports(transaction: _Transaction, obj: Obj, held: frozenset[int], update: bool) -> None:
    """A port for each service port; the same for one port number in several protocols, on create."""
    ports = obj["spec"].get("ports") or []
    shared: dict[int, int] = {}
    for index, port in enumerate(ports):
        number = port.get("port", 0)
        wanted = port.get("nodePort") or 0
        if not wanted and not update:
            wanted = shared.get(number) or next(
                (p["nodePort"] for p in ports[index:] if p.get("port") == number and p.get("nodePort")), 0
            )
        if not wanted:
            wanted = await _attempt(transaction.next_port, "failed to allocate a nodePort")
        elif wanted not in held and wanted not in transaction.taken_ports:
            await _take_port(transaction, obj, index, wanted)
        port["nodePort"] = wanted
        shared.setdefault(number, wanted)


async def _take_port(transaction: _Transaction, obj: Obj, index: int, port: int) -> None:
    try:
        await transaction.port(port)
    except AllocationError as why:
        error = invalid(f"spec.ports[{index}].nodePort", port, str(why))
        raise invalid_object("", "Service", obj["metadata"].get("name", ""), [error]) from None


async def _allocate_health_check(transaction: _Transaction, obj: Obj) -> None:
    spec = obj["spec"]
    wanted = spec.get("healthCheckNodePort") or 0
    if not wanted:
        spec["healthCheckNodePort"] = await _attempt(transaction.next_port, "failed to allocate a HealthCheck NodePort")
        return
    try:
        await transaction.port(wanted)
    except AllocationError as why:  # the client's choice, so the client's mistake
        error = invalid("spec.healthCheckNodePort", wanted, str(why))
        raise invalid_object("", "Service", obj["metadata"].get("name", ""), [error]) from None


async def _attempt(take: Callable[[], Awaitable[int]], what: str) -> int:
    try:
        return await take()
    except AllocationError as why:
        raise internal(f"{what}: {why}") from None

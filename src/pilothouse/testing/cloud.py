"""A cloud for tests: instances, load balancers, routes and gateways that are only entries, and everything that can go wrong with a real one.

    shelf = MemoryShelf()                    # or FileShelf(path): a cloud that outlives whoever uses it
    provider = FakeProvider(clock, shelf)
    shelf.put("instances", "node-1", {"id": "i-1", "type": "m5.large", "zone": "a-1", "region": "a", "addresses": [...]})
    provider.faults.at(3, CloudError("quota"))   # the third call fails
    assert shelf.everything() == {}

Each thing that a provider does takes several calls to the cloud, as with a real one, and each call can be late, fail, be throttled, or be done
though its answer is lost. `--cloud-provider fake` runs it, with `--cloud-config` a YAML of `file`, `latency` and `instances`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pilothouse.client.reconcile.objects import key
from pilothouse.clock import Clock
from pilothouse.cloud.provider import (
    CloudError,
    GatewayPlan,
    Gateways,
    GatewayState,
    InstanceMetadata,
    InstanceNotFound,
    Instances,
    LoadBalancers,
    Obj,
    Route,
    Routes,
    Surroundings,
    Zones,
    default_name,
)

T = TypeVar("T")

NAME = "fake"
#: Says as what a load balancer's address is told: VIP or Proxy.
IP_MODE = "fake.pilothouse.dev/ip-mode"


class Shelf(Protocol):
    """Where the cloud's things are, by kind and name."""

    def get(self, kind: str, name: str) -> Obj | None: ...

    def put(self, kind: str, name: str, value: Obj) -> None: ...

    def drop(self, kind: str, name: str) -> None: ...

    def all(self, kind: str) -> dict[str, Obj]: ...


class MemoryShelf:
    def __init__(self) -> None:
        self._things: dict[str, dict[str, Obj]] = {}

    def get(self, kind: str, name: str) -> Obj | None:
        return self.all(kind).get(name)

    def put(self, kind: str, name: str, value: Obj) -> None:
        self._things.setdefault(kind, {})[name] = json.loads(json.dumps(value))

    def drop(self, kind: str, name: str) -> None:
        self._things.get(kind, {}).pop(name, None)

    def all(self, kind: str) -> dict[str, Obj]:
        return dict(self._things.get(kind, {}))


class FileShelf:
    """In a file that several processes may use."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS things (kind TEXT, name TEXT, value TEXT, PRIMARY KEY (kind, name))")

    def get(self, kind: str, name: str) -> Obj | None:
        return self.all(kind).get(name)

    def put(self, kind: str, name: str, value: Obj) -> None:
        self._database.execute("INSERT OR REPLACE INTO things VALUES (?, ?, ?)", (kind, name, json.dumps(value)))

    def drop(self, kind: str, name: str) -> None:
        self._database.execute("DELETE FROM things WHERE kind = ? AND name = ?", (kind, name))

    def all(self, kind: str) -> dict[str, Obj]:
        found = self._database.execute("SELECT name, value FROM things WHERE kind = ? ORDER BY name", (kind,))
        return {name: json.loads(value) for name, value in found}

    def close(self) -> None:
        self._database.close()


def left(shelf: Shelf) -> dict[str, list[str]]:
    """Everything at the cloud but its instances, by kind: nothing, when all was removed."""
    kinds = ("addresses", "balancers", "listeners", "targets", "routes", "gateways")
    return {kind: names for kind in kinds if (names := sorted(shelf.all(kind)))}


#: Told of each call, before it has its effect (`done` False) and after. It may wait, raise, or cancel whoever calls.
Watcher = Callable[[int, str, bool], Awaitable[None]]


class Faults:
    """What goes wrong. Calls are numbered from 1; `made` are their names in order."""

    def __init__(self, clock: Clock, latency: float = 0.0) -> None:
        self.clock = clock
        #: Seconds that each call takes.
        self.latency = latency
        self.made: list[str] = []
        self.watcher: Watcher | None = None
        #: Asked for each call: an error that it ends with instead of being done.
        self.refuse: Callable[[str], Exception | None] = lambda name: None
        self._before: dict[int, Exception] = {}
        self._after: dict[int, Exception] = {}

    def at(self, number: int, error: Exception, *, done: bool = False) -> None:
        """The call of this number, counted from now, fails; with `done` it has had its effect."""
        (self._after if done else self._before)[len(self.made) + number] = error

    async def call(self, name: str, effect: Callable[[], T]) -> T:
        self.made.append(name)
        number = len(self.made)
        if self.latency:
            await self.clock.sleep(self.latency)
        if self.watcher is not None:
            await self.watcher(number, name, False)
        error = self._before.pop(number, None) or self.refuse(name)
        if error is not None:
            raise error
        result = effect()
        if self.watcher is not None:
            await self.watcher(number, name, True)
        if number in self._after:
            raise self._after.pop(number)
        return result


class FakeInstances:
    def __init__(self, shelf: Shelf, faults: Faults) -> None:
        self._shelf, self._faults = shelf, faults

    def _find(self, node: Obj) -> Obj | None:
        told = node["spec"].get("providerID") or ""
        if not told:
            return self._shelf.get("instances", node["metadata"]["name"])
        return next((i for i in self._shelf.all("instances").values() if f"{NAME}://{i['id']}" == told), None)

    async def exists(self, node: Obj) -> bool:
        return await self._faults.call("describe_instance", lambda: self._find(node)) is not None

    async def shut_down(self, node: Obj) -> bool:
        found = await self._faults.call("describe_instance", lambda: self._find(node))
        return found is not None and found.get("state") == "stopped"

    async def metadata(self, node: Obj) -> InstanceMetadata:
        found = await self._faults.call("describe_instance", lambda: self._find(node))
        if found is None:
            raise InstanceNotFound(f"instance of {node['metadata']['name']} not found")
        return InstanceMetadata(
            f"{NAME}://{found['id']}",
            tuple(found.get("addresses") or ()),
            found.get("type") or "",
            found.get("zone") or "",
            found.get("region") or "",
            found.get("labels") or {},
        )


class FakeLoadBalancers:
    """A load balancer is an address, the balancer, a listener for each port, and the targets; each a thing of its own."""

    def __init__(self, shelf: Shelf, faults: Faults) -> None:
        self._shelf, self._faults = shelf, faults

    def name(self, cluster: str, service: Obj) -> str:
        return default_name(service)

    async def get(self, cluster: str, service: Obj) -> Obj | None:
        name = self.name(cluster, service)
        if await self._find("balancers", name) is None:
            return None
        address = await self._find("addresses", name)
        return None if address is None else _status(service, address["ip"])

    async def ensure(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> Obj:
        name, spec = self.name(cluster, service), service["spec"]
        address = await self._find("addresses", name)
        if address is None:
            address = {"ip": spec.get("loadBalancerIP") or self._free_address()}
            await self._put("addresses", name, address)
        await self._keep("balancers", name, {"cluster": cluster, "service": key(service)})
        wanted = {f"{name}/{p.get('protocol') or 'TCP'}/{p['port']}": _listener(spec, p) for p in spec["ports"]}
        for listener in [n for n in self._shelf.all("listeners") if n.startswith(f"{name}/") and n not in wanted]:
            await self._drop("listeners", listener)
        for listener, value in wanted.items():
            await self._keep("listeners", listener, value)
        await self._set_targets(name, nodes)
        return _status(service, address["ip"])

    async def update(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> None:
        name = self.name(cluster, service)
        if await self._find("balancers", name) is None:
            raise CloudError(f"load balancer {name} not found")
        await self._set_targets(name, nodes)

    async def ensure_deleted(self, cluster: str, service: Obj) -> None:
        name = self.name(cluster, service)
        for listener in [n for n in self._shelf.all("listeners") if n.startswith(f"{name}/")]:
            await self._drop("listeners", listener)
        for kind in ("targets", "balancers", "addresses"):
            if await self._find(kind, name) is not None:
                await self._drop(kind, name)

    async def _set_targets(self, name: str, nodes: Sequence[Obj]) -> None:
        await self._keep("targets", name, {"nodes": sorted(n["metadata"]["name"] for n in nodes)})

    def _free_address(self) -> str:
        taken = {a["ip"] for kind in ("addresses", "gateways") for a in self._shelf.all(kind).values()}
        return next(ip for n in range(1, 65536) if (ip := f"198.18.{n // 256}.{n % 256}") not in taken)

    async def _find(self, kind: str, name: str) -> Obj | None:
        return await self._faults.call(f"describe_{kind}", lambda: self._shelf.get(kind, name))

    async def _keep(self, kind: str, name: str, value: Obj) -> None:
        if await self._find(kind, name) != value:
            await self._put(kind, name, value)

    async def _put(self, kind: str, name: str, value: Obj) -> None:
        await self._faults.call(f"put_{kind}", lambda: self._shelf.put(kind, name, value))

    async def _drop(self, kind: str, name: str) -> None:
        await self._faults.call(f"delete_{kind}", lambda: self._shelf.drop(kind, name))


def _listener(spec: Obj, port: Obj) -> Obj:
    return {"nodePort": port.get("nodePort"), "sources": spec.get("loadBalancerSourceRanges") or []}


def _status(service: Obj, ip: str) -> Obj:
    mode = (service["metadata"].get("annotations") or {}).get(IP_MODE) or "VIP"
    return {"ingress": [{"ip": ip, "ipMode": mode}]}


class FakeRoutes:
    def __init__(self, shelf: Shelf, faults: Faults) -> None:
        self._shelf, self._faults = shelf, faults

    async def list(self, cluster: str) -> Sequence[Route]:
        found = await self._faults.call("list_routes", lambda: self._shelf.all("routes"))
        return [Route(name, r["node"], r["destination"], r.get("blackhole", False)) for name, r in found.items()]

    async def create(self, cluster: str, route: Route, node: Obj) -> None:
        name = f"{cluster}-{route.node}-{route.destination}"
        value = {"node": route.node, "destination": route.destination}
        await self._faults.call("put_routes", lambda: self._shelf.put("routes", name, value))

    async def delete(self, cluster: str, route: Route) -> None:
        await self._faults.call("delete_routes", lambda: self._shelf.drop("routes", route.name))


class FakeGateways:
    def __init__(self, shelf: Shelf, faults: Faults) -> None:
        self._shelf, self._faults = shelf, faults

    async def ensure(self, plan: GatewayPlan) -> GatewayState:
        found = await self._faults.call("describe_gateways", lambda: self._shelf.get("gateways", plan.key))
        address = found["ip"] if found else FakeLoadBalancers(self._shelf, self._faults)._free_address()
        value: Obj = {"ip": address, "edges": [e.name for e in plan.edges], "backends": [b.pool for b in plan.backends]}
        if value != found:
            await self._faults.call("put_gateways", lambda: self._shelf.put("gateways", plan.key, value))
        return GatewayState(({"type": "IPAddress", "value": address},))

    async def ensure_deleted(self, key: str) -> None:
        await self._faults.call("delete_gateways", lambda: self._shelf.drop("gateways", key))


class FakeProvider:
    """A `Provider`. Parts named in `without` are None."""

    name = NAME

    def __init__(self, clock: Clock, shelf: Shelf | None = None, latency: float = 0.0, without: Sequence[str] = ()) -> None:
        self.shelf: Shelf = MemoryShelf() if shelf is None else shelf
        self.faults = Faults(clock, latency)
        self.around: Surroundings | None = None
        self._without = without

    async def start(self, around: Surroundings) -> None:
        self.around = around

    async def close(self) -> None:
        self.around = None

    def instances(self) -> Instances | None:
        return None if "instances" in self._without else FakeInstances(self.shelf, self.faults)

    def zones(self) -> Zones | None:
        return None

    def load_balancers(self) -> LoadBalancers | None:
        return None if "load_balancers" in self._without else FakeLoadBalancers(self.shelf, self.faults)

    def routes(self) -> Routes | None:
        return None if "routes" in self._without else FakeRoutes(self.shelf, self.faults)

    def gateways(self) -> Gateways | None:
        return None if "gateways" in self._without else FakeGateways(self.shelf, self.faults)


def make(config: str, clock: Clock) -> FakeProvider:
    """The provider by the text of `--cloud-config`. ValueError, in one line, if that cannot be."""
    from pilothouse.api.yamltext import settings

    told: Any = settings(config, "--cloud-config") if config.strip() else {}
    if not isinstance(told, dict):
        raise ValueError("--cloud-config: a mapping of file, latency and instances is expected")
    unknown = set(told) - {"file", "latency", "instances", "without"}
    if unknown:
        raise ValueError(f"--cloud-config: {min(unknown)!r} is unknown; there are file, latency, instances and without")
    shelf: Shelf = FileShelf(Path(told["file"])) if told.get("file") else MemoryShelf()
    for name, instance in (told.get("instances") or {}).items():
        shelf.put("instances", name, {"id": name, **(instance or {})})
    return FakeProvider(clock, shelf, float(told.get("latency") or 0), tuple(told.get("without") or ()))

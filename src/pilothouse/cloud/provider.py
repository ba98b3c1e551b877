"""What a cloud can do, as its provider tells the controllers. Reference: "Cloud Controller Manager", and the interfaces of cloud providers there.

A provider is found by its entry point in the group `pilothouse.cloud_providers`: a callable of the configuration's text and a clock.
Each part is there or None; a controller whose part is None does not run. All calls may fail with CloudError; who calls (`guard.py`) sees
to retries, pauses and rates, so a provider does each thing once and tells what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Protocol, runtime_checkable

from pilothouse.client.metrics import Counter, Gauge, Histogram
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Api, Cache, Failure
from pilothouse.clock import Clock
from pilothouse.dataplane.model import Edge, UpstreamTls

Obj = dict[str, Any]

GROUP = "pilothouse.cloud_providers"


class CloudError(Failure):
    """The cloud could not do it. It may the next time."""


class InstanceNotFound(CloudError):
    """No instance belongs to this node."""


class Throttled(CloudError):
    """Too many calls; the next one after `seconds`, if the cloud says so."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class RetryAfter(CloudError):
    """Not done yet; look again after so many seconds. Nothing is wrong."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class ImplementedElsewhere(CloudError):
    """Another controller takes care of this load balancer: nothing is to be done or told."""


@dataclass(frozen=True, slots=True)
class InstanceMetadata:
    """What a node learns of the machine that it is. `addresses` are NodeAddress objects, `provider_id` is `<provider>://<id>`."""

    provider_id: str
    addresses: tuple[Obj, ...]
    instance_type: str = ""
    zone: str = ""
    region: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Zone:
    zone: str
    region: str


@dataclass(frozen=True, slots=True)
class Route:
    """A network's way to the pods of one node. `blackhole`: its target is gone."""

    name: str
    node: str
    destination: str
    blackhole: bool = False


class Instances(Protocol):
    """InstancesV2. Nodes are whole Node objects."""

    async def exists(self, node: Obj) -> bool: ...

    async def shut_down(self, node: Obj) -> bool: ...

    async def metadata(self, node: Obj) -> InstanceMetadata:
        """InstanceNotFound if there is none."""
        ...


class Zones(Protocol):
    """For providers whose instances' metadata do not tell."""

    async def zone(self, node: Obj) -> Zone: ...


class LoadBalancers(Protocol):
    """Load balancers of Services. `cluster` is the name of the cluster (`--cluster-name`); statuses are `status.loadBalancer` of a Service."""

    def name(self, cluster: str, service: Obj) -> str:
        """The load balancer's name at the cloud. See `default_name`."""
        ...

    async def get(self, cluster: str, service: Obj) -> Obj | None:
        """Its status; None where it does not exist."""
        ...

    async def ensure(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> Obj:
        """Make it or bring it to what the Service says, and tell its status. Doing so twice changes nothing."""
        ...

    async def update(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> None:
        """Only the nodes changed."""

    async def ensure_deleted(self, cluster: str, service: Obj) -> None:
        """Nothing of it is left, also where it was made only in part, or never."""


class Routes(Protocol):
    async def list(self, cluster: str) -> Sequence[Route]: ...

    async def create(self, cluster: str, route: Route, node: Obj) -> None: ...

    async def delete(self, cluster: str, route: Route) -> None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A Service's port, which the pool of this name stands for; the provider follows its endpoints."""

    pool: str
    namespace: str
    service: str
    #: The Service's port number.
    port: int
    #: The port's appProtocol: "" or HTTP, `kubernetes.io/h2c`, `kubernetes.io/ws`, `kubernetes.io/wss`, and `grpc` for what a GRPCRoute sends.
    app_protocol: str = ""
    tls: UpstreamTls | None = None


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """All that a Gateway (or the Ingresses of a class) asks of the data plane. Edges have the address "": the provider gives it."""

    #: `Gateway/namespace/name` or `IngressClass/name`.
    key: str
    edges: tuple[Edge, ...]
    backends: tuple[Backend, ...]
    #: Addresses that the user asks for, as spec.addresses: (type, value); an empty value leaves the choice.
    wanted: tuple[tuple[str, str], ...] = ()
    #: Addresses that it was given before, so that it keeps them.
    given: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayState:
    """What became of a plan: addresses as of status.addresses, and by the edge's name why one does not listen, or on which port else it does.

    A port is moved where this machine does not give the one that was asked for: it is taken, or needs a privilege.
    """

    addresses: tuple[Obj, ...]
    problems: dict[str, str] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)


class AddressNotUsable(CloudError):
    """A wanted address cannot be given: Programmed is False with AddressNotUsable."""


class Gateways(Protocol):
    """Gateways and Ingresses that the cloud carries."""

    async def ensure(self, plan: GatewayPlan) -> GatewayState: ...

    async def ensure_deleted(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a provider may look at: shared informers (they are synced before the first call), the clock, the cluster's name.

    `api` makes requests with the component's own identity. `event` records an Event in its name: the object that it is about, its kind,
    Normal or Warning, a reason, a message; it never fails and never waits.
    """

    clock: Clock
    cluster: str
    cache: Callable[[Kind], Cache]
    api: Api
    event: Callable[[Obj, Kind, str, str, str], None]


class Provider(Protocol):
    """One cloud. `start` comes before everything else and `close` after; parts are asked for once, after `start`.

    A `start` that fails with CloudError or OSError is followed by `close`, a pause, and another `start`.
    """

    name: str

    async def start(self, around: Surroundings) -> None: ...

    async def close(self) -> None: ...

    def instances(self) -> Instances | None: ...

    def zones(self) -> Zones | None: ...

    def load_balancers(self) -> LoadBalancers | None: ...

    def routes(self) -> Routes | None: ...

    def gateways(self) -> Gateways | None: ...


@runtime_checkable
class Measured(Protocol):
    """A provider that has metrics of its own, beside those of its calls."""

    def metrics(self) -> Sequence[Counter | Gauge | Histogram]: ...


#: Makes a provider of the text of `--cloud-config` ("" without). ValueError, in one line, for a configuration that cannot be.
Factory = Callable[[str, Clock], Provider]


def load(name: str, config: str, clock: Clock) -> Provider:
    """The provider of this name. ValueError where there is none, or where its configuration cannot be."""
    points = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name not in points:
        raise ValueError(f"--cloud-provider: there is no provider {name!r}; there are {', '.join(sorted(points)) or 'none'}")
    try:
        factory: Factory = points[name].load()
    except ImportError as error:
        raise ValueError(f"--cloud-provider: {name} needs what is not installed: {error}") from None
    return factory(config, clock)


def default_name(service: Obj) -> str:
    """The name that most clouds give a Service's load balancer: `a` and the uid without dashes, 32 characters."""
    return ("a" + service["metadata"]["uid"].replace("-", ""))[:32]

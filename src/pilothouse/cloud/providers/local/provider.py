"""The local provider: its parts around one range of addresses, one data plane, and the pools that follow the cluster's endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pilothouse.client.metrics import Counter, Gauge, Histogram
from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, NODES, SERVICES
from pilothouse.clock import Clock
from pilothouse.cloud.provider import Gateways, Instances, LoadBalancers, Routes, Surroundings, Zones
from pilothouse.cloud.providers.local import ports
from pilothouse.cloud.providers.local.addresses import Addresses
from pilothouse.cloud.providers.local.config import Config
from pilothouse.cloud.providers.local.gateways import LocalGateways
from pilothouse.cloud.providers.local.instances import NAME, LocalInstances
from pilothouse.cloud.providers.local.plane import Plane
from pilothouse.cloud.providers.local.pools import Pools
from pilothouse.cloud.providers.local.services import BY_ADDRESS, LocalLoadBalancers, addresses_of
from pilothouse.dataplane.engine import Engine


class LocalProvider:
    """`make` and `probe` are for tests: another way to an engine, and to know whether a port is free."""

    name = NAME

    def __init__(
        self, config: Config, clock: Clock, make: Callable[[], Engine] | None = None, probe: ports.Probe = ports.probe
    ) -> None:
        self._config = config
        self._clock = clock
        self._plane = Plane(make or self._engine, probe)
        self._following: asyncio.Task[None] | None = None
        self._load_balancers: LocalLoadBalancers | None = None
        self._gateways: LocalGateways | None = None

    async def start(self, around: Surroundings) -> None:
        services = around.cache(SERVICES)
        services.add_index(BY_ADDRESS, addresses_of)
        pools = Pools(self._plane, services, around.cache(ENDPOINT_SLICES), around.cache(NODES), around.clock)
        addresses = Addresses(self._config)
        self._load_balancers = LocalLoadBalancers(addresses, self._plane, pools, around, services)
        self._gateways = LocalGateways(addresses, self._plane, pools, around, services)
        self._following = asyncio.create_task(pools.run(), name="local pools")

    async def close(self) -> None:
        """End every front. Addresses are found again by the statuses that tell them."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        self._load_balancers = self._gateways = None
        await self._plane.close()

    def instances(self) -> Instances | None:
        return LocalInstances()

    def zones(self) -> Zones | None:
        return None

    def load_balancers(self) -> LoadBalancers | None:
        return self._load_balancers

    def routes(self) -> Routes | None:
        return None

    def gateways(self) -> Gateways | None:
        return self._gateways

    def metrics(self) -> Sequence[Counter | Gauge | Histogram]:
        return self._plane.metrics()

    def _engine(self) -> Engine:
        from pilothouse.dataplane.choose import make_engine

        return make_engine(self._config.engine, self._clock)

"""The provider itself: makes its parts and starts and stops what they share."""

from __future__ import annotations

from pilothouse.clock import Clock
from pilothouse.cloud.provider import Gateways, Instances, LoadBalancers, Routes, Surroundings, Zones
from pilothouse.cloud.providers.aws.calls import Calls
from pilothouse.cloud.providers.aws.config import Settings
from pilothouse.cloud.providers.aws.instances import Ec2Instances
from pilothouse.cloud.providers.aws.network import Network
from pilothouse.cloud.providers.aws.routes import VpcRoutes


class Aws:
    """See `cloud/provider.py`."""

    name = "aws"

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._calls = Calls(settings)
        self._instances: Ec2Instances | None = None
        self._routes: VpcRoutes | None = None

    async def start(self, around: Surroundings) -> None:
        await self._calls.start()
        self._instances = Ec2Instances(self._calls, self._settings, around)
        network = Network(self._calls, self._settings)
        self._routes = VpcRoutes(self._calls, self._settings, around, self._instances, network)

    async def close(self) -> None:
        await self._calls.close()

    def instances(self) -> Instances | None:
        return self._instances

    def zones(self) -> Zones | None:
        return None  # instances' metadata tell

    def load_balancers(self) -> LoadBalancers | None:
        return None

    def routes(self) -> Routes | None:
        return self._routes

    def gateways(self) -> Gateways | None:
        return None

"""The provider itself: makes its parts and starts and stops what they share."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, NODES
from pilothouse.client.service_endpoints import ServiceEndpoints
from pilothouse.clock import Clock
from pilothouse.cloud.provider import Gateways, Instances, LoadBalancers, Routes, Surroundings, Zones
from pilothouse.cloud.providers.aws.calls import Calls
from pilothouse.cloud.providers.aws.certificates import Certificates
from pilothouse.cloud.providers.aws.config import Settings
from pilothouse.cloud.providers.aws.follow import Follower
from pilothouse.cloud.providers.aws.gateways import ApplicationLoadBalancers
from pilothouse.cloud.providers.aws.instances import Ec2Instances
from pilothouse.cloud.providers.aws.network import Network
from pilothouse.cloud.providers.aws.routes import VpcRoutes
from pilothouse.cloud.providers.aws.services import NetworkLoadBalancers
from pilothouse.cloud.providers.aws.stack import Stacks


class Aws:
    """See `cloud/provider.py`."""

    name = "aws"

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._calls = Calls(settings)
        self._instances: Ec2Instances | None = None
        self._routes: VpcRoutes | None = None
        self._balancers: NetworkLoadBalancers | None = None
        self._gateways: ApplicationLoadBalancers | None = None
        self._follower = Follower(clock)

    async def start(self, around: Surroundings) -> None:
        await self._calls.start()  # what can fail comes first: caches are followed once
        instances = Ec2Instances(self._calls, self._settings, around)
        network = Network(self._calls, self._settings)
        stacks = Stacks(self._calls, self._clock)
        endpoints = ServiceEndpoints(around.cache(ENDPOINT_SLICES), around.cache(NODES), self._follower.changed)
        self._instances = instances
        self._routes = VpcRoutes(self._calls, self._settings, around, instances, network)
        self._balancers = NetworkLoadBalancers(self._settings, around, instances, network, stacks, endpoints, self._follower)
        self._gateways = ApplicationLoadBalancers(
            self._settings, around, instances, network, stacks, Certificates(self._calls), endpoints, self._follower
        )
        self._follower.start()

    async def close(self) -> None:
        await self._follower.stop()
        await self._calls.close()

    def instances(self) -> Instances | None:
        return self._instances

    def zones(self) -> Zones | None:
        return None  # instances' metadata tell

    def load_balancers(self) -> LoadBalancers | None:
        return self._balancers

    def routes(self) -> Routes | None:
        return self._routes

    def gateways(self) -> Gateways | None:
        return self._gateways

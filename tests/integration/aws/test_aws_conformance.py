"""The suite that every provider has to pass, on the provider aws against moto's server. Its Services are those of an API server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from aws_world import REGION, World

from pilothouse.clock import Clock
from pilothouse.cloud.provider import Obj, Provider
from pilothouse.cloud.providers.aws import make
from pilothouse.testing.cloud_conformance import CloudConformance, Leftovers


class TestAws(CloudConformance):
    @pytest.fixture
    def nodes(self, world: World) -> list[Obj]:
        found = [_fresh(n) for n in world.add_nodes(2)]
        world.remember()
        return found

    @pytest.fixture
    def another(self, world: World, clock: Clock) -> Callable[[], Provider]:
        config = f"[Global]\nZone = {REGION}a\nVPC = {world.vpc}\nEndpointURL = {world.server.url}\n"
        return lambda: make(config, clock)

    @pytest.fixture
    def provider(self, another: Callable[[], Provider]) -> Provider:
        return another()

    @pytest.fixture
    def port(self) -> int:
        return 80

    @pytest.fixture
    def leftovers(self, world: World, nodes: list[Obj]) -> Leftovers:
        async def left() -> Sequence[str]:
            now = world.inventory()
            return [f"{what} {thing}" for what in now for thing in now[what] if thing not in world.at_start[what]]

        return left


def _fresh(node: Obj) -> Obj:
    """As a kubelet registers it."""
    assert re.fullmatch(r"ip-[0-9-]+\.ec2\.internal", node["metadata"]["name"])
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node["metadata"]["name"]}, "spec": node["spec"]}

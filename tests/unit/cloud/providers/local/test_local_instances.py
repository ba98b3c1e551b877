"""Nodes as instances of this machine."""

from __future__ import annotations

from typing import Any

import pytest
from local_world import World

from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import load


def node(**labels: str) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": "10.192.0.1"}]
    return {"metadata": {"name": "node-1", "labels": labels}, "status": {"addresses": addresses}}


async def test_a_node_is_what_it_says_it_is(world: World) -> None:
    instances = world.provider.instances()
    assert instances is not None
    told = await instances.metadata(node(**{"topology.kubernetes.io/zone": "zone-a"}))
    assert told.provider_id == "local://node-1"
    assert told.addresses == ({"type": "InternalIP", "address": "10.192.0.1"},)
    assert (told.instance_type, told.region, told.zone) == ("local.simulated", "local", "zone-a")


async def test_a_node_is_there_as_long_as_somebody_keeps_it(world: World) -> None:
    instances = world.provider.instances()
    assert instances is not None
    assert await instances.exists(node())
    assert not await instances.shut_down(node())


async def test_there_are_no_routes_and_no_zones_of_their_own(world: World) -> None:
    assert world.provider.routes() is None
    assert world.provider.zones() is None


def test_the_provider_is_found_by_its_name_and_refuses_a_configuration_in_one_line() -> None:
    assert load("local", "", SystemClock()).name == "local"
    with pytest.raises(ValueError, match=r"^--cloud-config: engine is 'x'"):
        load("local", "engine: x", SystemClock())

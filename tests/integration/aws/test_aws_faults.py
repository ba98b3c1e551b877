"""Faults at every call, and an end at every call: what is there in the end is the same, nothing is made twice, nothing is left."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aws_world import CLUSTER, World, until_done
from test_aws_drift import shape

from pilothouse.cloud.provider import CloudError

Work = Callable[[Any], Awaitable[Any]]


@pytest.fixture
def service(world: World) -> dict:
    world.add_node(0)
    world.add_node(1)
    world.remember()
    annotations = {"cross-zone-load-balancing-enabled": "true", "healthcheck-protocol": "http"}
    return world.add_service(annotations=annotations)


async def calls_of(world: World, work: Work) -> list[str]:
    """The calls that it takes."""
    async with world.provider() as aws:
        world.faults.clear()
        await work(aws)
        return world.faults.calls


def changing(calls: list[str]) -> list[int]:
    """The numbers of those that change something."""
    return [n for n, name in enumerate(calls, 1) if not name.startswith("Describe")]


def after_changes(calls: list[str]) -> list[int]:
    """The numbers of the first call and of those after a change: whoever ends there leaves all that can be left."""
    return [1, *(n + 1 for n in changing(calls) if n < len(calls))]


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_fault_at_any_call_leads_to_the_same_end(world: World, service: dict, carried_out: bool) -> None:
    """`carried_out`: AWS does what it is asked for, and the answer is lost on its way."""

    def ensure(aws: Any) -> Awaitable[Any]:
        return aws.load_balancers().ensure(CLUSTER, service, world.nodes)

    def delete(aws: Any) -> Awaitable[Any]:
        return aws.load_balancers().ensure_deleted(CLUSTER, service)

    calls = await calls_of(world, ensure)
    good = shape(world)
    calls_to_delete = await calls_of(world, delete)
    assert world.inventory() == world.at_start
    assert len(calls) > 15 and len(calls_to_delete) > 8
    ways = ["lose"] if carried_out else ["throttle", "break"]
    numbers = changing(calls) if carried_out else range(1, len(calls) + 1)
    numbers_to_delete = changing(calls_to_delete) if carried_out else range(1, len(calls_to_delete) + 1)
    for n, m in itertools.zip_longest(numbers, numbers_to_delete, fillvalue=1):
        async with world.provider() as aws:
            world.faults.spoil(n, ways[n % len(ways)])
            await until_done(lambda aws=aws: ensure(aws))
            if n in changing(calls):
                assert shape(world) == good, f"ensure, call {n}"
            world.faults.spoil(m, ways[n % len(ways)])
            await until_done(lambda aws=aws: delete(aws))
        assert world.inventory() == world.at_start, f"delete, call {m}"


async def test_a_provider_that_ends_at_any_call_is_succeeded_by_one_that_finishes(world: World, service: dict) -> None:
    """Of the first one nothing but what AWS has is left: no memory, no status."""

    async def half(n: int, work: Work) -> None:
        async with world.provider() as aws:
            world.faults.spoil(n, "break")
            with pytest.raises(CloudError):
                await work(aws)

    async def whole(work: Work) -> None:
        async with world.provider() as aws:
            world.faults.clear()
            await work(aws)

    def ensure(aws: Any) -> Awaitable[Any]:
        return aws.load_balancers().ensure(CLUSTER, service, world.nodes)

    def delete(aws: Any) -> Awaitable[Any]:
        return aws.load_balancers().ensure_deleted(CLUSTER, service)

    calls = await calls_of(world, ensure)
    good = shape(world)
    calls_to_delete = await calls_of(world, delete)
    for n in after_changes(calls):
        await half(n, ensure)
        if n % 2:  # made in part, and still wanted
            await whole(ensure)
            assert shape(world) == good, f"call {n}"
        await whole(delete)
        assert world.inventory() == world.at_start, f"call {n}"
    for n in after_changes(calls_to_delete):
        await whole(ensure)
        await half(n, delete)
        if n % 2:  # half gone, and wanted again
            await whole(ensure)
            assert shape(world) == good, f"delete, call {n}"
        await whole(delete)
        assert world.inventory() == world.at_start, f"delete, call {n}"


async def test_a_fault_in_an_update_is_put_right_by_the_next_one(world: World, service: dict) -> None:
    async with world.provider() as aws:
        await aws.load_balancers().ensure(CLUSTER, service, world.nodes[:1])
        for n in range(1, 12):
            nodes = world.nodes if n % 2 else world.nodes[1:]
            world.faults.spoil(n, "throttle")
            await until_done(lambda nodes=nodes: aws.load_balancers().update(CLUSTER, service, nodes))
            assert world.targets(80) == sorted((node["metadata"]["uid"], 30080) for node in nodes)

"""Whatever fails on the way, and whoever is started again: the end is the same."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.api import errors
from pilothouse.client.reconcile.kinds import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS
from pilothouse.controllers.deployment import DeploymentController
from pilothouse.controllers.garbage_collector import GarbageCollector
from pilothouse.controllers.replicaset import ReplicaSetController

from .builders import deployment, rolling
from .cluster import Cluster, copy


def images(cluster: Cluster) -> list[str]:
    return [p["spec"]["containers"][0]["image"] for p in cluster.all(PODS) if not p["metadata"].get("deletionTimestamp")]


async def nodes_work(cluster: Cluster, rounds: int, seconds: float = 10) -> None:
    for _ in range(rounds):
        await cluster.settle(seconds)
        await cluster.run_pods()
        await cluster.end_pods()


async def change_image(cluster: Cluster, image: str) -> None:
    body = copy(cluster.find(DEPLOYMENTS, "d"))
    body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    body["metadata"].pop("resourceVersion")
    refuse, cluster.refuse = cluster.refuse, lambda verb, kind, obj: None
    await cluster.update(DEPLOYMENTS, body)
    cluster.refuse = refuse


@pytest.mark.parametrize("seed", range(8))
async def test_a_rollout_ends_though_a_third_of_all_requests_fail(seed):
    dice = random.Random(seed)
    trouble = [
        errors.internal("no"),
        ConnectionError("gone"),
        errors.conflict("", "x", "y", "changed"),
        errors.too_many_requests("busy"),
    ]
    async with Cluster(seed) as cluster:
        cluster.start(DeploymentController, ReplicaSetController)
        await cluster.create(DEPLOYMENTS, deployment(5, strategy=rolling(2, 1)))
        cluster.refuse = lambda verb, kind, obj: dice.choice(trouble) if dice.random() < 0.33 else None
        await cluster.settle(30)
        cluster.refuse, faults = (lambda verb, kind, obj: None), cluster.refuse
        await cluster.run_pods()
        cluster.refuse = faults
        await change_image(cluster, "v2")
        for _ in range(12):
            await cluster.settle(60)
            cluster.refuse = lambda verb, kind, obj: None
            await cluster.run_pods()
            await cluster.end_pods()
            cluster.refuse = faults
        cluster.refuse = lambda verb, kind, obj: None
        await nodes_work(cluster, 6, 400)
        assert images(cluster) == ["v2"] * 5


@pytest.mark.parametrize("seed", range(6))
async def test_a_rollout_ends_though_its_controllers_are_killed_at_any_moment(seed):
    dice = random.Random(seed)
    async with Cluster(seed) as cluster:
        await cluster.create(DEPLOYMENTS, deployment(6, strategy=rolling(2, 1)))
        for step in range(14):
            controllers = cluster.start(DeploymentController, ReplicaSetController)
            if step == 4:
                await change_image(cluster, "v2")
            await cluster.clock.advance(dice.choice([0.0, 0.001, 0.01, 0.5]))
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)
            await cluster.stop()
            cluster.tasks.clear()
            for cache in cluster.caches.values():
                cache.handlers.clear()
            del controllers
            await cluster.run_pods()
            await cluster.end_pods()
        cluster.start(DeploymentController, ReplicaSetController)
        await nodes_work(cluster, 10)
        assert images(cluster) == ["v2"] * 6
        assert len([s for s in cluster.all(REPLICA_SETS) if s["spec"]["replicas"]]) == 1


async def test_two_of_each_at_once_end_where_one_would():
    async with Cluster() as cluster:
        cluster.start(DeploymentController, ReplicaSetController, DeploymentController, ReplicaSetController)
        await cluster.create(DEPLOYMENTS, deployment(4))
        await nodes_work(cluster, 5)
        await change_image(cluster, "v2")
        await nodes_work(cluster, 12)
        assert images(cluster) == ["v2"] * 4


def survivors(owners: dict[int, set[int]], deleted: set[int]) -> set[int]:
    """Who is left: the deleted are gone, and then, again and again, whoever has owners but none that is left."""
    left = set(owners) - deleted
    while True:
        kept = {n for n in left if not owners[n] or owners[n] & left}
        if kept == left:
            return left
        left = kept


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sets(st.integers(0, 9), max_size=3), min_size=1, max_size=10),
    st.sets(st.integers(0, 9)),
    st.integers(0, 3),
    st.booleans(),
)
def test_what_is_left_is_what_has_an_owner_left(refs, deleted, faults, foreground):
    owners = {n: {o for o in each if o < n} for n, each in enumerate(refs)}
    deleted &= set(owners)

    async def story() -> set[int]:
        dice = random.Random(faults)
        async with Cluster() as cluster:
            cluster.start(GarbageCollector)
            made: dict[int, dict] = {}
            for n, mine in owners.items():
                links = [
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "name": f"c{o}",
                        "uid": made[o]["metadata"]["uid"],
                        "blockOwnerDeletion": o % 2 == 0,
                    }
                    for o in mine
                ]
                made[n] = await cluster.create(CONFIG_MAPS, {"metadata": {"name": f"c{n}", "ownerReferences": links}})
            await cluster.settle()
            for n in deleted:
                policy = "Foreground" if foreground and n % 2 else "Background"
                with contextlib.suppress(errors.StatusError):  # it may have gone with its owners by now
                    await cluster.delete(CONFIG_MAPS, "ns", f"c{n}", {"propagationPolicy": policy})
            if faults:
                cluster.refuse = lambda verb, kind, obj: errors.internal("no") if dice.random() < 0.3 else None
            await cluster.settle(600 if faults else 60)
            return {int(o["metadata"]["name"][1:]) for o in cluster.all(CONFIG_MAPS)}

    assert asyncio.run(story()) == survivors(owners, deleted)

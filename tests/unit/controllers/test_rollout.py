from __future__ import annotations

import pytest

from pilothouse.api import errors
from pilothouse.client.reconcile.kinds import DEPLOYMENTS, PODS, REPLICA_SETS
from pilothouse.controllers.deployment import DeploymentController
from pilothouse.controllers.replicaset import ReplicaSetController

from .builders import deployment, rolling
from .cluster import Cluster, copy


async def a_running_deployment(cluster: Cluster, replicas: int, **how) -> None:
    cluster.start(DeploymentController, ReplicaSetController)
    await cluster.create(DEPLOYMENTS, deployment(replicas, **how))
    await cluster.settle()
    await cluster.run_pods()
    await cluster.settle()


async def set_image(cluster: Cluster, image: str) -> None:
    body = copy(cluster.find(DEPLOYMENTS, "d"))
    body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    await cluster.update(DEPLOYMENTS, body)
    await cluster.settle()


def told(cluster: Cluster) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in cluster.find(DEPLOYMENTS, "d")["status"]["conditions"]}


async def test_a_deployment_becomes_available():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 3)
        d = cluster.find(DEPLOYMENTS, "d")
        numbers = {k: v for k, v in d["status"].items() if k != "conditions"}
        assert numbers == {
            "observedGeneration": 1,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "terminatingReplicas": 0,
        }
        assert told(cluster) == {
            "Available": ("True", "MinimumReplicasAvailable"),
            "Progressing": ("True", "NewReplicaSetAvailable"),
        }
        assert d["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}
        (owner,) = cluster.all(REPLICA_SETS)
        assert (
            "Deployment/d",
            "ScalingReplicaSet",
            f"Scaled up replica set {owner['metadata']['name']} from 0 to 3",
        ) in cluster.events
        assert sum(reason == "SuccessfulCreate" for _, reason, _ in cluster.events) == 3


async def test_a_controller_at_rest_makes_no_writes():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 3)
        cluster.writes.clear()
        await cluster.settle(3600)
        assert cluster.writes == []


async def test_a_rollout_replaces_all_pods_and_keeps_enough_of_them():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 4, strategy=rolling(1, 1))
        await set_image(cluster, "v2")
        for _ in range(10):
            running = [p for p in cluster.all(PODS) if not p["metadata"].get("deletionTimestamp")]
            ready = [p for p in running if p["spec"].get("nodeName")]
            assert len(running) <= 5
            assert len(ready) >= 3
            await cluster.run_pods()
            await cluster.end_pods()
            await cluster.settle()
        assert {p["spec"]["containers"][0]["image"] for p in cluster.all(PODS)} == {"v2"}
        assert len(cluster.all(PODS)) == 4
        assert told(cluster)["Progressing"] == ("True", "NewReplicaSetAvailable")


async def test_a_stuck_rollout_is_told_when_its_deadline_passes():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 2, spec={"progressDeadlineSeconds": 60})
        await set_image(cluster, "v2")
        await cluster.settle(40)
        assert told(cluster)["Progressing"][0] == "True"
        await cluster.settle(30)
        assert told(cluster)["Progressing"] == ("False", "ProgressDeadlineExceeded")


async def test_an_old_set_of_the_same_template_comes_back_as_a_new_revision():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 1, strategy={"type": "Recreate"})
        for image in ("v2", "v1"):
            await set_image(cluster, image)
            await cluster.end_pods()
            await cluster.settle()
            await cluster.run_pods()
            await cluster.settle()
        assert len(cluster.all(REPLICA_SETS)) == 2
        assert cluster.find(DEPLOYMENTS, "d")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        first = cluster.all(REPLICA_SETS)[0]
        assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


async def test_min_ready_seconds_are_waited_for():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 2, spec={"minReadySeconds": 30})
        assert "availableReplicas" not in cluster.find(DEPLOYMENTS, "d")["status"]
        await cluster.settle(30)
        assert cluster.find(DEPLOYMENTS, "d")["status"]["availableReplicas"] == 2


async def test_a_name_that_is_taken_leads_to_another_hash():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 1)
        (first,) = cluster.all(REPLICA_SETS)
        released = copy(first)
        released["metadata"]["labels"]["app"] = "other"
        await cluster.update(REPLICA_SETS, released)
        await cluster.settle()
        assert cluster.find(DEPLOYMENTS, "d")["status"]["collisionCount"] == 1
        names = {s["metadata"]["name"] for s in cluster.all(REPLICA_SETS)}
        assert len(names) == 2
        assert cluster.find(REPLICA_SETS, first["metadata"]["name"])["metadata"]["ownerReferences"] == []


async def test_a_lost_pod_is_replaced_and_an_orphan_is_adopted():
    async with Cluster() as cluster:
        await a_running_deployment(cluster, 2)
        lost, released = cluster.all(PODS)
        await cluster.delete(PODS, "ns", lost["metadata"]["name"], {"gracePeriodSeconds": 0})
        body = copy(released)
        body["metadata"]["labels"] = {"app": "other"}
        await cluster.update(PODS, body)
        await cluster.settle()
        assert len(cluster.all(PODS)) == 3
        assert cluster.find(PODS, released["metadata"]["name"])["metadata"]["ownerReferences"] == []
        (owner,) = cluster.all(REPLICA_SETS)
        body = copy(cluster.find(PODS, released["metadata"]["name"]))
        body["metadata"]["labels"] = owner["metadata"]["labels"]
        await cluster.update(PODS, body)
        await cluster.settle()
        mine = [p for p in cluster.all(PODS) if p["metadata"].get("ownerReferences")]
        assert len(mine) == 2


async def test_a_refusal_is_reported_and_tried_again():
    async with Cluster() as cluster:
        full = errors.forbidden_error("", "pods", "", "exceeded quota")
        cluster.refuse = lambda verb, kind, obj: full if (verb, kind) == ("create", PODS) else None
        cluster.start(DeploymentController, ReplicaSetController)
        await cluster.create(DEPLOYMENTS, deployment(3))
        await cluster.settle()
        assert told(cluster)["ReplicaFailure"] == ("True", "FailedCreate")
        assert sum(w == ("create", "pods") for w in cluster.writes) < 15
        cluster.refuse = lambda verb, kind, obj: None
        await cluster.settle(30)
        assert len(cluster.all(PODS)) == 3
        assert "ReplicaFailure" not in told(cluster)


@pytest.mark.parametrize("seed", range(3))
async def test_a_big_set_is_made_once(seed):
    async with Cluster(seed) as cluster:
        cluster.start(DeploymentController, ReplicaSetController)
        await cluster.create(DEPLOYMENTS, deployment(120))
        await cluster.settle(30)
        assert len(cluster.all(PODS)) == 120
        assert sum(w == ("create", "pods") for w in cluster.writes) == 120

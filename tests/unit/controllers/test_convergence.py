"""Whatever a controller finds, and whatever fails on the way, it ends where it should, and then is still.

Each story begins with a state that nobody would make on purpose: objects half made, twice, of owners that are gone or never were, with
labels that do not fit and a status that lies. Then caches lag and requests fail for a while, and controllers are started anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import errors
from pilothouse.client.reconcile import kinds as known
from pilothouse.client.reconcile.kinds import PODS
from pilothouse.client.reconcile.objects import condition, controller_of, controller_uid, is_deleting, uid
from pilothouse.clock import rfc3339
from pilothouse.controllers import daemonset_nodes, job_indexes, statefulset_identity
from pilothouse.controllers.cronjob import CronJobController
from pilothouse.controllers.daemonset import DaemonSetController
from pilothouse.controllers.deployment import DeploymentController
from pilothouse.controllers.disruption import DisruptionController
from pilothouse.controllers.garbage_collector import GarbageCollector
from pilothouse.controllers.job import JobController
from pilothouse.controllers.job_plan import FINALIZER
from pilothouse.controllers.pods import is_active, is_ready
from pilothouse.controllers.replicaset import ReplicaSetController
from pilothouse.controllers.resourcequota import ResourceQuotaController
from pilothouse.controllers.statefulset import StatefulSetController

from .builders import NOW, Obj, daemon_set, deployment, job, node, pod, replica_set, rolling, stateful_set
from .cluster import Cluster

Seed = st.integers(0, 10**9)
CONTROLLERS = (
    CronJobController,
    DaemonSetController,
    DeploymentController,
    DisruptionController,
    GarbageCollector,
    JobController,
    ReplicaSetController,
    ResourceQuotaController,
    StatefulSetController,
)
#: The most seconds by which caches are behind.
LAG = 1.0
story = settings(max_examples=8, deadline=None)


class Chaos:
    """A cluster in which nothing can be relied on, until `calm`."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        self.cluster = cluster
        self.dice = dice

    def _fault(self, verb: str, kind: known.Kind, obj: Obj) -> Exception | None:
        if self.dice.random() > 0.25:
            return None
        conflict = errors.conflict("", "x", "y", "changed")
        return self.dice.choice(
            (conflict, conflict, errors.internal("no"), ConnectionError("gone"), errors.too_many_requests("busy"))
        )

    async def put(self, kind: known.Kind, obj: Obj) -> Obj:
        """An object as it is, uid and status included."""
        body = await self.cluster.create(kind, obj)
        if status := obj.get("status"):
            body = await self.cluster.update(kind, {**body, "status": status}, "status")
        return body

    def owner(self, kind: known.Kind, of: Obj) -> Obj:
        meta = of["metadata"]
        return {"apiVersion": kind.api_version, "kind": kind.kind, "name": meta["name"], "uid": meta["uid"], "controller": True}

    def strange_pod(self, name: str, kind: known.Kind, of: Obj, **labels: str) -> Obj:
        """A pod of this owner, of an owner that is gone, or of nobody; with labels that fit or not; in any state."""
        dice = self.dice
        mine, gone = self.owner(kind, of), {**self.owner(kind, of), "uid": "former"}
        refs = dice.choice(([mine], [mine], [mine], [], [gone]))
        fits = dice.random() < 0.8
        meta: Obj = {"ownerReferences": refs, "labels": {**labels, "app": "a" if fits else "z"}}
        if dice.random() < 0.15:
            meta |= {"deletionTimestamp": rfc3339(self.cluster.clock.now()), "deletionGracePeriodSeconds": 30}
        phase = dice.choice(("Running", "Running", "Running", "Pending", "Failed", "Succeeded"))
        where = dice.choice(("n0", "n1", "")) if phase == "Pending" else dice.choice(("n0", "n1"))
        return pod(name, node=where, phase=phase, ready=dice.choice((None, 5)) if phase == "Running" else None, metadata=meta)

    async def trouble(self, rounds: int) -> None:
        cluster, dice = self.cluster, self.dice
        cluster.lag = lambda: dice.choice((0.0, 0.0, 0.01, LAG))
        for _ in range(rounds):
            cluster.refuse = self._fault
            await cluster.settle(dice.choice((0.01, 1.0, 20.0)))
            if dice.random() < 0.4:
                await self.restart()
            cluster.refuse = lambda verb, kind, obj: None
            await self.nodes_work()
        cluster.lag = lambda: 0.0

    async def restart(self) -> None:
        """A new process begins with fresh lists."""
        await self.cluster.stop()
        await self.cluster.settle(LAG)
        self.cluster.tasks.clear()
        for cache in self.cluster.caches.values():
            cache.handlers.clear()
        self.cluster.start(*CONTROLLERS)

    async def nodes_work(self) -> None:
        """Bind and run pods, end those of Jobs, finish those that are being deleted."""
        await self.cluster.run_pods()
        for each in self.cluster.all(PODS):
            if each["status"]["phase"] in ("Pending", "Running") and not is_ready(each):
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(self.cluster.clock.now())}
                await self.cluster.patch(
                    PODS,
                    "ns",
                    each["metadata"]["name"],
                    {"status": {"phase": "Running", "conditions": [ready]}},
                    "merge",
                    "status",
                )
            owner = controller_of(each) or {}
            if owner.get("kind") == "Job" and each["status"]["phase"] in ("Pending", "Running"):
                await self.cluster.patch(
                    PODS, "ns", each["metadata"]["name"], {"status": {"phase": "Succeeded"}}, "merge", "status"
                )
        await self.cluster.end_pods()

    async def calm(self) -> None:
        for _ in range(14):
            await self.cluster.settle(60)
            await self.nodes_work()
        await self.cluster.settle(1000)

    async def rest(self) -> None:
        """No writes while nothing happens."""
        before = list(self.cluster.writes)
        await self.cluster.settle(1300)
        assert self.cluster.writes[len(before) :] == []


def live(seed: int, begin: Callable[[Chaos], Awaitable[None]], check: Callable[[Cluster], None]) -> None:
    """One story, from its beginning to its end."""

    async def tell() -> None:
        async with Cluster(seed) as cluster:
            chaos = Chaos(cluster, random.Random(seed))
            for n in range(2):
                await cluster.create(known.NODES, node(f"n{n}"))
            await begin(chaos)
            cluster.start(*CONTROLLERS)
            await chaos.trouble(6)
            await chaos.calm()
            check(cluster)
            await chaos.rest()

    asyncio.run(tell())


def owned(cluster: Cluster, owner: Obj) -> list[Obj]:
    return [p for p in cluster.all(PODS) if controller_uid(p) == uid(owner) and not is_deleting(p)]


def active(cluster: Cluster, owner: Obj) -> list[Obj]:
    return [p for p in owned(cluster, owner) if is_active(p)]


def image(each: Obj) -> str:
    return str(each["spec"]["containers"][0]["image"])


LIE = {"replicas": 77, "readyReplicas": 50, "observedGeneration": 1}


@story
@given(Seed, st.integers(0, 6))
def test_a_replica_set_ends_with_its_pods(seed, wanted):
    async def begin(chaos: Chaos) -> None:
        made = await chaos.put(known.REPLICA_SETS, {**replica_set("r", wanted), "status": LIE})
        for n in range(chaos.dice.randrange(8)):
            await chaos.put(PODS, chaos.strange_pod(f"p{n}", known.REPLICA_SETS, made, **{"pod-template-hash": "r"}))

    def check(cluster: Cluster) -> None:
        found = cluster.find(known.REPLICA_SETS, "r")
        assert found is not None
        assert len(active(cluster, found)) == found["status"]["replicas"] == found["status"].get("readyReplicas", 0) == wanted

    live(seed, begin, check)


@story
@given(Seed, st.integers(0, 4))
def test_a_deployment_ends_with_pods_of_its_template_only(seed, wanted):
    async def begin(chaos: Chaos) -> None:
        dice = chaos.dice
        surge, missing = dice.choice(((1, 0), (0, 1), ("25%", "25%"), (2, 1)))
        of = deployment(wanted, image="v9", strategy=rolling(surge, missing) if dice.random() < 0.7 else {"type": "Recreate"})
        made = await chaos.put(known.DEPLOYMENTS, {**of, "status": dice.choice(({}, LIE))})
        for n in range(dice.randrange(4)):
            each = replica_set(f"r{n}", dice.randrange(4), image=dice.choice(("v1", "v2", "v9")))
            each["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": dice.choice(("1", "2", "x", "9"))}
            gone = {**chaos.owner(known.DEPLOYMENTS, made), "uid": "former"}
            each["metadata"]["ownerReferences"] = dice.choice(([chaos.owner(known.DEPLOYMENTS, made)], [], [gone]))
            each = await chaos.put(known.REPLICA_SETS, each)
            for m in range(dice.randrange(3)):
                name = f"{each['metadata']['name']}-{m}"
                body = chaos.strange_pod(name, known.REPLICA_SETS, each, **each["spec"]["selector"]["matchLabels"])
                body["spec"]["containers"] = each["spec"]["template"]["spec"]["containers"]
                await chaos.put(PODS, body)

    def check(cluster: Cluster) -> None:
        found = cluster.find(known.DEPLOYMENTS, "d")
        assert found is not None
        sets = [s for s in cluster.all(known.REPLICA_SETS) if controller_uid(s) == uid(found)]
        images = [image(s["spec"]["template"]) for s in sets for _ in active(cluster, s)]
        assert images == ["v9"] * wanted
        assert [found["status"].get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")] == [wanted] * 3

    live(seed, begin, check)


@story
@given(Seed)
def test_a_daemon_set_ends_with_one_new_pod_on_each_node(seed):
    async def begin(chaos: Chaos) -> None:
        dice = chaos.dice
        strategy = {
            "type": "RollingUpdate",
            "rollingUpdate": dice.choice(({"maxUnavailable": 1}, {"maxSurge": 1, "maxUnavailable": 0})),
        }
        made = await chaos.put(known.DAEMON_SETS, daemon_set(image="v9", strategy=strategy))
        for n in range(dice.randrange(6)):
            body = chaos.strange_pod(
                f"p{n}", known.DAEMON_SETS, made, **{daemonset_nodes.HASH_LABEL: dice.choice(("old", "older"))}
            )
            await chaos.put(PODS, body)

    def check(cluster: Cluster) -> None:
        found = cluster.find(known.DAEMON_SETS, "ds")
        assert found is not None
        assert sorted((daemonset_nodes.target(p), image(p)) for p in active(cluster, found)) == [("n0", "v9"), ("n1", "v9")]
        assert found["status"]["numberAvailable"] == found["status"]["updatedNumberScheduled"] == 2
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]

    live(seed, begin, check)


@story
@given(Seed, st.integers(0, 4))
def test_a_stateful_set_ends_with_its_ordinals(seed, wanted):
    async def begin(chaos: Chaos) -> None:
        dice = chaos.dice
        spec = {"podManagementPolicy": dice.choice(("OrderedReady", "Parallel"))}
        data = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
        retention = {"whenDeleted": dice.choice(("Retain", "Delete")), "whenScaled": dice.choice(("Retain", "Delete"))}
        spec |= {"volumeClaimTemplates": [data], "persistentVolumeClaimRetentionPolicy": retention}
        made = await chaos.put(known.STATEFUL_SETS, stateful_set(wanted, image="v9", **spec))
        for number in dice.sample(range(9), dice.randrange(6)):
            mark = {statefulset_identity.REVISION_LABEL: dice.choice(("old", "web-older"))}
            body = chaos.strange_pod(f"web-{number}", known.STATEFUL_SETS, made, **mark)
            if number < wanted:
                body["metadata"]["labels"]["app"] = "a"  # nobody may touch a pod that has the name and is nobody's
            await chaos.put(PODS, body)

    def check(cluster: Cluster) -> None:
        found = cluster.find(known.STATEFUL_SETS, "web")
        assert found is not None
        assert sorted((p["metadata"]["name"], image(p)) for p in active(cluster, found)) == [
            (f"web-{n}", "v9") for n in range(wanted)
        ]
        assert found["status"].get("updatedReplicas", 0) == found["status"]["availableReplicas"] == wanted
        claims = {c["metadata"]["name"] for c in cluster.all(known.PERSISTENT_VOLUME_CLAIMS)}
        assert {f"data-web-{n}" for n in range(wanted)} <= claims

    live(seed, begin, check)


@story
@given(Seed, st.integers(1, 5), st.booleans())
def test_a_job_ends_complete_with_every_pod_counted_once(seed, completions, indexed):
    async def begin(chaos: Chaos) -> None:
        dice = chaos.dice
        mode = "Indexed" if indexed else "NonIndexed"
        made = await chaos.put(known.JOBS, job(completions=completions, parallelism=2, backoffLimit=99, completionMode=mode))
        for n in range(dice.randrange(5)):
            body = pod(f"p{n}", phase=dice.choice(("Running", "Succeeded", "Failed", "Pending")))
            body["metadata"] |= {
                "labels": {"job": "j"},
                "ownerReferences": dice.choice(([chaos.owner(known.JOBS, made)], [])),
                "finalizers": dice.choice(([FINALIZER], [])),
                "annotations": {job_indexes.INDEX: str(dice.randrange(completions + 2))} if indexed else {},
            }
            await chaos.put(PODS, body)

    def check(cluster: Cluster) -> None:
        found = cluster.find(known.JOBS, "j")
        assert found is not None
        assert condition(found, "Complete") is not None
        assert found["status"]["succeeded"] >= completions
        assert found["status"]["uncountedTerminatedPods"] == {}
        assert not [p for p in cluster.all(PODS) if p["metadata"].get("finalizers")]

    live(seed, begin, check)


@story
@given(Seed, st.integers(1, 4))
def test_budgets_and_quotas_tell_the_truth_in_the_end(seed, wanted):
    async def begin(chaos: Chaos) -> None:
        await chaos.put(known.DEPLOYMENTS, deployment(wanted))
        budget = {
            "metadata": {"name": "b", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "maxUnavailable": 1},
        }
        lie = {
            "disruptionsAllowed": 9,
            "disruptedPods": {"nobody": rfc3339(NOW)},
            "currentHealthy": 0,
            "desiredHealthy": 0,
            "expectedPods": 0,
        }
        await chaos.put(known.POD_DISRUPTION_BUDGETS, {**budget, "status": lie})
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "99", "count/replicasets.apps": "9"}}}
        await chaos.put(known.RESOURCE_QUOTAS, {**quota, "status": {"hard": {"pods": "99"}, "used": {"pods": "55"}}})

    def check(cluster: Cluster) -> None:
        budget, quota = cluster.find(known.POD_DISRUPTION_BUDGETS, "b"), cluster.find(known.RESOURCE_QUOTAS, "q")
        assert budget is not None and quota is not None
        told = {k: budget["status"].get(k) for k in ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")}
        assert told == {"currentHealthy": wanted, "desiredHealthy": wanted - 1, "disruptionsAllowed": 1, "expectedPods": wanted}
        assert "disruptedPods" not in budget["status"]
        assert quota["status"]["used"]["count/replicasets.apps"] == str(len(cluster.all(known.REPLICA_SETS)))

    live(seed, begin, check)

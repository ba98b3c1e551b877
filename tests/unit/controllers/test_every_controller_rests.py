"""Every controller, whatever it finds and whatever fails on the way, ends where an untroubled one ends, and then writes nothing.

The beginning is a heap of objects that nobody would make on purpose: half made, twice, of owners that are gone or of another namespace,
on their way out, with a status that lies. Each write of the controller fails the first time, caches are behind, and it is started anew.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from pilothouse.api import errors
from pilothouse.client.reconcile import kinds as known
from pilothouse.client.reconcile.entries import Entry
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.clock import rfc3339
from pilothouse.controllers import registry
from pilothouse.controllers.service_cidr import FINALIZER as RANGE_FINALIZER

from .builders import NOW, Obj, cron_job, daemon_set, deployment, job, node, pod, replica_set, stateful_set
from .cluster import Cluster
from .test_certificates import APPROVED, Rotated, authority, csr
from .test_tokens import token

OPTIONS = {
    "cluster_cidr": "10.0.0.0/16", "allocate_node_cidrs": True, "root_ca": "pem", **authority(),
    "service_account_private_key": authority()["cluster_signing_key"],
}  # fmt: skip
SEEDS = 6
CALM, REST = 2200.0, 700.0


def claim(name: str, dice: random.Random, **spec: object) -> Obj:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s", **spec}
    return {"metadata": {"name": name}, "spec": asked, "status": {"phase": dice.choice(("Pending", "Bound", "Lost"))}}


def volume(name: str, dice: random.Random) -> Obj:
    spec: Obj = {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "storageClassName": "s", "hostPath": {"path": "/x"},
        "persistentVolumeReclaimPolicy": dice.choice(("Delete", "Retain")),
    }  # fmt: skip
    if dice.random() < 0.4:
        spec["claimRef"] = {"namespace": "ns", "name": dice.choice(("c0", "gone")), "uid": dice.choice(("", "former"))}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": dice.choice(("Available", "Bound", "Released"))}}


def service(name: str, dice: random.Random) -> Obj:
    spec: Obj = {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": dice.choice((80, "web"))}]}
    return {"metadata": {"name": name}, "spec": spec | dice.choice(({"selector": {"app": "a"}}, {}))}


def hand_made(name: str, dice: random.Random) -> tuple[Obj, Obj]:
    """Endpoints and a slice of a service that may not be there."""
    labels = {
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": dice.choice(
            ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io", "me")
        ),
    }
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, dice.randrange(2, 5))]
    ports = [{"port": 80, "protocol": "TCP"}]
    endpoints = {"metadata": {"name": name}, "subsets": [{"addresses": addresses, "ports": ports}]}
    told = [{"addresses": [a["ip"]], "conditions": {"ready": True}} for a in addresses]
    slices = {"metadata": {"name": f"{name}-x", "labels": labels}, "addressType": "IPv4", "endpoints": told, "ports": ports}
    return endpoints, slices


def heap(dice: random.Random) -> list[tuple[Kind, Obj]]:
    """What there is in the beginning, owners before what they own."""
    leaving = {"deletionTimestamp": rfc3339(NOW), "deletionGracePeriodSeconds": 30}
    made: list[tuple[Kind, Obj]] = [
        (known.NAMESPACES, {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
        (known.NAMESPACES, {"metadata": {"name": "other", **leaving}, "spec": {"finalizers": ["kubernetes"]}}),
        (known.NODES, node("n1", dice.choice(("True", "False", "Unknown")))),
        (known.NODES, node("n2")),
        (known.REPLICA_SETS, replica_set("r", dice.randrange(4))),
        (known.DEPLOYMENTS, deployment(dice.randrange(3))),
        (known.DAEMON_SETS, daemon_set()),
        (known.STATEFUL_SETS, stateful_set(dice.randrange(3))),
        (known.JOBS, job(completions=2, parallelism=2, ttlSecondsAfterFinished=5)),
        (known.CRON_JOBS, cron_job("0 0 29 2 *", suspend=dice.random() < 0.5)),
        (known.CERTIFICATE_SIGNING_REQUESTS, {**csr(), "status": dice.choice(({}, {"conditions": [APPROVED]}))}),
        (known.SECRETS, token("aaaaaa", expires=dice.choice((-100, 100, None)))),
        (known.CONFIG_MAPS, {"metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": {"kubeconfig": "x"}}),
        (known.CONFIG_MAPS, {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": dice.choice(("spoilt", "pem"))}}),
        (known.SERVICE_ACCOUNTS, {"metadata": {"name": dice.choice(("default", "robot"))}}),
        (known.RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9"}}, "status": {"used": {"pods": "77"}}}),
    ]
    made += [(known.PERSISTENT_VOLUMES, volume(f"v{n}", dice)) for n in range(dice.randrange(3))]
    made += [(known.PERSISTENT_VOLUME_CLAIMS, claim(f"c{n}", dice)) for n in range(dice.randrange(3))]
    made += [(known.SERVICES, service(f"s{n}", dice)) for n in range(2)]
    for name in ("s0", "s1", "gone"):
        endpoints, slices = hand_made(name, dice)
        made += [(known.ENDPOINTS, endpoints), (known.ENDPOINT_SLICES, slices)]
    return made


def rarer(dice: random.Random) -> list[tuple[Kind, Obj]]:
    """What the smaller controllers look after."""
    aggregated = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "x"}}]}, "rules": []}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    leaving = {"deletionTimestamp": rfc3339(NOW), "deletionGracePeriodSeconds": 30}
    over = {"type": "Complete", "status": "True", "lastTransitionTime": rfc3339(NOW)}
    ends = {"conditions": [over], "completionTime": rfc3339(NOW)}
    broken = {"key": "broken", "effect": "NoExecute", "timeAdded": rfc3339(NOW)}
    attached = {"attacher": "d", "nodeName": dice.choice(("n1", "lost")), "source": {"persistentVolumeName": "v0"}}
    account = {"kubernetes.io/service-account.name": dice.choice(("default", "nobody"))}
    labels = {"app": "a"}
    return [
        (known.REPLICATION_CONTROLLERS, {
            "metadata": {"name": "rc"}, "spec": {"replicas": dice.randrange(3), "selector": labels, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "v"}]}}}}),
        (known.POD_DISRUPTION_BUDGETS, {
            "metadata": {"name": "b", "generation": 1}, "spec": {"selector": {"matchLabels": labels}, "minAvailable": 1},
            "status": dice.choice(({}, {"disruptionsAllowed": 9, "disruptedPods": {"p0": rfc3339(NOW), "nobody": rfc3339(NOW)}}))}),
        (known.CLUSTER_ROLES, {"metadata": {"name": "sum"}, **aggregated}),
        (known.CLUSTER_ROLES, {"metadata": {"name": "part", "labels": {"to": dice.choice(("x", "y"))}}, "rules": rules}),
        (known.SERVICE_CIDRS, {"metadata": {"name": "more", **dice.choice(({}, {**leaving, "finalizers": [RANGE_FINALIZER]}))},
                               "spec": {"cidrs": ["10.2.0.0/24"]}}),
        (known.JOBS, {**job("done", ttlSecondsAfterFinished=dice.choice((0, 60, 10**6))), "status": ends}),
        (known.CRON_JOBS, {**cron_job("0 0 1 1 *"), "metadata": {"name": "due"},
                           "status": {"lastScheduleTime": "2020-01-01T00:00:00Z", "active": [{"name": "gone", "uid": "former"}]}}),
        (known.NODES, {**node("n3"), "spec": {"taints": [broken]}}),
        (known.VOLUME_ATTACHMENTS, {"metadata": {"name": "va"}, "spec": attached, "status": {"attached": dice.random() < 0.5}}),
        (known.VOLUME_ATTRIBUTES_CLASSES, {"metadata": {"name": "gold"}, "driverName": "d", "parameters": {}}),
        (known.RESOURCE_CLAIM_TEMPLATES, {"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": []}}}}),
        (known.SECRETS, {"metadata": {"name": "tok", "annotations": account}, "type": "kubernetes.io/service-account-token",
                         "data": dice.choice(({}, {"token": "c3BvaWx0"}))}),
        (known.PODS, pod("on-n3", node="n3", ready=5)),
        (known.PODS, pod("scratch", node="", phase="Pending", spec={"volumes": [{"name": "e", "ephemeral": {
            "volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}}}]})),
        (known.PODS, pod("gpu", node="", phase="Pending", spec={"resourceClaims": [
            {"name": "g", "resourceClaimTemplateName": dice.choice(("t", "missing"))}]})),
    ]  # fmt: skip


async def begin(cluster: Cluster, dice: random.Random) -> None:
    owners: list[Obj] = []
    for kind, obj in heap(dice) + rarer(dice):
        found = await cluster.create(kind, obj)
        if obj.get("status"):
            found = await cluster.update(kind, {**found, "status": obj["status"]}, "status")
        meta = found["metadata"]
        owners.append({"apiVersion": kind.api_version, "kind": kind.kind, "name": meta["name"], "uid": meta["uid"]})
    for n in range(8):
        owner = {**dice.choice(owners), **dice.choice(({}, {}, {"uid": "former"})), "controller": True}
        meta = {"ownerReferences": dice.choice(([owner], [])), "labels": dice.choice(({"app": "a"}, {"app": "z"}))}
        if dice.random() < 0.2:
            meta |= {"deletionTimestamp": rfc3339(NOW), "deletionGracePeriodSeconds": 30}
        phase = dice.choice(("Running", "Running", "Pending", "Failed", "Succeeded"))
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c0"}}] if dice.random() < 0.3 else []
        body = pod(f"p{n}", node=dice.choice(("n1", "n2", "lost")), phase=phase, metadata=meta, spec={"volumes": volumes})
        found = await cluster.create(known.PODS, body)
        await cluster.update(known.PODS, {**found, "status": body["status"]}, "status")
    await cluster.settle(1)


async def trouble(cluster: Cluster, entry: Entry, dice: random.Random) -> None:
    """Each write fails the first time, some fail again, caches lag, and the controller is started anew."""
    tried: set[tuple[str, str, str]] = set()

    def fault(verb: str, kind: Kind, obj: Obj) -> Exception | None:
        what = (verb, kind.plural, str(obj.get("metadata", {}).get("name")))
        if what in tried and dice.random() > 0.2:
            return None
        tried.add(what)
        return dice.choice((errors.conflict("", "x", "y", "changed"), errors.internal("no"), ConnectionError("gone")))

    cluster.lag = lambda: dice.choice((0.0, 0.0, 0.5))
    for _ in range(3):
        cluster.refuse = fault
        await cluster.settle(dice.choice((0.1, 3.0, 40.0)))
        await cluster.stop()
        cluster.refuse = lambda verb, kind, obj: None
        await cluster.settle(1)
        cluster.tasks.clear()
        for cache in cluster.caches.values():
            cache.handlers.clear()
        cluster.start(entry.load(), **OPTIONS)
    cluster.lag = lambda: 0.0


async def end(entry: Entry, seed: int, troubled: bool) -> Counter[str]:
    """How many objects of each kind there are when all is done."""
    async with Rotated(seed) as cluster:
        await begin(cluster, random.Random(seed))
        cluster.start(entry.load(), **OPTIONS)
        if troubled:
            await trouble(cluster, entry, random.Random(seed))
        for _ in range(4):
            await cluster.settle(CALM / 4)
            await cluster.end_pods()
        await cluster.settle(CALM)
        before = len(cluster.writes)
        await cluster.settle(REST)
        assert cluster.writes[before:] == []
        return Counter(kind.plural for kind, stored in cluster.stored.items() for _ in stored)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # bootstrap tokens are short
async def test_whatever_it_finds_it_ends_as_if_nothing_had_failed_and_rests(
    entry: Entry, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert await end(entry, seed, troubled=True) == await end(entry, seed, troubled=False)
    # What a controller stumbles over it tries again for ever, without writing anything: that is no rest.
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []

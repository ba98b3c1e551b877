from __future__ import annotations

import pytest

from pilothouse.client.reconcile.kinds import CLUSTER_ROLES, CONFIG_MAPS, SECRETS
from pilothouse.controllers.garbage_collector import GarbageCollector
from pilothouse.controllers.garbage_graph import Fate, Identity, Node, Owner, judge

from .cluster import Cluster, copy


async def make(cluster, name, *owners, kind=CONFIG_MAPS, namespace="ns", blocks=True, finalizers=(), cluster_owner=False):
    refs = [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1" if cluster_owner else "v1",
            "kind": "ClusterRole" if cluster_owner else "ConfigMap",
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        for o in owners
    ]
    meta = {"name": name, "ownerReferences": refs, "finalizers": list(finalizers)}
    if kind.namespaced:
        meta["namespace"] = namespace
    made = await cluster.create(kind, {"metadata": meta})
    return made


def names(cluster, kind=CONFIG_MAPS):
    return sorted(o["metadata"]["name"] for o in cluster.all(kind))


def owners(obj):
    return [r["name"] for r in obj["metadata"]["ownerReferences"]]


async def delete(cluster, name, policy="Background"):
    await cluster.delete(CONFIG_MAPS, "ns", name, {"propagationPolicy": policy})
    await cluster.settle()


async def chain(cluster):
    cluster.start(GarbageCollector)
    top = await make(cluster, "top")
    mid = await make(cluster, "mid", top)
    await make(cluster, "leaf", mid)
    await cluster.settle()
    assert names(cluster) == ["leaf", "mid", "top"]


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_chain_goes_with_its_head(policy):
    async with Cluster() as cluster:
        await chain(cluster)
        await delete(cluster, "top", policy)
        assert names(cluster) == []


async def test_orphans_stay_without_their_owner():
    async with Cluster() as cluster:
        await chain(cluster)
        await delete(cluster, "top", "Orphan")
        assert names(cluster) == ["leaf", "mid"]
        assert owners(cluster.find(CONFIG_MAPS, "mid")) == []
        assert owners(cluster.find(CONFIG_MAPS, "leaf")) == ["mid"]


@pytest.mark.parametrize(("blocks", "left"), [(True, ["mid", "top"]), (False, ["mid"])])
async def test_foreground_deletion_waits_for_blocking_dependents_only(blocks, left):
    async with Cluster() as cluster:
        cluster.start(GarbageCollector)
        top = await make(cluster, "top")
        await make(cluster, "mid", top, blocks=blocks, finalizers=["example.com/hold"])
        await cluster.settle()
        await delete(cluster, "top", "Foreground")
        assert names(cluster) == left
        mid = copy(cluster.find(CONFIG_MAPS, "mid"))
        assert mid["metadata"]["deletionTimestamp"]
        mid["metadata"]["finalizers"] = []
        await cluster.update(CONFIG_MAPS, mid)
        await cluster.settle()
        assert names(cluster) == []


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_an_object_with_another_owner_stays(policy):
    async with Cluster() as cluster:
        cluster.start(GarbageCollector)
        one, two = await make(cluster, "one"), await make(cluster, "two")
        await make(cluster, "kid", one, two)
        await cluster.settle()
        await delete(cluster, "one", policy)
        assert names(cluster) == ["kid", "two"]
        assert owners(cluster.find(CONFIG_MAPS, "kid")) == ["two"]


async def test_a_circle_goes_when_one_of_it_is_deleted():
    async with Cluster() as cluster:
        cluster.start(GarbageCollector)
        a = await make(cluster, "a")
        b = await make(cluster, "b", a)
        closed = copy(cluster.find(CONFIG_MAPS, "a"))
        closed["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": b["metadata"]["uid"]}
        ]
        await cluster.update(CONFIG_MAPS, closed)
        await cluster.settle()
        assert names(cluster) == ["a", "b"]
        await delete(cluster, "a")
        assert names(cluster) == []


async def test_an_owner_in_another_namespace_is_no_owner():
    async with Cluster() as cluster:
        cluster.start(GarbageCollector)
        top = await make(cluster, "top", namespace="elsewhere")
        await cluster.settle()
        await make(cluster, "kid", top)
        await cluster.settle()
        assert names(cluster) == ["top"]
        uid = top["metadata"]["uid"]
        message = f'ownerRef [v1/ConfigMap, namespace: ns, name: top, uid: {uid}] does not exist in namespace "ns"'
        assert ("ConfigMap/kid", "OwnerRefInvalidNamespace", message) in cluster.events


async def test_a_cluster_scoped_owner_counts_everywhere():
    async with Cluster() as cluster:
        cluster.start(GarbageCollector)
        top = await make(cluster, "top", kind=CLUSTER_ROLES)
        await make(cluster, "kid", top, cluster_owner=True)
        await cluster.settle()
        assert names(cluster) == ["kid"]
        await cluster.delete(CLUSTER_ROLES, "", "top")
        await cluster.settle()
        assert names(cluster) == []


async def test_what_names_an_owner_that_never_was_is_deleted_even_if_made_first():
    async with Cluster() as cluster:
        ghost = {"metadata": {"name": "ghost", "uid": "no-such-uid"}}
        await make(cluster, "kid", ghost)
        await make(cluster, "other", kind=SECRETS)
        cluster.start(GarbageCollector)
        await cluster.settle()
        assert names(cluster) == []
        assert names(cluster, SECRETS) == ["other"]


async def test_at_rest_nothing_is_written():
    async with Cluster() as cluster:
        await chain(cluster)
        cluster.writes.clear()
        await cluster.settle(600)
        assert cluster.writes == []


def owner(name, blocks=False):
    return Owner("v1", "ConfigMap", name, f"uid-{name}", blocks)


@pytest.mark.parametrize(
    ("fates", "delete", "drop"),
    [
        ([], "", ()),
        ([Fate.SOLID], "", ()),
        ([Fate.SOLID, Fate.DANGLING], "", ("uid-1",)),
        ([Fate.SOLID, Fate.WAITING], "", ("uid-1",)),
        ([Fate.DANGLING, Fate.DANGLING], "Background", ()),
        ([Fate.WAITING], "Background", ()),
    ],
)
def test_one_solid_owner_is_enough(fates, delete, drop):
    node = Node(Identity("v1", "ConfigMap", "ns", "kid", "uid-kid"))
    verdict = judge(node, [(owner(str(i)), fate) for i, fate in enumerate(fates)], [])
    assert (verdict.delete, verdict.drop) == (delete, drop)


def test_dependents_of_a_foreground_deletion_go_in_the_foreground_too():
    node = Node(Identity("v1", "ConfigMap", "ns", "mid", "uid-mid"), owners=(owner("top", blocks=True),))
    leaf = Node(Identity("v1", "ConfigMap", "ns", "leaf", "uid-leaf"))
    verdict = judge(node, [(node.owners[0], Fate.WAITING)], [leaf])
    assert (verdict.delete, verdict.unblock) == ("Foreground", False)
    circle = Node(leaf.identity, deleting=True, foreground=True)
    assert judge(node, [(node.owners[0], Fate.WAITING)], [circle]).unblock

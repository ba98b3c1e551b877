"""Where volumes let pods go: VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone."""

from __future__ import annotations

from typing import Any

import pytest
from world import Obj, World, claim, node, pod, storage_class, volume

EBS = {"name": "disk", "awsElasticBlockStore": {"volumeID": "vol-1"}}


def csi(name: str, **more: Any) -> Obj:
    return volume(name, csi={"driver": "csi.example.com", "volumeHandle": f"handle-{name}"}, **more)


def csi_node(name: str, count: int) -> Obj:
    drivers = [{"name": "csi.example.com", "nodeID": name, "allocatable": {"count": count}}]
    return {"metadata": {"name": name}, "spec": {"drivers": drivers}}


# --- VolumeRestrictions ------------------------------------------------------------------------------------------------------------


def test_a_missing_claim_is_told_by_name() -> None:
    assert World(node("a")).why_not(pod("p", "x")) == '0/1 nodes are available: persistentvolumeclaim "x" not found.'


def test_one_disk_is_on_one_node_for_one_pod() -> None:
    world = World(node("a"), node("b"))
    world.place(pod("first", volumes=[EBS]), "a")
    assert world.feasible(pod("second", volumes=[EBS])) == {"b"}
    world.table.remove_node("b")
    assert world.why_not(pod("third", volumes=[EBS])) == "0/1 nodes are available: 1 node(s) had no available disk."


def test_readers_share_a_persistent_disk() -> None:
    disk = {"name": "d", "gcePersistentDisk": {"pdName": "one", "readOnly": True}}
    world = World(node("a"))
    world.place(pod("first", volumes=[disk]), "a")
    assert world.feasible(pod("second", volumes=[disk])) == {"a"}
    writer = {"name": "d", "gcePersistentDisk": {"pdName": "one"}}
    assert world.feasible(pod("third", volumes=[writer])) == set()


def test_a_claim_for_a_single_pod_is_given_to_a_more_important_one() -> None:
    world = World(
        node("a"), node("b"), persistentvolumes=[csi("v")], persistentvolumeclaims=[claim("c", "v", modes=("ReadWriteOncePod",))]
    )
    world.place(pod("first", "c"), "a")
    told = "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert world.why_not(pod("second", "c")) == f"0/2 nodes are available: {told}."
    decision = world.decide(pod("third", "c", priority=10))
    assert (decision.nominated, decision.victims) == ("a", ("default/first",))


# --- VolumeBinding: bound claims -----------------------------------------------------------------------------------------------------


def test_a_pod_goes_where_its_volume_can_be_reached() -> None:
    world = World(node("a"), node("b"), persistentvolumes=[csi("v", nodes=("b",))], persistentvolumeclaims=[claim("c", "v")])
    assert world.feasible(pod("p", "c")) == {"b"}
    world.table.remove_node("b")
    assert world.why_not(pod("p", "c")) == "0/1 nodes are available: 1 node(s) had volume node affinity conflict."


def test_a_volume_that_is_gone_is_told() -> None:
    world = World(node("a"), persistentvolumeclaims=[claim("c", "v")])
    assert world.why_not(pod("p", "c")) == '0/1 nodes are available: persistentvolume "v" not found.'


@pytest.mark.parametrize("named", ["", "now", "nowhere"])
def test_claims_that_do_not_wait_must_be_bound_first(named: str) -> None:
    world = World(
        node("a"), persistentvolumeclaims=[claim("c", storage_class=named)], storageclasses=[storage_class("now", wait=False)]
    )
    assert world.why_not(pod("p", "c")) == "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."


def test_claims_on_their_way_out_and_lost_ones_are_told() -> None:
    going, lost = claim("going", "v"), claim("lost", "v")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    lost["status"]["phase"] = "Lost"
    world = World(node("a"), persistentvolumeclaims=[going, lost])
    assert 'persistentvolumeclaim "going" is being deleted' in world.why_not(pod("p", "going"))
    assert 'persistentvolumeclaim "lost" bound to non-existent persistentvolume "v"' in world.why_not(pod("p", "lost"))


def test_an_ephemeral_volume_waits_for_its_own_claim() -> None:
    scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}
    world = World(node("a"), persistentvolumes=[csi("v")])
    waiting = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    assert world.why_not(pod("p", volumes=[scratch])) == f"0/1 nodes are available: {waiting}."
    made = claim("p-scratch", "v")
    world.stock.put("persistentvolumeclaims", made)
    assert "PVC default/p-scratch was not created for pod default/p (pod is not owner)" in world.why_not(
        pod("p", volumes=[scratch])
    )
    made["metadata"]["ownerReferences"] = [{"uid": "uid-p", "controller": True}]
    assert world.feasible(pod("p", volumes=[scratch])) == {"a"}


# --- VolumeBinding: claims that wait for their consumer --------------------------------------------------------------------------------


def test_a_local_volume_decides_about_the_node() -> None:
    world = World(
        node("a"), node("b"), node("c"),
        persistentvolumes=[volume("small", "1Gi", "local", ("a",)), volume("big", "9Gi", "local", ("b",))],
        persistentvolumeclaims=[claim("c", storage_class="local", size="5Gi"), claim("huge", storage_class="local", size="10Gi")],
        storageclasses=[storage_class("local")],
    )  # fmt: skip
    assert world.feasible(pod("p", "c")) == {"b"}
    told = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
    assert world.why_not(pod("q", "huge")) == told


def test_two_claims_of_a_pod_need_two_volumes() -> None:
    volumes = [volume("a1", "1Gi", "local", ("a",)), volume("b1", "1Gi", "local", ("b",)), volume("b2", "2Gi", "local", ("b",))]
    claims = [claim("one", storage_class="local"), claim("two", storage_class="local")]
    world = World(
        node("a"), node("b"), persistentvolumes=volumes, persistentvolumeclaims=claims, storageclasses=[storage_class("local")]
    )
    assert world.feasible(pod("p", "one", "two")) == {"b"}


def test_a_volume_that_was_promised_is_not_promised_again() -> None:
    world = World(
        node("a"), persistentvolumes=[volume("v", "1Gi", "local", ("a",))], storageclasses=[storage_class("local")],
        persistentvolumeclaims=[claim("one", storage_class="local"), claim("two", storage_class="local")],
    )  # fmt: skip
    promised = world.stock.get("persistentvolumes", "", "v") or {}
    promised = {**promised, "spec": {**promised["spec"], "claimRef": {"namespace": "default", "name": "one", "uid": "uid-one"}}}
    world.stock.assume("persistentvolumes", promised)
    assert "didn't find available persistent volumes" in world.why_not(pod("p", "two"))
    assert world.feasible(pod("q", "one")) == {"a"}
    world.stock.take_back("persistentvolumes", promised)
    assert world.feasible(pod("p", "two")) == {"a"}


def test_a_provisioner_works_in_its_topologies_only() -> None:
    zones = [{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["1"]}]}]
    world = World(
        node("a", {"topology.kubernetes.io/zone": "1"}), node("b", {"topology.kubernetes.io/zone": "2"}),
        persistentvolumeclaims=[claim("c", storage_class="fast")],
        storageclasses=[storage_class("fast", "csi.example.com", allowedTopologies=zones)],
    )  # fmt: skip
    assert world.feasible(pod("p", "c")) == {"a"}


def test_a_claim_with_a_selected_node_stays_with_it() -> None:
    selected = claim("c", storage_class="fast")
    selected["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "b"}
    world = World(
        node("a"), node("b"), persistentvolumeclaims=[selected], storageclasses=[storage_class("fast", "csi.example.com")]
    )
    assert world.feasible(pod("p", "c")) == {"b"}


def test_known_capacity_must_do_for_a_new_volume() -> None:
    def left(name: str, host: str, **fields: str) -> Obj:
        topology = {"matchLabels": {"kubernetes.io/hostname": host}}
        return {
            "metadata": {"name": name, "namespace": "kube-system"},
            "storageClassName": "fast",
            "nodeTopology": topology,
            **fields,
        }

    driver = {"metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": True}}
    world = World(
        node("a"), node("b"), node("c"), csidrivers=[driver],
        csistoragecapacities=[left("1", "a", capacity="1Gi"), left("2", "b", capacity="9Gi"),
                              left("3", "c", capacity="9Gi", maximumVolumeSize="1Gi")],
        persistentvolumeclaims=[claim("c", storage_class="fast", size="5Gi")],
        storageclasses=[storage_class("fast", "csi.example.com")],
    )  # fmt: skip
    assert world.feasible(pod("p", "c")) == {"b"}
    world.table.remove_node("b")
    assert world.why_not(pod("p", "c")) == "0/2 nodes are available: 2 node(s) did not have enough free storage."
    world.stock.put("csidrivers", {**driver, "spec": {}})
    assert world.feasible(pod("p", "c")) == {"a", "c"}


# --- VolumeZone ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"])
def test_a_pod_goes_to_the_zones_of_its_volume(label: str) -> None:
    nodes = [node(name, {"topology.kubernetes.io/zone": zone}) for name, zone in (("a", "1"), ("b", "2"), ("c", "3"))]
    labelled = csi("v", labels={label: "1__2"})
    world = World(*nodes, persistentvolumes=[labelled], persistentvolumeclaims=[claim("c", "v")])
    assert world.feasible(pod("p", "c")) == {"a", "b"}
    world.table.remove_node("a")
    world.table.remove_node("b")
    assert world.why_not(pod("p", "c")) == "0/1 nodes are available: 1 node(s) had no available volume zone."
    world.table.set_node(node("d"))
    assert world.feasible(pod("p", "c")) == {"d"}


# --- NodeVolumeLimits -----------------------------------------------------------------------------------------------------------------


def limited() -> World:
    world = World(
        node("a"), node("b"), csinodes=[csi_node("a", 1), csi_node("b", 2)],
        persistentvolumes=[csi(n) for n in ("v1", "v2", "v3")],
        persistentvolumeclaims=[claim("c1", "v1"), claim("c2", "v2"), claim("c3", "v3")],
    )  # fmt: skip
    world.place(pod("first", "c1"), "a")
    return world


def test_a_node_takes_as_many_volumes_as_its_driver_says() -> None:
    world = limited()
    assert world.feasible(pod("p", "c2")) == {"b"}
    world.table.remove_node("b")
    assert world.why_not(pod("p", "c2")) == "0/1 nodes are available: 1 node(s) exceed max volume count."
    world.stock.put("csinodes", csi_node("a", 2))
    assert world.feasible(pod("p", "c2")) == {"a"}


def test_a_volume_that_is_there_already_costs_nothing() -> None:
    assert limited().feasible(pod("p", "c1")) == {"a", "b"}


def test_attachments_count_and_leave_room_when_they_go() -> None:
    world = limited()
    for n, name in enumerate(("v2", "v3")):
        attachment = {"metadata": {"name": f"va{n}"},
                      "spec": {"attacher": "csi.example.com", "nodeName": "b", "source": {"persistentVolumeName": name}}}  # fmt: skip
        world.stock.put("volumeattachments", attachment)
    world.stock.put("persistentvolumes", csi("v4"))
    world.stock.put("persistentvolumeclaims", claim("c4", "v4"))
    assert world.feasible(pod("p", "c4")) == set()
    assert world.feasible(pod("q", "c3")) == {"b"}
    world.stock.remove("volumeattachments", attachment)
    assert world.feasible(pod("p", "c4")) == {"b"}


def test_removing_a_less_important_pod_frees_its_attachment() -> None:
    decision = limited().decide(pod("p", "c2", "c3", priority=5, nodeSelector={"kubernetes.io/hostname": "a"}))
    assert decision.victims == ()
    decision = limited().decide(pod("p", "c2", priority=5, nodeSelector={"kubernetes.io/hostname": "a"}))
    assert decision.victims == ("default/first",)


def test_volumes_of_a_migrated_plugin_count_where_it_is_migrated() -> None:
    moved = csi_node("a", 1)
    moved["spec"]["drivers"][0]["name"] = "ebs.csi.aws.com"
    world = World(node("a"), csinodes=[moved])
    disk = {"name": "other", "awsElasticBlockStore": {"volumeID": "vol-2"}}
    world.place(pod("first", volumes=[EBS]), "a")
    assert world.feasible(pod("p", volumes=[disk])) == {"a"}
    moved = {
        **moved,
        "metadata": {"name": "a", "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"}},
    }
    world.stock.put("csinodes", moved)
    assert world.why_not(pod("p", volumes=[disk])) == "0/1 nodes are available: 1 node(s) exceed max volume count."

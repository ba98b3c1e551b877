"""Claims and volumes: which suit each other, how they are bound, released, protected and attached."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import errors
from pilothouse.client.reconcile.kinds import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)
from pilothouse.controllers import attach_detach, pv_binder_plan
from pilothouse.controllers.attach_detach import AttachDetachController
from pilothouse.controllers.ephemeral_volume import EphemeralVolumeController
from pilothouse.controllers.pv_binder import PersistentVolumeBinder
from pilothouse.controllers.pv_protection import PVProtectionController
from pilothouse.controllers.pvc_protection import PVCProtectionController
from pilothouse.controllers.vac_protection import VACProtectionController
from pilothouse.controllers.volume_expand import ExpandController

from .builders import node, pod
from .cluster import Cluster, Obj, copy


def volume(name: str, size: str = "1Gi", *, modes: tuple[str, ...] = ("ReadWriteOnce",), cls: str = "sc", **spec: object) -> Obj:
    return {
        "metadata": {"name": name, "labels": {"disk": name}},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": list(modes),
            "storageClassName": cls,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/x"},
            **spec,
        },
        "status": {"phase": "Available"},
    }


def claim(
    name: str = "c", size: str = "1Gi", *, modes: tuple[str, ...] = ("ReadWriteOnce",), cls: str = "sc", **spec: object
) -> Obj:
    wanted = {"accessModes": list(modes), "storageClassName": cls, "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": "1"}, "spec": wanted}


RESERVED = {"claimRef": {"namespace": "ns", "name": "c"}}
TAKEN = {"claimRef": {"namespace": "ns", "name": "c", "uid": "another"}}


@pytest.mark.parametrize(
    ("wanted", "volumes", "reserved_only", "found"),
    [
        (claim(), [volume("big", "5Gi"), volume("small", "2Gi")], False, "small"),
        (claim(size="3Gi"), [volume("big", "5Gi"), volume("small", "2Gi")], False, "big"),
        (claim(), [volume("a", "500Mi")], False, None),
        (claim(modes=("ReadWriteMany",)), [volume("one"), volume("many", modes=("ReadWriteMany", "ReadWriteOnce"))], False, "many"),
        (claim(), [volume("other", cls="x"), volume("same")], False, "same"),
        (claim(volumeMode="Block"), [volume("files"), volume("raw", volumeMode="Block")], False, "raw"),
        (claim(selector={"matchLabels": {"disk": "b"}}), [volume("a"), volume("b")], False, "b"),
        (claim("d"), [volume("small", "5Gi"), volume("kept", **RESERVED)], False, "small"),
        (claim(), [volume("kept", "9Gi", **RESERVED), volume("small")], False, "kept"),
        (claim(), [volume("taken", **TAKEN)], False, None),
        (claim(), [volume("a")], True, None),
        (claim(), [volume("kept", **RESERVED)], True, "kept"),
        (claim(), [{**volume("new"), "status": {}}], False, None),
        (claim(volumeAttributesClassName="gold"), [volume("a"), volume("g", volumeAttributesClassName="gold")], False, "g"),
    ],
)  # fmt: skip
def test_the_smallest_volume_that_suits_is_taken(wanted: Obj, volumes: list[Obj], reserved_only: bool, found: str | None) -> None:
    best = pv_binder_plan.best_match(wanted, volumes, reserved_only)
    assert (best["metadata"]["name"] if best else None) == found


@pytest.mark.parametrize(
    ("wanted", "offered", "why"),
    [
        (claim(size="2Gi"), volume("v"), "requested PV is too small"),
        (claim(cls="x"), volume("v"), "storageClassName does not match"),
        (claim(volumeMode="Block"), volume("v"), "incompatible volumeMode"),
        (claim(modes=("ReadWriteMany",)), volume("v"), "incompatible accessMode"),
        (claim(), volume("v"), ""),
    ],
)
def test_why_a_volume_cannot_hold_a_claim(wanted: Obj, offered: Obj, why: str) -> None:
    assert pv_binder_plan.mismatch(offered, wanted) == why


def phases(cluster: Cluster, kind: object) -> dict[str, str]:
    return {o["metadata"]["name"]: (o.get("status") or {}).get("phase", "") for o in cluster.all(kind)}


async def test_a_claim_and_a_volume_are_bound_and_come_apart_again() -> None:
    async with Cluster() as cluster:
        cluster.start(PersistentVolumeBinder)
        await cluster.create(PERSISTENT_VOLUMES, volume("v", "4Gi"))
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await cluster.settle()
        bound, held = cluster.find(PERSISTENT_VOLUME_CLAIMS, "c"), cluster.find(PERSISTENT_VOLUMES, "v")
        assert bound["spec"]["volumeName"] == "v" and bound["status"]["capacity"] == {"storage": "4Gi"}
        assert held["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"] and held["status"]["phase"] == "Bound"
        writes = len(cluster.writes)
        await cluster.settle(600)
        assert len(cluster.writes) == writes, "at rest nothing is written"
        await cluster.delete(PERSISTENT_VOLUME_CLAIMS, "ns", "c")
        await cluster.settle()
        assert phases(cluster, PERSISTENT_VOLUMES) == {"v": "Released"}


@pytest.mark.parametrize(
    ("spec", "gone", "phase", "event"),
    [
        ({"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/tmp/x"}}, True, "", ""),
        ({"persistentVolumeReclaimPolicy": "Delete"}, False, "Failed", "VolumeFailedDelete"),
        ({"persistentVolumeReclaimPolicy": "Delete", "csi": {"driver": "d", "volumeHandle": "h"}, "hostPath": None}, False, "Released", ""),
        ({"persistentVolumeReclaimPolicy": "Delete", "nfs": {"server": "s", "path": "/"}, "hostPath": None}, False, "Failed", "VolumeFailedDelete"),
        ({"persistentVolumeReclaimPolicy": "Recycle"}, False, "Failed", "VolumeFailedRecycle"),
    ],
)  # fmt: skip
async def test_released_volumes_are_reclaimed_by_their_policy(spec: Obj, gone: bool, phase: str, event: str) -> None:
    async with Cluster() as cluster:
        cluster.start(PersistentVolumeBinder)
        await cluster.create(PERSISTENT_VOLUMES, volume("v", **spec))
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await cluster.settle()
        await cluster.delete(PERSISTENT_VOLUME_CLAIMS, "ns", "c")
        await cluster.settle()
        assert phases(cluster, PERSISTENT_VOLUMES) == ({} if gone else {"v": phase})
        assert [e[1] for e in cluster.events if e[0] == "PersistentVolume/v"] == ([event] if event else [])


def storage_class(mode: str, provisioner: str = "example.com/disk") -> Obj:
    return {"metadata": {"name": "sc"}, "provisioner": provisioner, "volumeBindingMode": mode}


@pytest.mark.parametrize(
    ("storage", "reason", "asked"),
    [
        (None, "ProvisioningFailed", None),
        (storage_class("Immediate"), "ExternalProvisioning", "example.com/disk"),
        (storage_class("Immediate", "kubernetes.io/aws-ebs"), "ExternalProvisioning", "ebs.csi.aws.com"),
        (storage_class("Immediate", "kubernetes.io/no-provisioner"), "ProvisioningFailed", None),
        (storage_class("WaitForFirstConsumer"), "WaitForFirstConsumer", None),
    ],
)
async def test_a_claim_without_a_volume_says_what_it_waits_for(storage: Obj | None, reason: str, asked: str | None) -> None:
    async with Cluster() as cluster:
        if storage:
            await cluster.create(STORAGE_CLASSES, storage)
        cluster.start(PersistentVolumeBinder)
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await cluster.settle()
        assert [e[1] for e in cluster.events] == [reason]
        notes = cluster.find(PERSISTENT_VOLUME_CLAIMS, "c")["metadata"].get("annotations") or {}
        assert notes.get("volume.kubernetes.io/storage-provisioner") == asked
        assert phases(cluster, PERSISTENT_VOLUME_CLAIMS) == {"c": "Pending"}


async def test_a_claim_that_waits_for_its_consumer_names_the_pod() -> None:
    async with Cluster() as cluster:
        await cluster.create(STORAGE_CLASSES, storage_class("WaitForFirstConsumer"))
        cluster.start(PersistentVolumeBinder)
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await cluster.settle()
        await cluster.create(PODS, user("p", node=""))
        await cluster.settle()
        assert [e[1:] for e in cluster.events][1:] == [("WaitForPodScheduled", "waiting for pod p to be scheduled")]


async def test_a_claim_for_another_volume_waits_and_takes_it_when_it_comes_free() -> None:
    async with Cluster() as cluster:
        cluster.start(PersistentVolumeBinder)
        await cluster.create(PERSISTENT_VOLUMES, volume("v", claimRef={"namespace": "ns", "name": "wanted"}))
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim("greedy", volumeName="v"))
        await cluster.settle()
        assert [e[1:] for e in cluster.events] == [("FailedBinding", 'volume "v" already bound to a different claim.')]
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim("wanted"))
        await cluster.settle()
        assert phases(cluster, PERSISTENT_VOLUME_CLAIMS) == {"greedy": "Pending", "wanted": "Bound"}


@settings(max_examples=25)
@given(st.integers(0, 2**32))
async def test_whatever_there_is_ends_in_pairs_and_in_rest(seed: int) -> None:
    """From objects half bound, reserved, missing or too many, with refused writes: pairs that agree, and then no more writes."""
    dice = random.Random(seed)
    async with Cluster(seed) as cluster:
        for n in range(dice.randint(0, 4)):
            reserved = {"claimRef": {"namespace": "ns", "name": f"c{dice.randint(0, 4)}"}} if dice.random() < 0.3 else {}
            await cluster.create(PERSISTENT_VOLUMES, volume(f"v{n}", f"{dice.randint(1, 4)}Gi", **reserved))
        for n in range(dice.randint(0, 4)):
            named = {"volumeName": f"v{dice.randint(0, 4)}"} if dice.random() < 0.3 else {}
            await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{n}", f"{dice.randint(1, 3)}Gi", **named))

        def refuse(verb: str, kind: object, obj: Obj) -> Exception | None:
            return errors.conflict("", "x", "x", "try again") if dice.random() < 0.3 else None

        cluster.refuse = refuse
        cluster.start(PersistentVolumeBinder)
        await cluster.settle(120)
        cluster.refuse = lambda verb, kind, obj: None
        await cluster.settle(1200)
        claims = {o["metadata"]["uid"]: o for o in cluster.all(PERSISTENT_VOLUME_CLAIMS)}
        held = [v for v in cluster.all(PERSISTENT_VOLUMES) if v["spec"].get("claimRef", {}).get("uid")]
        assert len({v["spec"]["claimRef"]["uid"] for v in held}) == len(held)
        assert sorted(v["metadata"]["name"] for v in held) == sorted(
            c["spec"]["volumeName"] for c in claims.values() if c["status"].get("phase") == "Bound"
        )
        for each in held:
            assert claims[each["spec"]["claimRef"]["uid"]]["spec"]["volumeName"] == each["metadata"]["name"]
        writes = len(cluster.writes)
        await cluster.settle(1200)
        assert len(cluster.writes) == writes


# --- protection -------------------------------------------------------------------------------------------------------------------


def user(name: str, *, node: str = "n1", phase: str = "Running", **volume_source: object) -> Obj:
    source = volume_source or {"persistentVolumeClaim": {"claimName": "c"}}
    return pod(name, node=node, phase=phase, spec={"volumes": [{"name": "d", **source}]})


@pytest.mark.parametrize(
    ("pods", "gone"),
    [
        ([], True),
        ([user("p")], False),
        ([user("p", phase="Succeeded")], False),
        ([user("p", node="")], True),
        ([user("p", persistentVolumeClaim={"claimName": "other"})], True),
    ],
)
async def test_a_claim_stays_while_a_pod_on_a_node_has_it(pods: list[Obj], gone: bool) -> None:
    async with Cluster() as cluster:
        cluster.start(PVCProtectionController)
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
        for each in pods:
            await cluster.create(PODS, each)
        await cluster.settle()
        assert cluster.find(PERSISTENT_VOLUME_CLAIMS, "c")["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        await cluster.delete(PERSISTENT_VOLUME_CLAIMS, "ns", "c")
        await cluster.settle()
        assert (cluster.find(PERSISTENT_VOLUME_CLAIMS, "c") is None) == gone
        for each in pods:
            await cluster.delete(PODS, "ns", each["metadata"]["name"], {"gracePeriodSeconds": 0})
        await cluster.settle()
        assert cluster.find(PERSISTENT_VOLUME_CLAIMS, "c") is None


async def test_a_volume_stays_while_it_is_bound() -> None:
    async with Cluster() as cluster:
        cluster.start(PVProtectionController)
        await cluster.create(PERSISTENT_VOLUMES, {**volume("v"), "status": {"phase": "Bound"}})
        await cluster.settle()
        await cluster.delete(PERSISTENT_VOLUMES, "", "v")
        await cluster.settle()
        there = cluster.find(PERSISTENT_VOLUMES, "v")
        await cluster.update(PERSISTENT_VOLUMES, {**there, "status": {"phase": "Released"}}, "status")
        await cluster.settle()
        assert cluster.find(PERSISTENT_VOLUMES, "v") is None


async def test_an_attributes_class_stays_while_a_claim_names_it() -> None:
    async with Cluster() as cluster:
        cluster.start(VACProtectionController)
        await cluster.create(VOLUME_ATTRIBUTES_CLASSES, {"metadata": {"name": "gold"}})
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(volumeAttributesClassName="gold"))
        await cluster.settle()
        await cluster.delete(VOLUME_ATTRIBUTES_CLASSES, "", "gold")
        await cluster.settle()
        assert cluster.find(VOLUME_ATTRIBUTES_CLASSES, "gold") is not None
        await cluster.delete(PERSISTENT_VOLUME_CLAIMS, "ns", "c")
        await cluster.settle()
        assert cluster.find(VOLUME_ATTRIBUTES_CLASSES, "gold") is None


# --- ephemeral volumes and growth -------------------------------------------------------------------------------------------------


async def test_an_ephemeral_volume_has_a_claim_of_the_pods_own() -> None:
    template = {"metadata": {"labels": {"e": "1"}}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    async with Cluster() as cluster:
        cluster.start(EphemeralVolumeController)
        await cluster.create(PODS, user("p", ephemeral={"volumeClaimTemplate": template}))
        await cluster.settle()
        made = cluster.find(PERSISTENT_VOLUME_CLAIMS, "p-d")
        assert made["metadata"]["labels"] == {"e": "1"} and made["spec"] == template["spec"]
        assert made["metadata"]["ownerReferences"][0]["uid"] == cluster.find(PODS, "p")["metadata"]["uid"]


async def test_a_claim_of_somebody_else_is_not_taken() -> None:
    async with Cluster() as cluster:
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim("p-d"))
        cluster.start(EphemeralVolumeController)
        await cluster.create(PODS, user("p", ephemeral={"volumeClaimTemplate": {"spec": {}}}))
        await cluster.settle(1)
        told = "ephemeral volume d: PVC ns/p-d was not created for pod ns/p (pod is not owner)"
        assert set(cluster.events) == {("Pod/p", "FailedBinding", told)}


async def test_growth_is_left_to_the_driver_and_told_once() -> None:
    async with Cluster() as cluster:
        cluster.start(ExpandController)
        await cluster.create(PERSISTENT_VOLUMES, volume("v"))
        grown = {**claim(size="2Gi", volumeName="v"), "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
        await cluster.create(PERSISTENT_VOLUME_CLAIMS, grown)
        await cluster.settle()
        there = copy(cluster.find(PERSISTENT_VOLUME_CLAIMS, "c"))
        there["metadata"]["labels"] = {"touched": "yes"}
        await cluster.update(PERSISTENT_VOLUME_CLAIMS, there)
        await cluster.settle()
        assert [e[1] for e in cluster.events] == ["ExternalExpanding"]


# --- attaching --------------------------------------------------------------------------------------------------------------------

CSI = {"csi": {"driver": "csi.example.com", "volumeHandle": "h"}, "hostPath": None}


async def attached_cluster(cluster: Cluster, *, nodes: tuple[str, ...] = ("n1", "n2")) -> None:
    """A bound CSI volume, nodes whose volumes the controller attaches, and both controllers."""
    for name in nodes:
        made = node(name)
        made["metadata"]["annotations"] = {attach_detach.MANAGED: "true"}
        await cluster.create(NODES, made)
    await cluster.create(PERSISTENT_VOLUMES, volume("v", **CSI))
    await cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
    cluster.start(PersistentVolumeBinder, AttachDetachController)
    await cluster.settle()


async def attacher(cluster: Cluster) -> None:
    """The driver's part."""
    for each in cluster.all(VOLUME_ATTACHMENTS):
        await cluster.update(VOLUME_ATTACHMENTS, {**each, "status": {"attached": True}}, "status")
    await cluster.settle()


async def test_a_pods_volume_is_attached_and_detached_again() -> None:
    async with Cluster() as cluster:
        await attached_cluster(cluster)
        await cluster.create(PODS, user("p"))
        await cluster.settle()
        (made,) = cluster.all(VOLUME_ATTACHMENTS)
        assert made["metadata"]["name"] == attach_detach.attachment_name("h", "csi.example.com", "n1")
        assert made["spec"] == {"attacher": "csi.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}
        await attacher(cluster)
        told = [{"name": "kubernetes.io/csi/csi.example.com^h", "devicePath": ""}]
        assert cluster.find(NODES, "n1")["status"]["volumesAttached"] == told
        assert [e[1] for e in cluster.events if e[0] == "Pod/p"] == ["SuccessfulAttachVolume"]
        await cluster.delete(PODS, "ns", "p", {"gracePeriodSeconds": 0})
        await cluster.settle()
        assert not cluster.all(VOLUME_ATTACHMENTS) and not cluster.find(NODES, "n1")["status"].get("volumesAttached")


async def test_a_mounted_volume_is_waited_for_six_minutes() -> None:
    async with Cluster() as cluster:
        await attached_cluster(cluster)
        await cluster.create(PODS, user("p"))
        await cluster.settle()
        await attacher(cluster)
        there = copy(cluster.find(NODES, "n1"))
        there["status"]["volumesInUse"] = ["kubernetes.io/csi/csi.example.com^h"]
        await cluster.update(NODES, there, "status")
        await cluster.delete(PODS, "ns", "p", {"gracePeriodSeconds": 0})
        await cluster.settle(300)
        assert cluster.all(VOLUME_ATTACHMENTS)
        await cluster.settle(70)
        assert not cluster.all(VOLUME_ATTACHMENTS)


async def test_an_exclusive_volume_moves_only_after_it_was_detached() -> None:
    async with Cluster() as cluster:
        await attached_cluster(cluster)
        await cluster.create(PODS, user("p"))
        await cluster.settle()
        await attacher(cluster)
        await cluster.create(PODS, user("q", node="n2"))
        await cluster.settle()
        assert [a["spec"]["nodeName"] for a in cluster.all(VOLUME_ATTACHMENTS)] == ["n1"]
        assert any(e[0] == "Pod/q" and e[2].startswith('Multi-Attach error for volume "v"') for e in cluster.events)
        await cluster.delete(PODS, "ns", "p", {"gracePeriodSeconds": 0})
        await cluster.settle()
        assert [a["spec"]["nodeName"] for a in cluster.all(VOLUME_ATTACHMENTS)] == ["n2"]


async def test_volumes_of_a_node_that_is_gone_are_detached() -> None:
    async with Cluster() as cluster:
        await attached_cluster(cluster)
        await cluster.create(PODS, user("p"))
        await cluster.settle()
        await attacher(cluster)
        await cluster.delete(NODES, "", "n1")
        await cluster.settle()
        assert not cluster.all(VOLUME_ATTACHMENTS)

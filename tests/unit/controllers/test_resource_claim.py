"""ResourceClaims of pods: made from templates, freed when the pods are done."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from pilothouse.controllers.resource_claim import FINALIZER, POD_CLAIM, ResourceClaimController

from .builders import pod
from .cluster import Cluster, Obj

SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}}
TEMPLATE = {"metadata": {"name": "t", "namespace": "ns"}, "spec": {"metadata": {"labels": {"made": "yes"}}, "spec": SPEC}}


def user(name: str = "p", **more: object) -> Obj:
    wanted = {"resourceClaims": [{"name": "g", "resourceClaimTemplateName": "t"}], **more}
    return pod(name, node="", phase="Pending", spec=wanted)


async def test_a_claim_is_made_from_the_template_and_named_in_the_pod() -> None:
    async with Cluster() as cluster:
        cluster.start(ResourceClaimController)
        await cluster.create(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
        await cluster.create(PODS, user())
        await cluster.settle()
        (made,) = cluster.all(RESOURCE_CLAIMS)
        assert made["spec"] == SPEC and made["metadata"]["labels"] == {"made": "yes"}
        assert made["metadata"]["annotations"] == {POD_CLAIM: "g"} and made["metadata"]["generateName"] == "p-g-"
        told = [{"name": "g", "resourceClaimName": made["metadata"]["name"]}]
        assert cluster.find(PODS, "p")["status"]["resourceClaimStatuses"] == told
        writes = len(cluster.writes)
        await cluster.settle(600)
        assert len(cluster.writes) == writes


async def test_a_missing_template_is_told_and_waited_for() -> None:
    async with Cluster() as cluster:
        cluster.start(ResourceClaimController)
        await cluster.create(PODS, user())
        await cluster.settle(1)
        fault = 'PodResourceClaim g: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found'
        assert set(cluster.events) == {("Pod/p", "FailedResourceClaimCreation", fault)}
        await cluster.create(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
        await cluster.settle()
        assert len(cluster.all(RESOURCE_CLAIMS)) == 1


async def test_devices_are_free_again_when_the_last_pod_is_done() -> None:
    async with Cluster() as cluster:
        for name in ("p", "q"):
            await cluster.create(PODS, pod(name, spec={"resourceClaims": [{"name": "g", "resourceClaimName": "shared"}]}))
        uids = {p["metadata"]["name"]: p["metadata"]["uid"] for p in cluster.all(PODS)}
        reserved = [{"resource": "pods", "name": name, "uid": uid} for name, uid in uids.items()]
        status = {"allocation": {"devices": {"results": []}}, "reservedFor": reserved}
        metadata = {"name": "shared", "namespace": "ns", "finalizers": [FINALIZER]}
        await cluster.create(RESOURCE_CLAIMS, {"metadata": metadata, "spec": SPEC, "status": status})
        cluster.start(ResourceClaimController)
        await cluster.delete(PODS, "ns", "p", {"gracePeriodSeconds": 0})
        await cluster.settle()
        there = cluster.find(RESOURCE_CLAIMS, "shared")
        assert [r["name"] for r in there["status"]["reservedFor"]] == ["q"] and there["status"]["allocation"]
        done = cluster.find(PODS, "q")
        await cluster.update(PODS, {**done, "status": {"phase": "Succeeded"}}, "status")
        await cluster.settle()
        there = cluster.find(RESOURCE_CLAIMS, "shared")
        assert there["status"] == {} and not there["metadata"].get("finalizers")


async def test_the_claim_of_a_finished_pod_is_deleted() -> None:
    async with Cluster() as cluster:
        cluster.start(ResourceClaimController)
        await cluster.create(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
        await cluster.create(PODS, user())
        await cluster.settle()
        done = cluster.find(PODS, "p")
        await cluster.update(PODS, {**done, "status": {**done["status"], "phase": "Failed"}}, "status")
        await cluster.settle()
        assert not cluster.all(RESOURCE_CLAIMS)

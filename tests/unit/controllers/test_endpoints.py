from __future__ import annotations

import pytest

from pilothouse.client.reconcile.entries import select
from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from pilothouse.controllers.endpoints import EndpointsController
from pilothouse.controllers.endpointslice import EndpointSliceController
from pilothouse.controllers.endpointslice_mirroring import EndpointSliceMirroringController
from pilothouse.controllers.registry import ENTRIES

from .builders import node, pod
from .cluster import Cluster, copy


def service(**spec):
    return {"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": 8080}], **spec}}


async def running(cluster: Cluster, count: int) -> None:
    await cluster.create(NODES, node("n1"))
    for i in range(count):
        await cluster.create(PODS, pod(f"p{i}", node=""))
    await cluster.run_pods()


def ready(cluster: Cluster) -> int:
    return sum(e["conditions"]["ready"] for s in cluster.all(ENDPOINT_SLICES) for e in s["endpoints"])


async def test_slices_and_endpoints_follow_the_pods():
    async with Cluster() as cluster:
        cluster.start(EndpointSliceController, EndpointsController, EndpointSliceMirroringController)
        await cluster.create(SERVICES, service(selector={"app": "a"}))
        await running(cluster, 3)
        await cluster.settle()
        assert ready(cluster) == len(cluster.find(ENDPOINTS, "s")["subsets"][0]["addresses"]) == 3
        await cluster.delete(PODS, "ns", "p0")
        await cluster.settle()
        assert ready(cluster) == len(cluster.find(ENDPOINTS, "s")["subsets"][0]["addresses"]) == 2
        await cluster.end_pods()
        await cluster.settle()
        assert len(cluster.all(ENDPOINT_SLICES)) == 1
        cluster.writes.clear()
        await cluster.settle(600)
        assert cluster.writes == []


async def test_many_pods_at_once_cost_few_writes_and_no_slice_too_many():
    async with Cluster() as cluster:
        cluster.start(EndpointSliceController)
        await cluster.create(SERVICES, service(selector={"app": "a"}))
        await running(cluster, 250)
        await cluster.settle(10)
        assert ready(cluster) == 250
        assert len(cluster.all(ENDPOINT_SLICES)) == 3
        assert sum(w[1] == "endpointslices" for w in cluster.writes) < 30


async def test_a_pod_of_a_node_that_comes_late_is_published_when_it_comes():
    async with Cluster() as cluster:
        cluster.start(EndpointSliceController)
        await cluster.create(SERVICES, service(selector={"app": "a"}))
        await cluster.create(PODS, pod("p", node=""))
        await cluster.run_pods()
        await cluster.settle(60)
        assert ready(cluster) == 0
        await cluster.create(NODES, node("n1"))
        await cluster.settle(1)
        assert ready(cluster) == 1


async def test_a_slice_that_somebody_deletes_or_edits_is_put_back():
    async with Cluster() as cluster:
        cluster.start(EndpointSliceController)
        await cluster.create(SERVICES, service(selector={"app": "a"}))
        await running(cluster, 1)
        await cluster.settle()
        (made,) = cluster.all(ENDPOINT_SLICES)
        await cluster.update(ENDPOINT_SLICES, {**copy(made), "endpoints": []})
        await cluster.settle()
        assert ready(cluster) == 1
        (made,) = cluster.all(ENDPOINT_SLICES)
        await cluster.delete(ENDPOINT_SLICES, "ns", made["metadata"]["name"])
        await cluster.settle()
        assert ready(cluster) == 1


async def test_hand_made_endpoints_are_mirrored_until_they_go():
    async with Cluster() as cluster:
        cluster.start(EndpointSliceMirroringController, EndpointSliceController, EndpointsController)
        await cluster.create(SERVICES, service())
        made = await cluster.create(
            ENDPOINTS, {"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 1}]}]}
        )
        await cluster.settle()
        (mirrored,) = cluster.all(ENDPOINT_SLICES)
        assert mirrored["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        await cluster.delete(ENDPOINTS, "ns", "s")
        await cluster.settle()
        assert cluster.all(ENDPOINT_SLICES) == []


def test_controllers_are_selected_by_names_and_former_names():
    everything = select(["*"], ENTRIES)
    assert everything == [e for e in ENTRIES if e.default]
    assert "namespace-controller" not in {e.name for e in select(["*", "-namespace"], ENTRIES)}
    assert [e.name for e in select(["deployment", "replicaset-controller"], ENTRIES)] == [
        "replicaset-controller",
        "deployment-controller",
    ]
    with pytest.raises(ValueError, match='"nonsense" is not in the list of known controllers'):
        select(["*", "-nonsense"], ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_controller_that_is_registered_exists(entry):
    assert entry.load().name == entry.name


async def test_endpoints_go_with_their_service_whoever_made_them():
    async with Cluster() as cluster:
        cluster.start(EndpointsController)
        await cluster.create(SERVICES, service())
        await cluster.create(ENDPOINTS, {"metadata": {"name": "s"}, "subsets": []})
        await cluster.create(ENDPOINTS, {"metadata": {"name": "lone"}, "subsets": []})
        await cluster.settle()
        await cluster.delete(SERVICES, "ns", "s")
        await cluster.settle()
        assert [e["metadata"]["name"] for e in cluster.all(ENDPOINTS)] == ["lone"]

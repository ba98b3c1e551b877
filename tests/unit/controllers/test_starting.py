"""Every controller may be started when its caches are full already, because another one has followed the same resources before."""

from __future__ import annotations

import pytest

from pilothouse.client.reconcile import kinds as known
from pilothouse.client.reconcile.entries import Entry
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.objects import Obj
from pilothouse.clock import rfc3339
from pilothouse.controllers import registry

from .builders import NOW, cron_job, daemon_set, deployment, job, node, pod, replica_set, stateful_set
from .cluster import KINDS, Cluster
from .test_certificates import authority, csr

OPTIONS = {"cluster_cidr": "10.0.0.0/16", "allocate_node_cidrs": True, "root_ca": "pem", **authority()}
OPTIONS["service_account_private_key"] = OPTIONS["cluster_signing_key"]
SLICE_LABELS = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io", "kubernetes.io/service-name": "s"}
#: What handlers look at in objects that are not made below.
PARTS: dict[Kind, Obj] = {
    known.CERTIFICATE_SIGNING_REQUESTS: csr(),
    known.ENDPOINT_SLICES: {"metadata": {"labels": SLICE_LABELS}},
    known.VOLUME_ATTACHMENTS: {"spec": {"attacher": "d", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}},
    known.RESOURCE_SLICES: {"spec": {"driver": "d", "pool": {"name": "p"}}},
    known.CONTROLLER_REVISIONS: {"revision": 1, "data": {}},
    known.REPLICATION_CONTROLLERS: {"spec": {"selector": {"app": "a"}, "template": {}}},
}


async def fill(cluster: Cluster) -> None:
    """Something of everything, some of it on its way out."""
    leaving = {"name": "gone", "deletionTimestamp": rfc3339(NOW), "finalizers": ["x"]}
    await cluster.create(known.NAMESPACES, {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}})
    await cluster.create(known.NAMESPACES, {"metadata": leaving, "spec": {"finalizers": ["kubernetes"]}})
    owner = await cluster.create(known.REPLICA_SETS, replica_set("r", 1))
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": owner["metadata"]["uid"], "controller": True}
    await cluster.create(known.PODS, pod("p", ready=5, metadata={"ownerReferences": [reference]}))
    await cluster.create(
        known.PODS, pod("q", node="", phase="Pending", metadata={"deletionTimestamp": rfc3339(NOW), "finalizers": ["x"]})
    )
    await cluster.create(known.NODES, node("n1"))
    await cluster.create(known.SERVICES, {"metadata": {"name": "s"}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}})
    for kind, obj in (
        (known.DEPLOYMENTS, deployment(1)),
        (known.DAEMON_SETS, daemon_set()),
        (known.STATEFUL_SETS, stateful_set(1)),
        (known.JOBS, job()),
        (known.CRON_JOBS, cron_job("0 * * * *")),
    ):
        await cluster.create(kind, obj)
    for kind in KINDS:
        if not cluster.all(kind):
            body = {"spec": {}, **PARTS.get(kind, {})}
            await cluster.create(kind, {**body, "metadata": {"name": "x", **body.get("metadata", {})}})


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
async def test_a_controller_starts_over_full_caches(entry: Entry) -> None:
    async with Cluster() as cluster:
        await fill(cluster)
        await cluster.settle(0)
        cluster.start(entry.load(), **OPTIONS)
        await cluster.settle(1)

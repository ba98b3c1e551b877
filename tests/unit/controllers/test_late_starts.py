"""Controllers that start when their caches are full already: handlers run before `__init__` is through."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.controllers import kinds as known
from pilothouse.controllers.kinds import Kind
from pilothouse.controllers.registry import ENTRIES, Entry

from .builders import daemon_set, deployment, node, pod, replica_set, stateful_set
from .cluster import KINDS, Cluster
from .test_certificates import authority, csr

SPECS: dict[Kind, dict[str, Any]] = {
    known.PODS: pod("p", ready=9, spec={"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}], "resourceClaims": [
        {"name": "g", "resourceClaimTemplateName": "t"}]}),
    known.NODES: node("n1"),
    known.DEPLOYMENTS: deployment(1),
    known.REPLICA_SETS: replica_set("r", 1),
    known.STATEFUL_SETS: stateful_set(1),
    known.DAEMON_SETS: daemon_set(),
    known.CERTIFICATE_SIGNING_REQUESTS: csr(),
    known.ENDPOINT_SLICES: {"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                                                    "kubernetes.io/service-name": "s"}}},
    known.VOLUME_ATTACHMENTS: {"spec": {"attacher": "d", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}},
    known.RESOURCE_SLICES: {"spec": {"driver": "d", "pool": {"name": "p"}}},
    known.REPLICATION_CONTROLLERS: {"spec": {"selector": {"app": "a"}, "template": {}}},
    known.CONTROLLER_REVISIONS: {"revision": 1, "data": {}},
}  # fmt: skip


async def stocked(cluster: Cluster) -> None:
    """One object of each resource, in the caches too."""
    for kind in KINDS:
        body = {"spec": {}, **SPECS.get(kind, {})}
        body["metadata"] = {"name": "x", **body.get("metadata", {})}
        await cluster.create(kind, body)
    await cluster.settle(1)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
async def test_full_caches_are_no_trouble_at_the_start(entry: Entry) -> None:
    import importlib

    options = {
        "root_ca": "PEM",
        "cluster_cidr": "10.0.0.0/16",
        "service_account_private_key": authority()["cluster_signing_key"],
        **authority(),
    }
    async with Cluster() as cluster:
        await stocked(cluster)
        module, _, name = entry.place.partition(":")
        found = getattr(importlib.import_module(f"pilothouse.controllers.{module}"), name)
        cluster.options = options
        found(cluster)

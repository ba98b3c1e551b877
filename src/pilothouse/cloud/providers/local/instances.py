"""Nodes as instances of this machine: they are what they say they are. A node is there as long as whoever runs it keeps it."""

from __future__ import annotations

from pilothouse.client.reconcile.objects import Obj, labels_of
from pilothouse.cloud.provider import InstanceMetadata

NAME = "local"
TYPE = "local.simulated"
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


class LocalInstances:
    async def exists(self, node: Obj) -> bool:
        """Always: a process that stops is no machine that was sold, and its node comes back with it."""
        return True

    async def shut_down(self, node: Obj) -> bool:
        return False

    async def metadata(self, node: Obj) -> InstanceMetadata:
        labels = labels_of(node)
        return InstanceMetadata(
            provider_id=(node.get("spec") or {}).get("providerID") or f"{NAME}://{node['metadata']['name']}",
            addresses=tuple((node.get("status") or {}).get("addresses") or ()),
            instance_type=TYPE,
            zone=labels.get(ZONE, ""),
            region=labels.get(REGION, NAME),
        )

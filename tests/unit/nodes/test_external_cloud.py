"""Nodes with --cloud-provider external: they wait for a cloud to say what they are, as a kubelet does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import NODES, Client
from pilothouse.clock import VirtualClock
from pilothouse.cluster import ApiHub
from pilothouse.nodes.simulated import STATUS_SECONDS, NodeOptions, SimulatedNodes
from pilothouse.store.memory import MemoryStore


async def test_a_node_waits_for_its_cloud_and_keeps_what_that_says(pilothouse_certificates: Path) -> None:
    clock = VirtualClock()
    hub = ApiHub(Settings(pilothouse_certificates, port=6443, listen=False), clock=clock, store=MemoryStore(clock))
    await hub.server.start()
    nodes = SimulatedNodes(hub.transport("pilothouse:nodes", "system:masters"), clock, NodeOptions(count=1, external=True))
    task = asyncio.create_task(nodes.run())
    client = Client(hub.transport("admin", "system:masters"), clock)
    await clock.advance(5)
    made = await client.get(NODES, "node-1")
    assert "node.cloudprovider.kubernetes.io/uninitialized" in [t["key"] for t in made["spec"]["taints"]]
    assert "topology.kubernetes.io/zone" not in made["metadata"]["labels"]
    assert [a["type"] for a in made["status"]["addresses"]] == ["InternalIP", "Hostname"]
    addresses = [{"type": "InternalIP", "address": "10.0.0.9"}]
    await client.patch(NODES, "node-1", {"status": {"addresses": addresses}}, how="merge", subresource="status")
    await clock.advance(2 * STATUS_SECONDS)
    assert (await client.get(NODES, "node-1"))["status"]["addresses"] == addresses
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await hub.server.stop()

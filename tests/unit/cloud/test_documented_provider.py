"""The provider in docs/cloud-providers.md passes the suite that the page tells of, as the page has it."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

from pilothouse.client.client import NODES, Client

PAGE = Path(__file__).parents[3] / "docs" / "cloud-providers.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

_module = types.ModuleType("acme_cloud")
exec(compile(BLOCKS[0], str(PAGE), "exec"), _module.__dict__)
sys.modules["acme_cloud"] = _module
exec(compile(BLOCKS[1], str(PAGE), "exec"), globals())
del sys.modules["acme_cloud"]
exec(compile(BLOCKS[3], str(PAGE), "exec"), globals())


async def test_nodes_of_a_cluster_at_a_fake_cloud_are_its_instances(cloud_cluster) -> None:
    client = Client(cloud_cluster.admin, cloud_cluster.clock)
    await cloud_cluster.clock.advance(5)
    nodes = await client.list(NODES)
    assert [n["spec"]["providerID"] for n in nodes] == ["fake://i-1", "fake://i-2"]
    assert [n["metadata"]["labels"]["topology.kubernetes.io/zone"] for n in nodes] == ["zone-1", "zone-2"]


async def test_faults_are_planned_as_the_page_shows() -> None:
    exec(compile(BLOCKS[2], str(PAGE), "exec"), {})

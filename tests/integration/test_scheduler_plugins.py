"""A plugin from a file in a running cluster: it decides, it is exchanged without a restart, and its faults stay its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.interface import Transport
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore

CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles: [{plugins: {multiPoint: {enabled: [{name: Chosen, weight: 10}]}}}]
"""
PLUGIN = """
from pilothouse.scheduler.plugin import Code, Plugin, Status

class Chosen(Plugin):
    name = "Chosen"
    def filter(self, cycle, node):
        return %s
"""
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def up(pilothouse_certificates: Path, tmp_path: Path) -> AsyncIterator[tuple[Transport, Callable[[str], None]]]:
    """An administrator of a cluster with two nodes, and a function that writes the plugin's verdict."""
    config, plugin = tmp_path / "scheduler.yaml", tmp_path / "chosen.py"

    def write(verdict: str) -> None:
        plugin.write_text(PLUGIN % verdict)

    config.write_text(CONFIG)
    write(verdict_for("node-1"))
    clock = SystemClock()
    hub = ApiHub(Settings(pilothouse_certificates, port=6443, listen=False), clock=clock, store=MemoryStore(clock))
    async with Cluster(hub, Spokes(nodes=2, scheduler_config=config, scheduler_plugins=(plugin,))).running():
        yield hub.transport("admin", "system:masters"), write


def verdict_for(name: str) -> str:
    return f"None if node.name == {name!r} else Status(Code.UNSCHEDULABLE, ('node(s) were not chosen',))"


async def decided(admin: Transport, name: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The pod, once it is as wanted."""
    pod = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await admin.request("POST", PODS, body=pod)
    async with asyncio.timeout(30):
        while True:
            found: dict[str, Any] = (await admin.request("GET", f"{PODS}/{name}")).body
            if done(found):
                return found
            await asyncio.sleep(0.02)


def placed(pod: dict[str, Any]) -> bool:
    return bool(pod["spec"].get("nodeName"))


async def test_a_plugin_is_exchanged_while_the_scheduler_runs(up: tuple[Transport, Callable[[str], None]]) -> None:
    admin, write = up
    assert (await decided(admin, "one", placed))["spec"]["nodeName"] == "node-1"
    write(verdict_for("node-2"))
    async with asyncio.timeout(30):
        number = 0
        while (await decided(admin, f"two-{number}", placed))["spec"]["nodeName"] != "node-2":
            number += 1
            await asyncio.sleep(0.1)


async def test_a_failing_plugin_is_named_and_can_be_mended(up: tuple[Transport, Callable[[str], None]]) -> None:
    admin, write = up
    write("1 / 0")

    def failed(pod: dict[str, Any]) -> bool:
        return any(c.get("reason") == "SchedulerError" for c in pod["status"].get("conditions") or ())

    async with asyncio.timeout(30):
        number = 0
        while True:
            pod = await decided(admin, f"p-{number}", lambda p: placed(p) or failed(p))
            if failed(pod):
                break
            number += 1
            await asyncio.sleep(0.1)
    assert "running plugin 'Chosen': ZeroDivisionError" in str(pod["status"]["conditions"])
    write(verdict_for("node-2"))
    assert (await decided(admin, pod["metadata"]["name"], placed))["spec"]["nodeName"] == "node-2"

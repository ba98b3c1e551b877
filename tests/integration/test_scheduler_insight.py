"""`pilothouse explain` and `what-if`, against a live cluster and through kubectl."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import yaml
from test_main_job import kubectl

from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore
from pilothouse.testing.plugin import TestCluster

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec: {containers: [{name: c, image: i, resources: {requests: {cpu: "%s"}}}]}
"""


async def pilothouse(*arguments: str, code: int = 0, kubeconfig: Path | None = None) -> str:
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pilothouse", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(kubeconfig or "/nowhere")},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == code, output.decode()
    return output.decode()


async def applied(cluster: TestCluster, folder: Path, text: str) -> Path:
    manifest = folder / "manifest.yaml"
    manifest.write_text(text)
    await kubectl(cluster, "apply", "-f", str(manifest))
    return manifest


async def test_a_pod_is_explained_where_it_runs_and_where_it_waits(cluster: TestCluster, tmp_path: Path) -> None:
    await applied(cluster, tmp_path, POD % ("small", "1"))
    await kubectl(cluster, "wait", "pod/small", "--for=condition=PodScheduled", "--timeout=30s")
    told = await pilothouse("explain", "pod/small", kubeconfig=cluster.kubeconfig)
    assert "Pod default/small is on node-" in told and "2 of 2 nodes could run it" in told and "Scores" in told
    await applied(cluster, tmp_path, POD % ("big", "500"))
    await kubectl(cluster, "wait", "pod/big", "--for=condition=PodScheduled=False", "--timeout=30s")
    svg = tmp_path / "big.svg"
    told = await pilothouse("explain", "big", "--svg", str(svg), kubeconfig=cluster.kubeconfig)
    assert "has no node: Unschedulable" in told and "short (asks for 500" in told
    assert svg.read_text().startswith("<svg")
    found = json.loads(await pilothouse("explain", "big", "-o", "json", kubeconfig=cluster.kubeconfig))
    assert found["kind"] == "SchedulingDecision" and found["status"]["filters"][0]["plugin"] == "NodeResourcesFit"
    assert "Unschedulable" in await kubectl(cluster, "get", "schedulingdecisions", "big")
    assert 'pods "nobody" not found' in await pilothouse("explain", "nobody", code=2, kubeconfig=cluster.kubeconfig)


async def test_what_if_on_the_live_cluster_by_dump_and_as_a_call(cluster: TestCluster, tmp_path: Path) -> None:
    manifest = tmp_path / "big.yaml"
    manifest.write_text(POD % ("big", "6") + "---" + POD % ("bigger", "7") + "---" + POD % ("biggest", "7"))
    live = await pilothouse("what-if", "-f", str(manifest), kubeconfig=cluster.kubeconfig)
    assert "2 of 3 pods would get a node. Nothing was changed." in live
    more = ("--add-nodes", "1", "--like", "node-1")
    assert "3 of 3" in await pilothouse("what-if", "-f", str(manifest), *more, kubeconfig=cluster.kubeconfig)
    dump = tmp_path / "dump.yaml"
    dump.write_text(await kubectl(cluster, "get", "nodes,pods,namespaces", "-A", "-o", "yaml"))
    told = await pilothouse("what-if", "-f", str(manifest), "--from", str(dump), "--drain", "node-1", "-o", "yaml")
    assert yaml.safe_load(told)["summary"]["placed"] == 1
    assert await kubectl(cluster, "get", "pods", "-o", "name") == ""
    question = {"apiVersion": "pilothouse.dev/v1alpha1", "kind": "WhatIf", "metadata": {"name": "q"},
                "spec": {"objects": list(yaml.safe_load_all(manifest.read_text())), "addNodes": {"count": 1, "like": "node-2"}}}  # fmt: skip
    asked = tmp_path / "question.json"
    asked.write_text(json.dumps(question))
    answered = json.loads(await kubectl(cluster, "create", "-f", str(asked), "-o", "json"))
    assert answered["status"]["summary"] == {"pods": 3, "placed": 3, "withoutNode": 0}
    question["spec"]["drain"] = ["nowhere"]  # type: ignore[index]
    asked.write_text(json.dumps(question))
    assert "there is no node nowhere" in await kubectl(cluster, "create", "-f", str(asked), code=1)


async def test_where_no_scheduler_explains_itself_the_command_decides_anew(pilothouse_certificates: Path, tmp_path: Path) -> None:
    clock = SystemClock()
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=clock, store=MemoryStore(clock))
    config = tmp_path / "kubeconfig"
    async with Cluster(hub, Spokes(controllers=True, scheduler=False, nodes=2)).running():
        hub.write_kubeconfig(config)
        admin = hub.transport("admin", "system:masters")
        await admin.request("POST", "/api/v1/namespaces/default/pods", body=yaml.safe_load(POD % ("big", "500")))
        told = await pilothouse("explain", "big", kubeconfig=config)
    assert "as default-scheduler decides now" in told and "Insufficient cpu" in told and "short (asks for 500" in told


async def test_what_cannot_be_asked_is_told_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: [")
    for arguments, told in (
        (("what-if",), "nothing to try"),
        (("what-if", "-f", str(broken), "--from", str(broken)), "broken.yaml"),
        (("explain", "node/x"), "expected pod/NAME"),
        (("explain", "x", "--kubeconfig", "/nowhere/k"), "/nowhere/k"),
    ):
        output = await pilothouse(*arguments, code=2)
        assert told in output and len(output.strip().splitlines()) == 1, output

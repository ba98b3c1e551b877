"""The main job: an unchanged manifest, applied by an unchanged kubectl, and its pods running."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from pilothouse.testing.plugin import TestCluster

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook" / "guestbook.yaml"
#: That of this environment before that of the machine.
KUBECTL = shutil.which("kubectl", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))) or "kubectl"


async def kubectl(cluster: TestCluster, *arguments: str, code: int = 0) -> str:
    """What kubectl prints; fails the test when it ends with another exit code."""
    process = await asyncio.create_subprocess_exec(
        KUBECTL, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.kubeconfig.parent)},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == code, output.decode()
    return output.decode()


async def test_the_guestbook_runs(cluster: TestCluster) -> None:
    applied = await kubectl(cluster, "apply", "-f", str(GUESTBOOK))
    assert "deployment.apps/frontend created" in applied
    await kubectl(cluster, "-n", "guestbook", "rollout", "status", "deployment/frontend", "--timeout=30s")
    await kubectl(cluster, "-n", "guestbook", "rollout", "status", "deployment/redis-leader", "--timeout=30s")
    shown = await kubectl(cluster, "-n", "guestbook", "get", "pods", "--no-headers")
    assert len(shown.splitlines()) == 4 and shown.count("Running") == 4
    assert "unchanged" in await kubectl(cluster, "apply", "-f", str(GUESTBOOK))


async def test_a_rollout_is_watched_undone_and_scaled(cluster: TestCluster) -> None:
    await kubectl(cluster, "create", "deployment", "web", "--image=web:v1", "--replicas=3")
    await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=30s")
    await kubectl(cluster, "set", "image", "deployment/web", "web=web:v2")
    await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=30s")
    assert "2" in await kubectl(cluster, "rollout", "history", "deployment/web")
    await kubectl(cluster, "rollout", "undo", "deployment/web")
    await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=30s")
    assert "web:v1" in await kubectl(
        cluster, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    )
    await kubectl(cluster, "scale", "deployment/web", "--replicas=1")
    await kubectl(cluster, "wait", "deployment/web", "--for=jsonpath={.status.replicas}=1", "--timeout=30s")


async def test_what_kubectl_shows(cluster: TestCluster) -> None:
    await kubectl(cluster, "run", "one", "--image=one:1")
    await kubectl(cluster, "wait", "pod/one", "--for=condition=Ready", "--timeout=30s")
    assert "v1.36.0+pilothouse.sim" in await kubectl(cluster, "get", "nodes", "-o", "wide")
    assert "Scheduled" in await kubectl(cluster, "describe", "pod", "one")
    assert "pods" in await kubectl(cluster, "api-resources")
    assert "containers" in await kubectl(cluster, "explain", "pod.spec")
    await kubectl(cluster, "delete", "pod", "one", "--timeout=30s")
    assert "NotFound" in await kubectl(cluster, "get", "pod", "one", code=1)

"""The controller-manager is killed again and again in the middle of its work: what it was asked for is there in the end, once."""

from __future__ import annotations

import json
import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from etcd_server import free_port
from live_cluster import Kubectl, Program, wait_for

KILLS = 8
Obj = dict[str, Any]


def template(app: str, image: str, **spec: Any) -> Obj:
    notes = {"pilothouse.dev/run-for": "0.2"} if "restartPolicy" in spec else {}
    return {
        "metadata": {"labels": {"app": app}, "annotations": notes},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


def manifests(image: str) -> str:
    """A Deployment, a StatefulSet and a DaemonSet of this image."""

    def workload(kind: str, name: str, **spec: Any) -> Obj:
        of = {"selector": {"matchLabels": {"app": name}}, "template": template(name, image), **spec}
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": of}

    items = [
        workload("Deployment", "d", replicas=6),
        workload("StatefulSet", "s", replicas=3, serviceName="s", podManagementPolicy="Parallel"),
        workload("DaemonSet", "a"),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def jobs(numbers: range) -> str:
    def job(n: int) -> Obj:
        mode = "Indexed" if n % 2 else "NonIndexed"
        spec = {"completions": 5, "parallelism": 3, "completionMode": mode, "template": template("j", "j", restartPolicy="Never")}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"j{n}"}, "spec": spec}

    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [job(n) for n in numbers]})


def pods(kubectl: Kubectl) -> list[Obj]:
    found: list[Obj] = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    return [p for p in found if "deletionTimestamp" not in p["metadata"]]


@pytest.mark.xdist_group("live-sqlite")
def test_nothing_is_lost_doubled_or_left_behind(tmp_path: Path) -> None:
    dice = random.Random(1)
    data, config = tmp_path / "data", tmp_path / "kubeconfig"
    manager = (
        "controller-manager", "--kubeconfig", str(config), "--no-leader-elect", "--use-service-account-credentials",
        "--root-ca-file", str(data / "pki" / "ca.crt"), "--service-account-private-key-file", str(data / "pki" / "sa.key"),
    )  # fmt: skip
    with ExitStack() as stack:

        def run(*arguments: str, wait: bool = False) -> Program:
            program = Program(*arguments, wait=wait)
            stack.callback(program.stop)
            return program

        port = str(free_port())
        run("apiserver", "--data-dir", str(data), "--secure-port", port, "--kubeconfig-out", str(config), wait=True)
        run("scheduler", "--kubeconfig", str(config), "--no-leader-elect", "--secure-port", "0")
        run("nodes", "--kubeconfig", str(config), "--count", "2")
        everything = Kubectl(config)
        kubectl = Kubectl(config, "work")
        everything("create", "namespace", "work")
        working = run(*manager)
        wait_for(lambda: "default" in kubectl("get", "serviceaccounts"), "the service account")
        for kill in range(KILLS):
            kubectl("apply", "-f", "-", stdin=manifests(f"v{kill % 3}"))
            kubectl("apply", "-f", "-", stdin=jobs(range(kill, kill + 1)))
            everything("create", "namespace", f"gone-{kill}")
            everything("-n", f"gone-{kill}", "create", "configmap", "c")
            everything("delete", "namespace", f"gone-{kill}", "--wait=false")
            time.sleep(dice.uniform(0.0, 1.2))  # somewhere in the middle of it
            working.process.kill()
            working.process.wait()
            working = run(*manager)
        last = f"v{(KILLS - 1) % 3}"
        for what in ("deployment/d", "statefulset/s", "daemonset/a"):
            kubectl.rolled_out(what)
        kubectl("wait", "--for=condition=complete", "job", "--all", "--timeout=60s")
        for job in json.loads(kubectl("get", "jobs", "-o", "json"))["items"]:
            status = job["status"]
            assert (status["succeeded"], status.get("failed", 0), status["uncountedTerminatedPods"]) == (5, 0, {}), job[
                "metadata"
            ]["name"]

        def counts() -> dict[str, int]:
            found = pods(kubectl)
            assert not [p["metadata"]["name"] for p in found if p["metadata"].get("finalizers")]
            of_images = [(p["metadata"]["labels"]["app"], p["spec"]["containers"][0]["image"]) for p in found]
            return {app: sum(each == (app, image) for each in of_images) for app, image in set(of_images)}

        wait_for(lambda: counts() == {"d": 6, "s": 3, "a": 2, "j": 5 * KILLS}, "the pods that were asked for, and no others")
        assert {p["spec"]["containers"][0]["image"] for p in pods(kubectl)} == {last, "j"}
        wait_for(lambda: "gone-" not in everything("get", "namespaces"), "deleted namespaces to go")
        assert "Traceback" not in working.told(), working.told()

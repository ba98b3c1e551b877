"""Operators written as for any cluster, as processes of their own: with kopf, lightkube and kr8s (`tests/e2e/operators`)."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from live_cluster import ON_SQLITE, SECONDS, Kubectl, wait_for

FOLDER = Path(__file__).parent / "operators"
MAIN = """
apiVersion: data.example.com/v1
kind: Database
metadata: {name: main}
spec: {engine: postgres, replicas: 2, size: 10Gi}
"""


@pytest.fixture
def definition(kubectl: Kubectl) -> Iterator[None]:
    kubectl("apply", "-f", str(FOLDER / "database.yaml"))
    kubectl("wait", "--for=condition=Established", "crd/databases.data.example.com", f"--timeout={SECONDS:.0f}s")
    yield
    for name in kubectl("get", "databases", "-o", "name").split():  # of a test that failed
        kubectl("patch", name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl("delete", "database", "--all", f"--timeout={SECONDS:.0f}s")
    kubectl("delete", "crd", "databases.data.example.com", f"--timeout={SECONDS:.0f}s")


@contextmanager
def running(kubectl: Kubectl, log: Path, *command: str) -> Iterator[Callable[[], str]]:
    """An operator; the function gives what it has told so far. It must still be alive at the end, and end without a traceback."""
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**kubectl.environment, **_variables()})
        try:
            yield log.read_text
            assert process.poll() is None, log.read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                process.kill()
                process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


def _variables() -> dict[str, str]:
    return {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "PATH": os.environ["PATH"]}


def status(kubectl: Kubectl) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl.path("database/main", ".status") or "{}")
    return found


def children(kubectl: Kubectl) -> str:
    return kubectl("get", "deployments,replicasets,pods", "-o", "name")


def test_an_operator_written_with_kopf(kubectl: Kubectl, definition: None, tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "--namespace",
        kubectl.namespace,
        str(FOLDER / "kopf_database.py"),
    )
    with running(kubectl, tmp_path / "log", *command):
        kubectl("apply", "-f", "-", stdin=MAIN)
        wait_for(lambda: "data.example.com/kopf" in kubectl.path("database/main", ".metadata.finalizers"), "the finalizer")
        assert "deployment" not in children(kubectl), "create waits for a password, and is tried again"
        kubectl("create", "secret", "generic", "main", "--from-literal=password=secret")
        kubectl("label", "secret", "main", "kind=password")
        wait_for(lambda: status(kubectl).get("ready") == 2, "the daemon to have seen two pods")
        told = status(kubectl)
        assert told["create"] == {"child": "main", "password": base64.b64encode(b"secret").decode()}, "from the index"
        wait_for(lambda: status(kubectl).get("ticks") == 3, "the timer")
        wait_for(lambda: "Provisioned" in kubectl("events", "--for", "database/main"), "the event")
        assert kubectl.path("deployment/main", ".metadata.ownerReferences[0]['kind','controller']") == "Database true"

        kubectl("scale", "database/main", "--replicas=3")
        wait_for(lambda: (status(kubectl).get("replicas"), status(kubectl).get("ready")) == (3, 3), "the field's handler")
        kubectl("delete", "database", "main", f"--timeout={SECONDS:.0f}s")
        assert kubectl.path("configmap/main-backup", ".data.replicas") == "3", "written before the finalizer went"
        wait_for(lambda: children(kubectl) == "", "the children to be collected")


@ON_SQLITE
def test_an_operator_takes_up_what_happened_while_it_was_away(kubectl: Kubectl, definition: None, tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "--namespace",
        kubectl.namespace,
        str(FOLDER / "kopf_database.py"),
    )
    kubectl("create", "secret", "generic", "main", "--from-literal=password=secret")
    kubectl("label", "secret", "main", "kind=password")
    kubectl("apply", "-f", "-", stdin=MAIN)
    with running(kubectl, tmp_path / "first", *command):
        wait_for(lambda: status(kubectl).get("ready") == 2, "two pods")
    kubectl("scale", "database/main", "--replicas=1")
    kubectl("delete", "database", "main", "--wait=false")
    assert kubectl.path("database/main", ".metadata.deletionTimestamp"), "it is held by the finalizer"
    with running(kubectl, tmp_path / "second", *command):
        kubectl("wait", "database/main", "--for=delete", f"--timeout={SECONDS:.0f}s")
        assert kubectl("get", "configmap", "main-backup", "-o", "name")


@pytest.mark.parametrize("library", ["lightkube", "kr8s"])
def test_a_controller_written_with_a_client_library(kubectl: Kubectl, definition: None, tmp_path: Path, library: str) -> None:
    with running(kubectl, tmp_path / "log", sys.executable, str(FOLDER / f"{library}_database.py"), kubectl.namespace) as told:
        kubectl("apply", "-f", "-", stdin=MAIN)
        ready = {"phase": "Ready", "ready": 2, "replicas": 2}
        wait_for(lambda: status(kubectl) == ready, "two pods")
        assert kubectl.path("deployment/main", ".metadata.ownerReferences[0].name") == "main"
        kubectl("scale", "database/main", "--replicas=3")
        wait_for(lambda: status(kubectl) == {**ready, "ready": 3, "replicas": 3}, "three pods")
        assert kubectl("get", "database", "main", "--no-headers").split() == ["main", "postgres", "Ready"]
        kubectl("delete", "database", "main", f"--timeout={SECONDS:.0f}s")
        wait_for(lambda: children(kubectl) == "", "the children to be collected")
        wait_for(lambda: "DELETED" in told(), "the controller to hear of it")
        if library == "kr8s":
            assert kubectl.path("configmap/main-backup", ".data.by") == "kr8s", "its finalizer let it do so"

"""Each component a process of its own, as on a real cluster: the main job is done, and leaders are elected."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from etcd_server import free_port
from live_cluster import Kubectl, Program, wait_for

from pilothouse.client import loopback

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook" / "guestbook.yaml"


def asked(port: int, path: str, token: str = "") -> str:
    """What a component's own port answers."""
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    context = ssl._create_unverified_context()  # its certificate signs itself
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def answering(ip: str, port: int) -> str:
    """The name of the simulated pod with this address."""
    with urllib.request.urlopen(f"http://{loopback.twin(ip)}:{loopback.port(port)}/", timeout=10) as answer:
        return str(answer.headers["X-Pod-Name"])


@pytest.mark.xdist_group("live-sqlite")
def test_the_main_job_with_four_processes(tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "kubeconfig"
    with ExitStack() as stack:

        def run(*arguments: str, wait: bool = False) -> Program:
            program = Program(*arguments, wait=wait)
            stack.callback(program.stop)
            return program

        server = run(
            "apiserver", "--data-dir", str(data), "--secure-port", str(free_port()), "--kubeconfig-out", str(config), wait=True
        )
        manager_port = free_port()
        spokes = [
            run(
                "controller-manager", "--kubeconfig", str(config), "--leader-elect", "--use-service-account-credentials",
                "--root-ca-file", str(data / "pki" / "ca.crt"), "--service-account-private-key-file", str(data / "pki" / "sa.key"),
                "--secure-port", str(manager_port), "--bind-address", "127.0.0.1",
            ),
            run("scheduler", "--kubeconfig", str(config), "--leader-elect", "--secure-port", str(free_port())),
            run("nodes", "--kubeconfig", str(config), "--count", "2"),
        ]  # fmt: skip
        kubectl = Kubectl(config)
        kubectl("apply", "-f", str(GUESTBOOK))
        guestbook = Kubectl(config, "guestbook")
        guestbook.rolled_out("deployment/frontend")
        guestbook.rolled_out("deployment/redis-leader")
        assert guestbook("get", "pods", "--no-headers").count("Running") == 4
        names = guestbook("get", "pods", "-l", "tier=frontend", "-o", "name").split()
        assert {answering(guestbook.path(name, ".status.podIP"), 80) for name in names} == {n.removeprefix("pod/") for n in names}
        wait_for(lambda: "kube-root-ca.crt" in guestbook("get", "configmaps"), "the root CA")
        for component in ("kube-controller-manager", "kube-scheduler"):
            assert Kubectl(config, "kube-system").path(f"lease/{component}", ".spec.holderIdentity"), component
        told = asked(manager_port, "/healthz?verbose")
        assert "[+]deployment-controller ok" in told and told.endswith("healthz check passed\n")
        token = Kubectl(config, "kube-system")("create", "token", "default").strip()
        assert "Forbidden" in asked(manager_port, "/metrics", token)
        for program in (*spokes, server):
            assert program.process.poll() is None, program.told()
            assert "Traceback" not in program.told(), program.told()

"""The guestbook answers: `make up` as the README tells it, and a load balancer and a gateway through changes and a restart, with either engine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from etcd_server import free_port
from live_cluster import Kubectl, Program, wait_for

from pilothouse.dataplane.haproxy import binary

ROOT = Path(__file__).parents[2]
GUESTBOOK = ROOT / "examples" / "guestbook"


def test_the_tour_asks_the_load_balancer_and_the_gateway(tmp_path: Path) -> None:
    environment = {**os.environ, "PORT": str(free_port()), "FOLDER": str(tmp_path / "tour"), "ONCE": "1"}
    tour = [sys.executable, str(ROOT / "tools" / "tour.py")]
    done = subprocess.run(tour, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    asked = [n for n, line in enumerate(lines) if line.startswith("$ curl")]
    assert len(asked) == 2, done.stdout
    answers = [json.loads(lines[n + 1]) for n in asked]
    assert all(a["pod"].startswith("frontend-") and a["namespace"] == "guestbook" for a in answers)
    assert [a["host"].partition(":")[0] for a in answers][1] == "guestbook.localhost"
    assert "X-Forwarded-Host" in answers[1]["headers"]


@dataclass
class Up:
    """A cluster that can be stopped and started again."""

    arguments: list[str]
    kubectl: Kubectl
    program: Program | None = None

    def start(self) -> None:
        self.program = Program("up", *self.arguments)

    def stop(self) -> None:
        assert self.program is not None
        told, self.program, program = self.program.told(), None, self.program
        assert program.stop() == 0
        assert "Traceback" not in told, told

    def address(self) -> str:
        found = ".status.loadBalancer.ingress[0].ip"
        self.kubectl("wait", f"--for=jsonpath={{{found}}}", "service/frontend", "--timeout=30s")
        return self.kubectl.path("service/frontend", found)

    def gateway(self) -> str:
        self.kubectl("wait", "--for=condition=Programmed", "gateway/guestbook", "--timeout=30s")
        return self.kubectl.path("gateway/guestbook", ".status.addresses[0].value")


@pytest.fixture(params=["embedded", "haproxy"])
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Up]:
    if request.param == "haproxy":
        try:
            binary.check()
        except OSError as missing:
            pytest.skip(str(missing))
    seed = os.getpid() % 200
    config = tmp_path / "cloud.yaml"
    config.write_text(f"engine: {request.param}\naddresses: 127.{(52, 53)[request.param == 'haproxy']}.{seed}.0/24\n")
    arguments = ["--data-dir", str(tmp_path / "data"), "--port", str(free_port()), "--nodes", "2",
                 "--kubeconfig", str(tmp_path / "kubeconfig"), "--cloud-config", str(config)]  # fmt: skip
    up = Up(arguments, Kubectl(tmp_path / "kubeconfig", "guestbook"))
    up.start()
    try:
        yield up
    finally:
        if up.program is not None:
            up.stop()


def ask(address: str, host: str = "") -> tuple[int, str]:
    """The status, and the pod that answered; (0, "") where nothing answers."""
    connection = http.client.HTTPConnection(address, 8080, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/", headers={"Host": host} if host else {})
            answer = connection.getresponse()
            body = answer.read()
        except OSError:
            return 0, ""
    return answer.status, json.loads(body)["pod"] if answer.status == 200 else ""


def pods_at(address: str, host: str = "", requests: int = 12) -> set[str]:
    """Which pods answer so many requests, all of which have to be answered."""
    answers = [ask(address, host) for _ in range(requests)]
    assert {status for status, _ in answers} == {200}
    return {pod for _, pod in answers}


def test_the_guestbook_answers_at_its_load_balancer_and_its_gateway_also_after_a_restart(up: Up) -> None:
    up.kubectl("apply", "-f", str(GUESTBOOK / "guestbook.yaml"))
    up.kubectl.rolled_out("deployment/frontend")
    address = up.address()
    wait_for(lambda: ask(address)[0] == 200, "an answer of the load balancer")
    names = set(up.kubectl("get", "pods", "-l", "tier=frontend", "-o", "jsonpath={.items[*].metadata.name}").split())
    wait_for(lambda: pods_at(address) == names, "answers of all three pods")

    up.kubectl("apply", "-f", str(GUESTBOOK / "http-gateway.yaml"))
    gateway = up.gateway()
    assert gateway != address
    wait_for(lambda: ask(gateway, "guestbook.localhost")[0] == 200, "an answer of the gateway")
    wait_for(lambda: pods_at(gateway, "guestbook.localhost") == names, "answers of all three pods")
    assert ask(gateway, "elsewhere.localhost")[0] == 404

    up.kubectl("scale", "deployment/frontend", "--replicas=1")
    wait_for(lambda: len(pods_at(address)) == 1 == len(pods_at(gateway, "guestbook.localhost")), "one pod only")

    up.stop()
    assert ask(address) == (0, "")
    up.start()
    wait_for(lambda: ask(address)[0] == 200, "an answer at the same address")
    wait_for(lambda: ask(gateway, "guestbook.localhost")[0] == 200, "an answer of the gateway at the same address")
    assert (up.address(), up.gateway()) == (address, gateway)

    up.kubectl("delete", "-f", str(GUESTBOOK / "http-gateway.yaml"), "-f", str(GUESTBOOK / "guestbook.yaml"))
    assert ask(address) == ask(gateway) == (0, "")

"""Rolling updates, scaling down and deleting pods under 500 requests a second: not one of them fails, with either engine.

`pilothouse up` and the load generator are processes of their own. Two of three requests come on kept connections, half of all have a body, and
none is tried twice (`traffic.py`). Pods are told of their end a second before it, as long as nothing else is said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from live_cluster import Kubectl, own_cluster, wait_for

from pilothouse.dataplane.haproxy import binary

pytestmark = pytest.mark.xdist_group("traffic")  # not several at once
RATE = 500
#: Addresses of load balancers that no other process of a test run has.
ADDRESSES = f"127.57.{os.getpid() % 250}.0/24"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "web:1", ports: [{containerPort: 8080}]}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 8080}]
"""
CLUSTER_SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 8080}]
"""
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: pilothouse
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example.com]
  rules:
  - backendRefs: [{name: web, port: 8080}]
"""


@pytest.fixture(params=["embedded", "haproxy"])
def kubectl(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl for a cluster of its own, with load balancers by one of the engines."""
    if request.param == "haproxy":
        try:
            binary.check()
        except OSError as error:
            pytest.skip(str(error))
    config = tmp_path / "cloud.yaml"
    config.write_text(f"engine: {request.param}\naddresses: {ADDRESSES}\n")
    flags = ("--nodes", "3", "--dns-port", "0", "--proxy-mode", "none", "--cloud-config", str(config))
    with own_cluster(tmp_path, *flags) as kubectl:
        yield kubectl


@contextmanager
def traffic(url: str, host: str = "") -> Iterator[Callable[[], dict[str, Any]]]:
    """Requests that flow; the function ends them and gives the account."""
    script = Path(__file__).with_name("traffic.py")
    process = subprocess.Popen([sys.executable, str(script), url, str(RATE), host], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None

    def account() -> dict[str, Any]:
        process.send_signal(signal.SIGTERM)
        told: dict[str, Any] = json.loads(process.communicate(timeout=90)[0])
        return told

    try:
        assert process.stdout.readline() == "flowing\n"
        yield account
    finally:
        process.kill()
        process.communicate()


def pods(kubectl: Kubectl) -> set[str]:
    return set(kubectl("get", "pods", "-o", "name").split())


def settled(kubectl: Kubectl, replicas: int, gone: set[str]) -> None:
    """Until there are so many pods, and none of those."""
    wait_for(lambda: len(now := pods(kubectl)) == replicas and not now & gone, f"{replicas} pods")


def change_everything(kubectl: Kubectl) -> None:
    """A rolling update, a scaling down, and deletions of pods, each to its end."""
    before = pods(kubectl)
    kubectl("set", "image", "deployment/web", "main=web:2")
    kubectl.rolled_out("deployment/web")
    settled(kubectl, 4, before)
    kubectl("scale", "deployment/web", "--replicas=2")
    settled(kubectl, 2, set())
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl.rolled_out("deployment/web")
    one = min(pods(kubectl))
    kubectl("delete", one, "--wait=false")
    settled(kubectl, 3, {one})
    kubectl("rollout", "restart", "deployment/web")
    kubectl.rolled_out("deployment/web")
    time.sleep(1.5)  # what those that leave still get


def check(told: dict[str, Any], seconds: float) -> None:
    assert told["failures"] == {}, told
    assert told["answered"] == told["sent"] >= RATE * seconds * 0.2, told  # a busy machine sends fewer
    assert len(told["pods"]) >= 11, told  # of two updates, and of those that came back


def test_a_load_balancer_loses_no_request(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT + SERVICE)
    kubectl.rolled_out("deployment/web")
    address = ".status.loadBalancer.ingress[0].ip"
    wait_for(lambda: kubectl.path("service/web", address) != "", "an address")
    begun = time.monotonic()
    with traffic(f"http://{kubectl.path('service/web', address)}:8080/") as account:
        change_everything(kubectl)
        seconds = time.monotonic() - begun
        check(account(), seconds)


def test_a_gateway_loses_no_request(kubectl: Kubectl) -> None:
    for definition in ("gateways", "httproutes"):
        what = f"crd/{definition}.gateway.networking.k8s.io"
        kubectl("wait", "--for=create", what, "--timeout=60s")
        kubectl("wait", "--for=condition=Established", what, "--timeout=60s")
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT + CLUSTER_SERVICE + GATEWAY)
    kubectl.rolled_out("deployment/web")
    kubectl("wait", "gateway/edge", "--for=condition=Programmed", "--timeout=60s")
    parent = ".status.parents[0].conditions[?(@.type=='Accepted')].status"
    wait_for(lambda: kubectl.path("httproute/web", parent) == "True", "a route")
    begun = time.monotonic()
    with traffic(f"http://{kubectl.path('gateway/edge', '.status.addresses[0].value')}:8080/", "web.example.com") as account:
        change_everything(kubectl)
        seconds = time.monotonic() - begun
        check(account(), seconds)

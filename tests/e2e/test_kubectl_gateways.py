"""Gateways and Ingresses as kubectl shows them, in a cluster that was started with `pilothouse up`; also over upstream's definitions."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from live_cluster import Kubectl, own_cluster, wait_for

from pilothouse.cloud.gateway.definitions import BUNDLE_VERSION, INSTALLED, definitions

ADDRESSES = f"127.58.{os.getpid() % 250}.0/24"
OBJECTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "web:1", ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: pilothouse
  listeners: [{name: http, port: 8080, protocol: HTTP, hostname: "*.example.com"}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web}]
  hostnames: [web.example.com]
  rules:
  - backendRefs: [{name: web, port: 80}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-By, value: gateway}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - {host: in.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    config = tmp_path / "cloud.yaml"
    config.write_text(f"engine: embedded\naddresses: {ADDRESSES}\n")
    with own_cluster(tmp_path, "--dns-port", "0", "--proxy-mode", "none", "--cloud-config", str(config)) as kubectl:
        for condition in ("create", "condition=Established"):  # a cluster learns of the Gateway API when it is ready
            kubectl("wait", f"--for={condition}", "crd/gatewayclasses.gateway.networking.k8s.io", "--timeout=60s")
        kubectl("wait", "--for=create", "gatewayclass/pilothouse", "--timeout=60s")
        yield kubectl


def ask(address: str, host: str, port: int = 8080) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://{address}:{port}/", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


@pytest.mark.xdist_group("live-sqlite")
def test_the_life_of_a_gateway(kubectl: Kubectl) -> None:
    theirs = definitions()
    for each in theirs:
        each["metadata"]["annotations"][BUNDLE_VERSION] = "v1.4.1"
        del each["metadata"]["annotations"][INSTALLED]
    for how in ("--server-side", "--server-side=false"):
        assert "listenersets" in kubectl("apply", how, "-f", "-", stdin=yaml.safe_dump_all(theirs))
    assert "Where traffic enters" in kubectl("explain", "gateway.spec.listeners")

    kubectl("apply", "-f", "-", stdin=OBJECTS)
    kubectl.rolled_out("deployment/web")
    kubectl("wait", "--for=condition=Programmed", "gtw/web", "--timeout=60s")
    accepted = '{.status.parents[0].conditions[?(@.type=="Accepted")].status}'
    kubectl("wait", f"--for=jsonpath={accepted}=True", "httproute/web", "--timeout=60s")
    address = kubectl.path("gtw/web", ".status.addresses[0].value")
    header, row = kubectl("get", "gtw", "web").splitlines()
    assert header.split() == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"]
    assert row.split()[:4] == ["web", "pilothouse", address, "True"]
    assert "gatewayclass.gateway.networking.k8s.io/pilothouse" in kubectl("get", "gateway-api")
    wait_for(lambda: "Traffic is taken at" in kubectl("describe", "gtw", "web"), "the event")
    status, headers = ask(address, "web.example.com")
    assert (status, headers["X-By"]) == (200, "gateway")
    assert ask(address, "other.example.com")[0] == 404

    kubectl("wait", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "ingress/web", "--timeout=60s")
    assert "in.example.com" in kubectl("get", "ingress", "web")

    wrong = OBJECTS.replace("port: 8080, protocol: HTTP, hostname", "port: 80800, protocol: HTTP, hostname")
    assert "spec.listeners[0].port" in kubectl("apply", "-f", "-", stdin=wrong, code=1)

    kubectl("delete", "-f", "-", "--timeout=60s", stdin=OBJECTS)
    wait_for(lambda: not kubectl.path("gc/pilothouse", ".metadata.finalizers"), "the class to be free")
    with pytest.raises(OSError, match="refused"):
        ask(address, "web.example.com")

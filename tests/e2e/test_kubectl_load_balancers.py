"""A Service of type LoadBalancer and nodes of a cloud, as kubectl shows them: each component a process, the cloud a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from etcd_server import free_port
from live_cluster import Kubectl, Program, wait_for
from published_provider import NAME, publish
from test_separate_processes import asked

from pilothouse.testing.cloud import FileShelf, left

INSTANCE = "{type: m5.large, zone: eu-1a, region: eu-1, addresses: [{type: InternalIP, address: 10.9.0.%d}]}"


@dataclass(slots=True)
class Cloudy:
    kubectl: Kubectl
    shelf: FileShelf
    port: int


@pytest.fixture
def cloudy(tmp_path: Path) -> Iterator[Cloudy]:
    data, config, cloud = tmp_path / "data", tmp_path / "kubeconfig", tmp_path / "cloud.yaml"
    instances = ", ".join(f"node-{n}: {INSTANCE % n}" for n in (1, 2))
    cloud.write_text(f"file: {tmp_path / 'cloud.db'}\ninstances: {{{instances}}}\n")
    path = os.pathsep.join(p for p in (str(publish(tmp_path / "site")), os.environ.get("PYTHONPATH", "")) if p)
    port = free_port()
    with ExitStack() as stack:
        programs = []

        def run(*arguments: str, wait: bool = False, **environment: str) -> None:
            programs.append(Program(*arguments, wait=wait, **environment))
            stack.callback(programs[-1].stop)

        run("apiserver", "--data-dir", str(data), "--secure-port", str(free_port()), "--kubeconfig-out", str(config), wait=True)
        run("nodes", "--kubeconfig", str(config), "--count", "2", "--cloud-provider", "external")
        run(
            "cloud-controller-manager", "--kubeconfig", str(config), "--cloud-provider", NAME, "--cloud-config", str(cloud),
            "--leader-elect", "--use-service-account-credentials", "--secure-port", str(port), "--bind-address", "127.0.0.1",
            PYTHONPATH=path,
        )  # fmt: skip
        shelf = FileShelf(tmp_path / "cloud.db")
        stack.callback(shelf.close)
        yield Cloudy(Kubectl(config), shelf, port)
        for program in programs:
            assert program.process.poll() is None, program.told()
            assert "Traceback" not in program.told(), program.told()


def known_to_the_cloud(kubectl: Kubectl, node: str) -> None:
    wait_for(
        lambda: f"fake://{node}" in kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.providerID}"), "the cloud's word"
    )


@pytest.mark.xdist_group("live-sqlite")
def test_the_life_of_a_load_balancer(cloudy: Cloudy) -> None:
    kubectl = cloudy.kubectl
    known_to_the_cloud(kubectl, "node-1")
    node = kubectl("describe", "node", "node-1")
    assert "topology.kubernetes.io/zone=eu-1a" in node and "node.kubernetes.io/instance-type=m5.large" in node
    assert "cloudprovider.kubernetes.io/uninitialized" not in node and "InternalIP:  10.9.0.1" in node
    wait_for(lambda: "Node synced successfully" in kubectl("describe", "node", "node-1"), "the event")

    kubectl("create", "service", "loadbalancer", "web", "--tcp=80:8080")
    kubectl("wait", "service/web", "--for=jsonpath={.status.loadBalancer.ingress}", "--timeout=60s")
    assert "198.18.0.1" in kubectl("get", "service", "web")
    wait_for(lambda: "Ensured load balancer" in kubectl("describe", "service", "web"), "the event")
    told = kubectl("describe", "service", "web")
    assert "LoadBalancer Ingress:     198.18.0.1 (VIP)" in told
    assert "EnsuringLoadBalancer" in told and "service-controller" in told
    assert kubectl.path("service/web", ".metadata.finalizers[0]") == "service.kubernetes.io/load-balancer-cleanup"
    wait_for(lambda: [t["nodes"] for t in cloudy.shelf.all("targets").values()] == [["node-1", "node-2"]], "both nodes")

    kubectl(
        "patch", "service", "web", "-p", '{"spec": {"ports": [{"name": "tls", "port": 443}, {"name": "80-8080", "port": 80}]}}'
    )
    wait_for(lambda: len(cloudy.shelf.all("listeners")) == 2, "the new port")
    kubectl("label", "node", "node-2", "node.kubernetes.io/exclude-from-external-load-balancers=")
    wait_for(lambda: "Updated load balancer with new hosts" in kubectl("describe", "service", "web"), "the event")

    assert 'service "web" deleted' in kubectl("delete", "service", "web")
    assert left(cloudy.shelf) == {}, "kubectl came back when everything was gone"
    told = kubectl("get", "events", "--field-selector", "involvedObject.name=web")
    assert "DeletingLoadBalancer" in told and "DeletedLoadBalancer" in told

    assert Kubectl(kubectl.kubeconfig, "kube-system").path("lease/cloud-controller-manager", ".spec.holderIdentity")
    assert "[+]service-lb-controller ok" in asked(cloudy.port, "/healthz?verbose")


@pytest.mark.xdist_group("live-sqlite")
def test_a_node_whose_instance_is_gone_goes_too(cloudy: Cloudy) -> None:
    kubectl = cloudy.kubectl
    known_to_the_cloud(kubectl, "node-2")
    cloudy.shelf.drop("instances", "node-2")
    told = '{"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}'
    kubectl("patch", "node", "node-2", "--subresource=status", "-p", told)
    wait_for(lambda: "node-2" not in kubectl("get", "nodes"), "the node is gone")
    wait_for(lambda: "does not exist in the cloud provider" in kubectl("get", "events", "-A"), "the event")

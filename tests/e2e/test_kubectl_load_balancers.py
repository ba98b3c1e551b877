"""A Service of type LoadBalancer and nodes of a cloud, as kubectl shows them: each component a process, the cloud a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
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
    """A cluster at a cloud that is a file. Programs in `running` have to run until the end."""

    folder: Path
    shelf: FileShelf
    stack: ExitStack
    running: list[Program] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.config)

    def run(self, *arguments: str, wait: bool = False, **environment: str) -> Program:
        program = Program(*arguments, wait=wait, **environment)
        self.running.append(program)
        self.stack.callback(program.stop)
        return program

    def manager(self) -> tuple[Program, int]:
        """A cloud-controller-manager, and its port."""
        port = free_port()
        path = os.pathsep.join(p for p in (str(publish(self.folder / "site")), os.environ.get("PYTHONPATH", "")) if p)
        program = self.run(
            "cloud-controller-manager", "--kubeconfig", str(self.config), "--cloud-provider", NAME,
            "--cloud-config", str(self.folder / "cloud.yaml"), "--leader-elect", "--use-service-account-credentials",
            "--secure-port", str(port), "--bind-address", "127.0.0.1", PYTHONPATH=path,
        )  # fmt: skip
        return program, port

    def leader(self) -> str:
        return Kubectl(self.config, "kube-system").path("lease/cloud-controller-manager", ".spec.holderIdentity")


@pytest.fixture
def cloudy(tmp_path: Path) -> Iterator[Cloudy]:
    instances = ", ".join(f"node-{n}: {INSTANCE % n}" for n in (1, 2))
    (tmp_path / "cloud.yaml").write_text(f"file: {tmp_path / 'cloud.db'}\ninstances: {{{instances}}}\n")
    with ExitStack() as stack:
        shelf = FileShelf(tmp_path / "cloud.db")
        stack.callback(shelf.close)
        made = Cloudy(tmp_path, shelf, stack)
        server = ("--data-dir", str(tmp_path / "data"), "--secure-port", str(free_port()), "--kubeconfig-out", str(made.config))
        made.run("apiserver", *server, wait=True)
        made.run("nodes", "--kubeconfig", str(made.config), "--count", "2", "--cloud-provider", "external", "--no-serve")
        yield made
        for program in made.running:
            assert program.process.poll() is None, program.told()
            assert "Traceback" not in program.told(), program.told()


def known_to_the_cloud(kubectl: Kubectl, node: str) -> None:
    wait_for(
        lambda: f"fake://{node}" in kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.providerID}"), "the cloud's word"
    )


@pytest.mark.xdist_group("live-sqlite")
def test_the_life_of_a_load_balancer(cloudy: Cloudy) -> None:
    kubectl, (_, port) = cloudy.kubectl, cloudy.manager()
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

    assert cloudy.leader()
    assert "[+]service-lb-controller ok" in asked(port, "/healthz?verbose")


@pytest.mark.xdist_group("live-sqlite")
def test_a_node_whose_instance_is_gone_goes_too(cloudy: Cloudy) -> None:
    kubectl = cloudy.kubectl
    cloudy.manager()
    known_to_the_cloud(kubectl, "node-2")
    cloudy.shelf.drop("instances", "node-2")
    told = '{"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}'
    kubectl("patch", "node", "node-2", "--subresource=status", "-p", told)
    wait_for(lambda: "node-2" not in kubectl("get", "nodes"), "the node is gone")
    wait_for(lambda: "does not exist in the cloud provider" in kubectl("get", "events", "-A"), "the event")


@pytest.mark.xdist_group("live-sqlite")
def test_another_manager_takes_over_from_one_that_was_killed(cloudy: Cloudy) -> None:
    kubectl, (first, _) = cloudy.kubectl, cloudy.manager()
    known_to_the_cloud(kubectl, "node-1")
    leader = cloudy.leader()
    cloudy.manager()
    kubectl("create", "service", "loadbalancer", "web", "--tcp=80:8080")
    kubectl("wait", "service/web", "--for=jsonpath={.status.loadBalancer.ingress}", "--timeout=60s")
    cloudy.running.remove(first)
    first.process.kill()
    kubectl("delete", "service", "web")  # which waits until the load balancer is gone
    assert left(cloudy.shelf) == {} and cloudy.leader() != leader

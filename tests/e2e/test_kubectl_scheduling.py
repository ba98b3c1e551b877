"""Each scheduling plugin through kubectl, with the examples of Kubernetes' documentation; and a second scheduler beside the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import Kubectl, Program, own_cluster, wait_for

pytestmark = pytest.mark.xdist_group("live-scheduling")
ZONES = {"node-1": "zoneA", "node-2": "zoneA", "node-3": "zoneB", "node-4": "zoneB"}


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl of a cluster with four nodes in two zones."""
    with own_cluster(tmp_path_factory.mktemp("live-scheduling"), "--nodes", "4", "--proxy-mode", "none") as kubectl:
        wait_for(lambda: kubectl("get", "nodes").count(" Ready ") == 4, "four nodes")
        for node, zone in ZONES.items():
            kubectl("label", "node", node, f"zone={zone}")
        yield kubectl


@pytest.fixture
def kubectl(admin: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    name = request.node.name.replace("_", "-")[:50].rstrip("-")
    admin("create", "namespace", name)
    yield Kubectl(admin.kubeconfig, name)
    admin("delete", "namespace", name, "--wait=true", "--timeout=60s")


def pod(name: str, spec: str = "", labels: str = "", container: str = "") -> str:
    """A Pod manifest. `spec` and `container` are more fields, in flow style."""
    more = "".join(f"  {line}\n" for line in spec.splitlines())
    inner = f", {container}" if container else ""
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{{labels}}}\nspec:\n{more}"
        f"  containers: [{{name: nginx, image: nginx{inner}}}]\n---\n"
    )


def cpu(amount: str) -> str:
    return f"resources: {{requests: {{cpu: '{amount}'}}}}"


def node_of(kubectl: Kubectl, name: str) -> str:
    """Where a pod is; "" if it waits."""
    return kubectl.path(f"pod/{name}", ".spec.nodeName")


def scheduled(kubectl: Kubectl, *names: str) -> list[str]:
    for name in names:
        kubectl("wait", f"pod/{name}", "--for=condition=PodScheduled", "--timeout=60s")
    return [node_of(kubectl, name) for name in names]


def refused(kubectl: Kubectl, name: str) -> str:
    """The message of a pod that got no node."""
    kubectl("wait", f"pod/{name}", "--for=condition=PodScheduled=False", "--timeout=60s")
    return kubectl.path(f"pod/{name}", '.status.conditions[?(@.type=="PodScheduled")].message')


def test_pods_are_spread_over_zones(kubectl: Kubectl) -> None:
    existing = "".join(pod(f"p{i}", f"nodeSelector: {{kubernetes.io/hostname: node-{i}}}", "foo: bar") for i in (1, 2, 3))
    kubectl("apply", "-f", "-", stdin=existing)
    scheduled(kubectl, "p1", "p2", "p3")
    constraint = """topologySpreadConstraints:
- {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {foo: bar}}}"""
    kubectl("apply", "-f", "-", stdin=pod("mypod", constraint, "foo: bar"))
    assert ZONES[scheduled(kubectl, "mypod")[0]] == "zoneB"
    pinned = constraint + "\nnodeSelector: {kubernetes.io/hostname: node-1}"
    kubectl("apply", "-f", "-", stdin=pod("one", constraint, "foo: bar") + pod("two", pinned, "foo: bar"))
    scheduled(kubectl, "one", "two")
    over = constraint.replace("maxSkew: 1", "maxSkew: 1, minDomains: 3")
    kubectl("apply", "-f", "-", stdin=pod("three", over, "foo: bar"))
    assert "didn't match pod topology spread constraints" in refused(kubectl, "three")


def test_pods_are_assigned_to_nodes_by_selector_and_affinity(kubectl: Kubectl) -> None:
    kubectl("label", "node", "node-3", "disktype=ssd", "--overwrite")
    affinity = """affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [zoneA, zoneX]}]}]
    preferredDuringSchedulingIgnoredDuringExecution:
    - {weight: 1, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-2]}]}}"""
    nowhere = affinity.replace("[zoneA, zoneX]", "[zoneX]")
    kubectl("apply", "-f", "-", stdin=pod("selected", "nodeSelector: {disktype: ssd}") + pod("with-node-affinity", affinity)
            + pod("nowhere", nowhere))  # fmt: skip
    assert scheduled(kubectl, "selected", "with-node-affinity") == ["node-3", "node-2"]
    assert "4 node(s) didn't match Pod's node affinity/selector" in refused(kubectl, "nowhere")
    kubectl("label", "node", "node-4", "zone=zoneX", "--overwrite")
    assert scheduled(kubectl, "nowhere") == ["node-4"]
    kubectl("label", "node", "node-4", "zone=zoneB", "--overwrite")


CACHE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: %(name)s}
spec:
  replicas: 3
  selector: {matchLabels: {app: %(app)s}}
  template:
    metadata: {labels: {app: %(app)s}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {labelSelector: {matchExpressions: [{key: app, operator: In, values: [%(app)s]}]}, topologyKey: kubernetes.io/hostname}
        podAffinity: %(near)s
      containers: [{name: c, image: redis:3.2-alpine}]
"""
NEAR = "{requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: store}}, topologyKey: kubernetes.io/hostname}]}"


def test_each_web_server_is_beside_a_cache_and_no_two_are_together(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CACHE % {"name": "redis-cache", "app": "store", "near": "{}"})
    kubectl.rolled_out("deployment/redis-cache")
    kubectl("apply", "-f", "-", stdin=CACHE % {"name": "web-server", "app": "web-store", "near": NEAR})
    kubectl.rolled_out("deployment/web-server")

    def nodes(app: str) -> list[str]:
        return sorted(kubectl("get", "pods", "-l", f"app={app}", "-o", "jsonpath={.items[*].spec.nodeName}").split())

    assert nodes("store") == nodes("web-store") and len(set(nodes("store"))) == 3
    kubectl("scale", "deployment/web-server", "--replicas=4")
    waiting = "{.items[?(@.status.phase=='Pending')].status.conditions[0].message}"
    wait_for(lambda: "pod affinity rules" in kubectl("get", "pods", "-o", f"jsonpath={waiting}"), "a fourth that waits")


def test_taints_keep_pods_out_and_tolerations_let_them_in(kubectl: Kubectl) -> None:
    kubectl("taint", "nodes", "--all", "key1=value1:NoSchedule")
    toleration = "tolerations: [{key: key1, operator: Equal, value: value1, effect: NoSchedule}]"
    kubectl(
        "apply",
        "-f",
        "-",
        stdin=pod("nginx", "tolerations: [{key: example-key, operator: Exists}]") + pod("tolerant", toleration),
    )
    assert "4 node(s) had untolerated taint(s)" in refused(kubectl, "nginx")
    assert scheduled(kubectl, "tolerant")[0] in ZONES
    kubectl("taint", "nodes", "--all", "key1=value1:NoSchedule-")
    scheduled(kubectl, "nginx")
    kubectl("taint", "nodes", "node-1", "node-2", "node-3", "soft=x:PreferNoSchedule")
    kubectl("apply", "-f", "-", stdin=pod("picky"))
    assert scheduled(kubectl, "picky") == ["node-4"]
    kubectl("taint", "nodes", "node-1", "node-2", "node-3", "soft=x:PreferNoSchedule-")


def test_a_cordoned_node_takes_no_pods(kubectl: Kubectl) -> None:
    kubectl("cordon", "node-2")
    here = "nodeSelector: {kubernetes.io/hostname: node-2}"
    kubectl("apply", "-f", "-", stdin=pod("here", here))
    assert "1 node(s) were unschedulable" in refused(kubectl, "here")
    kubectl("uncordon", "node-2")
    assert scheduled(kubectl, "here") == ["node-2"]


PRIORITIES = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high-priority}
value: 1000000
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high-priority-nonpreempting}
value: 1000000
preemptionPolicy: Never
---
"""


def test_an_important_pod_takes_the_place_of_another_unless_it_is_polite(kubectl: Kubectl) -> None:
    here = "nodeSelector: {kubernetes.io/hostname: node-4}"
    kubectl("apply", "-f", "-", stdin=PRIORITIES + pod("low", here + "\nterminationGracePeriodSeconds: 1", container=cpu("7")))
    scheduled(kubectl, "low")
    polite = here + "\npriorityClassName: high-priority-nonpreempting"
    kubectl("apply", "-f", "-", stdin=pod("polite", polite, container=cpu("7")))
    assert "not eligible due to preemptionPolicy=Never" in refused(kubectl, "polite")
    kubectl("delete", "pod", "polite")
    kubectl("apply", "-f", "-", stdin=pod("important", here + "\npriorityClassName: high-priority", container=cpu("7")))
    assert scheduled(kubectl, "important") == ["node-4"]
    wait_for(lambda: "low" not in kubectl("get", "pods", "-o", "name"), "the end of the other")
    assert "Preempted by pod" in kubectl("get", "events", "--field-selector", "reason=Preempted")


def test_gates_hold_a_pod_until_all_are_taken_away(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=pod("test-pod", "schedulingGates: [{name: example.com/foo}, {name: example.com/bar}]"))
    assert "SchedulingGated" in kubectl("get", "pod", "test-pod")
    one = '[{"op": "remove", "path": "/spec/schedulingGates/0"}]'
    kubectl("patch", "pod", "test-pod", "--type=json", "-p", one)
    assert "SchedulingGated" in kubectl("get", "pod", "test-pod")
    kubectl("patch", "pod", "test-pod", "--type=json", "-p", one)
    assert scheduled(kubectl, "test-pod")[0] in ZONES


def test_host_ports_and_requests_must_be_free(kubectl: Kubectl) -> None:
    here = "nodeSelector: {kubernetes.io/hostname: node-1}"
    port = "ports: [{containerPort: 80, hostPort: 8080}]"
    kubectl("apply", "-f", "-", stdin=pod("first", here, container=port))
    scheduled(kubectl, "first")
    kubectl("apply", "-f", "-", stdin=pod("second", here, container=port) + pod("big", here, container=cpu("100")))
    assert "1 node(s) didn't have free ports for the requested pod ports" in refused(kubectl, "second")
    assert "1 Insufficient cpu" in refused(kubectl, "big")
    assert "FailedScheduling" in kubectl("describe", "pod", "big")
    kubectl("delete", "pod", "first")
    assert scheduled(kubectl, "second") == ["node-1"]


CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
profiles:
- schedulerName: my-scheduler
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
      enabled: [{name: NodeResourcesFit, weight: 10}]
"""


def test_a_second_scheduler_takes_the_pods_that_name_it(kubectl: Kubectl, tmp_path: Path) -> None:
    config = tmp_path / "scheduler.yaml"
    config.write_text(CONFIG)
    named = "schedulerName: my-scheduler"
    kubectl("apply", "-f", "-", stdin=pod("theirs", named, container=cpu("100m")) + pod("full", container=cpu("5")))
    full = scheduled(kubectl, "full")
    assert node_of(kubectl, "theirs") == ""
    second = Program(
        "scheduler", "--kubeconfig", str(kubectl.kubeconfig), "--config", str(config), "--no-leader-elect", "--secure-port", "0",
        wait=False,
    )  # fmt: skip
    try:
        assert scheduled(kubectl, "theirs") == full
        events = kubectl("get", "events", "--field-selector", "reason=Scheduled,involvedObject.name=theirs", "-o", "yaml")
        assert "my-scheduler" in events
        found = kubectl("get", "schedulingdecisions", "theirs", "-o", "jsonpath={.spec.schedulerName} {.status.nodeName}")
        assert found == f"my-scheduler {full[0]}"
    finally:
        told = second.told()
        assert second.stop() == 0 and "Traceback" not in told, told

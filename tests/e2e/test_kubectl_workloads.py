"""kubectl on workloads, nodes and the cluster: rollouts, scaling, services, drains, tokens, rights and documentation."""

from __future__ import annotations

import base64
import contextlib
import json

from live_cluster import Kubectl, wait_for


def web(kubectl: Kubectl, replicas: int = 2) -> None:
    kubectl("create", "deployment", "web", "--image=web:v1", f"--replicas={replicas}", "--port=80")
    assert 'deployment "web" successfully rolled out' in kubectl.rolled_out("deployment/web")


def image(kubectl: Kubectl) -> str:
    return kubectl.path("deployment/web", ".spec.template.spec.containers[0].image")


def test_set_image_rollout_history_and_undo(kubectl: Kubectl) -> None:
    web(kubectl)
    assert kubectl("set", "image", "deployment/web", "web=web:v2") == "deployment.apps/web image updated\n"
    kubectl.rolled_out("deployment/web")
    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=second")
    wait_for(lambda: "second" in kubectl("rollout", "history", "deployment/web"), "the cause in the history")
    revisions = [line.split()[0] for line in kubectl("rollout", "history", "deployment/web").splitlines()[2:] if line]
    assert revisions == ["1", "2"]
    assert "web:v1" in kubectl("rollout", "history", "deployment/web", "--revision=1")
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web")
    kubectl.rolled_out("deployment/web")
    assert image(kubectl) == "web:v1"
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.deletionTimestamp}{.items[*].spec.containers[0].image}")


def test_a_paused_rollout_waits_and_a_restart_makes_new_pods(kubectl: Kubectl) -> None:
    web(kubectl)
    assert "paused" in kubectl("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "web=web:v2")
    wait_for(
        lambda: (
            kubectl.path("deployment/web", ".metadata.generation") == kubectl.path("deployment/web", ".status.observedGeneration")
        ),
        "the change to be seen",
    )
    assert kubectl.path("deployment/web", ".status.updatedReplicas") == ""
    assert "resumed" in kubectl("rollout", "resume", "deployment/web")
    kubectl.rolled_out("deployment/web")
    before = set(kubectl("get", "rs", "-o", "name").split())
    assert "restarted" in kubectl("rollout", "restart", "deployment/web")
    kubectl.rolled_out("deployment/web")
    assert len(set(kubectl("get", "rs", "-o", "name").split()) - before) == 1
    assert "restartedAt" in kubectl.path("deployment/web", ".spec.template.metadata.annotations")


def test_scale_autoscale_and_expose(kubectl: Kubectl) -> None:
    web(kubectl, 1)
    assert kubectl("scale", "deployment/web", "--replicas=3") == "deployment.apps/web scaled\n"
    kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s")
    assert "error" in kubectl("scale", "deployment/web", "--current-replicas=1", "--replicas=4", code=1)
    printed = kubectl("autoscale", "deployment/web", "--min=2", "--max=5", "--cpu=80%")
    assert printed == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    row = kubectl("get", "hpa", "--no-headers")
    assert "Deployment/web" in row and "cpu: <unknown>/80%" in row
    assert kubectl("expose", "deployment/web", "--port=8080", "--target-port=80", "--type=NodePort") == "service/web exposed\n"
    cluster_ip = kubectl.path("service/web", ".spec.clusterIP")
    port = kubectl.path("service/web", ".spec.ports[0].nodePort")
    row = kubectl("get", "service", "web", "--no-headers").split()
    assert row[:5] == ["web", "NodePort", cluster_ip, "<none>", f"8080:{port}/TCP"]

    def addresses() -> int:
        return len(kubectl("get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}").split())

    wait_for(lambda: addresses() == 3, "three endpoints")


def test_taint_cordon_and_drain(kubectl: Kubectl) -> None:
    web(kubectl, 4)
    node = kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    other = next(n for n in kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split() if n != node)
    try:
        assert kubectl("taint", "node", node, "only=me:NoSchedule") == f"node/{node} tainted\n"
        assert json.loads(kubectl.path(f"node/{node}", ".spec.taints")) == [
            {"key": "only", "value": "me", "effect": "NoSchedule"}
        ]
        assert kubectl("taint", "node", node, "only:NoSchedule-") == f"node/{node} untainted\n"
        assert kubectl("cordon", node) == f"node/{node} cordoned\n"
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        printed = kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        assert f"evicting pod {kubectl.namespace}/web-" in printed and f"node/{node} drained" in printed
        kubectl.rolled_out("deployment/web")
        wait_for(
            lambda: set(kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()) == {other}, "pods to move"
        )
    finally:
        assert kubectl("uncordon", node) == f"node/{node} uncordoned\n"


def test_a_drain_goes_as_slowly_as_a_disruption_budget_wants(kubectl: Kubectl) -> None:
    web(kubectl, 4)
    kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=4")
    wait_for(lambda: kubectl.path("pdb/web", ".status.expectedPods") == "4", "the budget to be counted")
    node = kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    try:
        refused = kubectl("drain", node, "--ignore-daemonsets", "--timeout=2s", code=1)
        assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
        kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"minAvailable":3}}')
        assert f"node/{node} drained" in kubectl("drain", node, "--ignore-daemonsets", "--timeout=60s")
    finally:
        kubectl("uncordon", node)


def test_top_shows_what_nodes_and_pods_use(kubectl: Kubectl) -> None:
    web(kubectl, 2)
    assert "CPU(cores)" in kubectl("top", "nodes")

    def measured() -> bool:
        with contextlib.suppress(AssertionError):  # kubectl fails while a pod has no metrics yet
            shown = kubectl("top", "pods", "-l", "app=web", "--no-headers").splitlines()
            return len(shown) == 2 and all("Mi" in line for line in shown)
        return False

    wait_for(measured, "metrics of both pods")


def test_a_token_is_a_way_in_with_the_rights_of_its_account(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps")
    kubectl("create", "rolebinding", "robot", "--role=reader", f"--serviceaccount={kubectl.namespace}:robot")
    token = kubectl("create", "token", "robot", "--duration=1h").strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == f"system:serviceaccount:{kubectl.namespace}:robot" and claims["exp"] - claims["iat"] == 3600
    config = kubectl.kubeconfig.with_name(f"robot-{kubectl.namespace}")
    config.write_text(kubectl("config", "view", "--raw", "--minify"))
    Kubectl(config)("config", "set-credentials", "robot", f"--token={token}")
    Kubectl(config)("config", "set-context", "--current", "--user=robot")
    robot = Kubectl(config, kubectl.namespace)
    assert "kube-root-ca.crt" in robot("get", "configmaps")
    assert f'User "system:serviceaccount:{kubectl.namespace}:robot" cannot list resource "pods"' in robot("get", "pods", code=1)
    assert robot("auth", "can-i", "list", "configmaps") == "yes\n"
    assert robot("auth", "can-i", "delete", "configmaps", code=1) == "no\n"
    assert any(
        line.split() == ["configmaps", "[]", "[]", "[get", "list]"] for line in robot("auth", "can-i", "--list").splitlines()
    )
    assert "robot" in robot("auth", "whoami")


def test_explain_and_api_resources(kubectl: Kubectl) -> None:
    shown = kubectl("explain", "deployment.spec", "--recursive")
    assert "KIND:       Deployment" in shown and "VERSION:    v1" in shown
    assert "maxUnavailable\t<IntOrString>" in shown and "imagePullPolicy\t<string>" in shown
    rows = [line.split() for line in kubectl("api-resources").splitlines()]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in rows
    assert ["nodes", "no", "v1", "false", "Node"] in rows and ["nodes", "metrics.k8s.io/v1beta1", "false", "NodeMetrics"] in rows
    assert "apps/v1" in kubectl("api-versions").split()


def test_events_and_wait(kubectl: Kubectl) -> None:
    kubectl("run", "one", "--image=one:1")
    assert kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=60s") == "pod/one condition met\n"
    wait_for(lambda: "Scheduled" in kubectl("events", "--for", "pod/one"), "the event")
    assert "Normal" in kubectl("events", "--types=Normal")
    assert "timed out waiting" in kubectl("wait", "pod/one", "--for=jsonpath={.status.phase}=Failed", "--timeout=1s", code=1)
    kubectl("delete", "pod", "one", "--wait=false")
    kubectl("wait", "pod/one", "--for=delete", "--timeout=60s")
    assert "NotFound" in kubectl("get", "pod", "one", code=1)

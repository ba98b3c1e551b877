"""With kubectl alone: the lives of StatefulSets and DaemonSets, as their pages and tutorials tell them."""

from __future__ import annotations

import json

import pytest
from live_cluster import ON_SQLITE, Kubectl, wait_for

pytestmark = ON_SQLITE

STATEFUL_SET = """
apiVersion: v1
kind: Service
metadata: {name: nginx}
spec: {ports: [{port: 80, name: web}], clusterIP: None, selector: {app: nginx}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  replicas: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec: {containers: [{name: nginx, image: "nginx:0.21", volumeMounts: [{name: www, mountPath: /www}]}]}
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
PARALLEL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  podManagementPolicy: Parallel
  replicas: 3
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}, annotations: {pilothouse.dev/fail-readiness: "true"}}
    spec: {containers: [{name: nginx, image: "nginx:0.21"}]}
"""
DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: fluentd}
spec:
  selector: {matchLabels: {name: fluentd}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1}}
  template:
    metadata: {labels: {name: fluentd}}
    spec: {containers: [{name: fluentd, image: "fluentd:v5"}]}
"""


def items(kubectl: Kubectl, what: str, path: str, *more: str) -> list[str]:
    return kubectl("get", what, "-o", f"jsonpath={{.items[*]{path}}}", *more).split()


def names(kubectl: Kubectl, what: str) -> list[str]:
    return sorted(items(kubectl, what, ".metadata.name"))


def images(kubectl: Kubectl) -> list[str]:
    """By the names of pods, without the name before the colon."""
    lines = kubectl("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.containers[0].image}{'\\n'}{end}")
    return [line.partition(":")[2] for line in sorted(lines.splitlines())]


def settled(kubectl: Kubectl, what: str, **status: int | str) -> None:
    """Wait until the status says so."""
    for field, value in status.items():
        kubectl("wait", what, f"--for=jsonpath={{.status.{field}}}={value}", "--timeout=30s")


def patch(kubectl: Kubectl, what: str, spec: object) -> None:
    kubectl("patch", what, "--type=merge", "-p", json.dumps({"spec": spec}))


def strategy(kubectl: Kubectl, **of: object) -> None:
    patch(kubectl, "statefulset/web", {"updateStrategy": of})


@pytest.fixture
def web(kubectl: Kubectl) -> Kubectl:
    kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    kubectl.rolled_out("statefulset/web")
    return kubectl


def test_a_stateful_set_makes_its_pods_in_order_with_names_and_claims_that_stay(kubectl: Kubectl) -> None:
    with kubectl.stream("get", "pods", "-l", "app=nginx", "--watch", "--no-headers") as told:
        kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
        first = [told("web-")]
        while "web-1" not in first[-1]:
            first.append(told("web-"))
        assert any("web-0" in line and "1/1" in line for line in first)  # the second is made when the first is ready
    kubectl.rolled_out("statefulset/web")
    assert items(kubectl, "pods", ".spec.hostname") == ["web-0", "web-1"]
    assert set(items(kubectl, "pods", ".spec.subdomain")) == {"nginx"}
    assert items(kubectl, "pods", ".metadata.labels.apps\\.kubernetes\\.io/pod-index") == ["0", "1"]
    assert items(kubectl, "endpointslices", ".endpoints[*].hostname") in (["web-0", "web-1"], ["web-1", "web-0"])
    assert items(kubectl, "pvc", ".status.phase") == ["Bound", "Bound"] and names(kubectl, "pvc") == ["www-web-0", "www-web-1"]
    volumes, uids = items(kubectl, "pvc", ".spec.volumeName"), items(kubectl, "pods", ".metadata.uid")
    kubectl("delete", "pod", "-l", "app=nginx")
    settled(kubectl, "statefulset/web", availableReplicas=2)
    wait_for(lambda: len(items(kubectl, "pods", ".metadata.uid")) == 2, "both again")
    assert not set(uids) & set(items(kubectl, "pods", ".metadata.uid"))
    assert items(kubectl, "pods", ".spec.volumes[?(@.name=='www')].persistentVolumeClaim.claimName") == ["www-web-0", "www-web-1"]
    assert items(kubectl, "pvc", ".spec.volumeName") == volumes
    told = kubectl("describe", "statefulset", "web")
    assert "Create Claim www-web-0 Pod web-0 in StatefulSet web success" in told
    assert "Create Pod web-1 in StatefulSet web successful" in told and "2 Running / 0 Waiting / 0 Succeeded / 0 Failed" in told


def test_a_stateful_set_scales_in_order_and_keeps_claims(web: Kubectl) -> None:
    with web.stream("get", "pods", "-l", "app=nginx", "--watch", "-o", "name") as told:
        told("web-1")  # the last of those that are there: what follows is the watch
        web("scale", "statefulset/web", "--replicas=4")
        settled(web, "statefulset/web", availableReplicas=4)
        told("web-2"), told("web-3")
        web("patch", "statefulset", "web", "-p", '{"spec":{"replicas":2}}')
        wait_for(lambda: names(web, "pods") == ["web-0", "web-1"], "two pods to go")
        told("web-3"), told("web-2")
    assert names(web, "pvc") == [f"www-web-{n}" for n in range(4)]


def test_a_stateful_set_updates_from_the_last_to_the_first_and_a_partition_stages_it(web: Kubectl) -> None:
    what = "statefulset/web"
    web("scale", what, "--replicas=3")
    settled(web, what, availableReplicas=3)
    strategy(web, type="RollingUpdate", rollingUpdate={"partition": 3})
    web("set", "image", what, "nginx=nginx:0.24")
    wait_for(lambda: web.path(what, ".status.updateRevision") != web.path(what, ".status.currentRevision"), "a second revision")
    web("delete", "pod", "web-2")
    settled(web, what, availableReplicas=3)
    wait_for(lambda: images(web) == ["0.21"] * 3, "the pod in its old form")  # staged: even a new pod is of the old revision

    strategy(web, type="RollingUpdate", rollingUpdate={"partition": 2})
    assert "partitioned roll out complete: 1 new pods have been updated" in web.rolled_out(what)
    assert images(web) == ["0.21", "0.21", "0.24"]
    web("delete", "pod", "web-1", "web-2")
    settled(web, what, availableReplicas=3, updatedReplicas=1)
    assert images(web) == ["0.21", "0.21", "0.24"]

    with web.stream("get", "pods", "-l", "app=nginx", "--watch", "--no-headers") as told:
        told("web-2")  # the last of those that are there: what follows is the watch
        strategy(web, type="RollingUpdate", rollingUpdate={"partition": 0})
        web.rolled_out(what)
        told("web-1"), told("web-0")
    assert images(web) == ["0.24"] * 3
    assert web.path(what, ".status.updateRevision") == web.path(what, ".status.currentRevision")
    assert [line.split()[0] for line in web("rollout", "history", what).splitlines()[2:] if line] == ["1", "2"]
    assert len(names(web, "controllerrevisions")) == 2


def test_a_stateful_set_updates_on_deletion_only_if_told_so(web: Kubectl) -> None:
    what = "statefulset/web"
    strategy(web, type="OnDelete", rollingUpdate=None)
    web("set", "image", what, "nginx=nginx:0.24")
    wait_for(lambda: web.path(what, ".status.updateRevision") != web.path(what, ".status.currentRevision"), "a second revision")
    assert images(web) == ["0.21", "0.21"]
    web("delete", "pod", "web-0")
    settled(web, what, updatedReplicas=1, availableReplicas=2)
    assert images(web) == ["0.24", "0.21"]
    assert "only available for RollingUpdate strategy type" in web("rollout", "status", what, code=1)


def test_a_broken_rollout_of_a_stateful_set_waits_for_somebody_to_delete_its_pod(web: Kubectl) -> None:
    what = "statefulset/web"
    never = {"template": {"metadata": {"annotations": {"pilothouse.dev/fail-readiness": "true"}}}}
    patch(web, what, never)
    settled(web, what, updatedReplicas=1, availableReplicas=1)
    web("rollout", "undo", what)
    wait_for(
        lambda: web.path(what, ".status.observedGeneration") == web.path(what, ".metadata.generation"), "the undo to be seen"
    )
    assert web.path("pod/web-1", ".metadata.annotations") != ""  # the documentation's known issue: forced rollback
    web("delete", "pod", "web-1")
    web.rolled_out(what)
    assert web.path("pod/web-1", ".metadata.annotations") == ""


def test_claims_of_a_stateful_set_go_where_its_policy_says_so(web: Kubectl) -> None:
    what = "statefulset/web"
    patch(web, what, {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"}})
    web("scale", what, "--replicas=1")
    wait_for(lambda: names(web, "pvc") == ["www-web-0"], "the claim of the second pod to go")
    patch(web, what, {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain", "whenDeleted": "Delete"}})
    wait_for(lambda: web.path("pvc/www-web-0", ".metadata.ownerReferences[0].kind") == "StatefulSet", "the claim to be owned")
    volume = web.path("pvc/www-web-0", ".spec.volumeName")
    web("delete", what)
    wait_for(lambda: names(web, "pods") + names(web, "pvc") == [], "everything to go")
    web("wait", "--for=delete", f"pv/{volume}", "--timeout=30s")


def test_a_parallel_stateful_set_waits_for_nobody_and_may_begin_anywhere(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=PARALLEL)
    settled(kubectl, "statefulset/web", replicas=3)
    assert names(kubectl, "pods") == ["web-0", "web-1", "web-2"]
    assert kubectl.path("statefulset/web", ".status.readyReplicas") == ""
    patch(kubectl, "statefulset/web", {"ordinals": {"start": 5}})
    wait_for(lambda: names(kubectl, "pods") == ["web-5", "web-6", "web-7"], "pods of other numbers")
    assert "updates to statefulset spec for fields other than" in kubectl(
        "patch", "statefulset/web", "--type=merge", "-p", '{"spec":{"serviceName":"other"}}', code=1
    )
    kubectl("scale", "statefulset/web", "--replicas=0")
    wait_for(lambda: names(kubectl, "pods") == [], "all at once to go")


def test_a_daemon_set_follows_labels_and_taints_of_nodes(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    kubectl.rolled_out("daemonset/fluentd")
    first, second = names(kubectl, "nodes")
    what, wanted = "daemonset/fluentd", {"nodeSelector": {"disk": "ssd"}}
    assert kubectl("get", what, "--no-headers").split()[:7] == ["fluentd", "2", "2", "2", "2", "2", "<none>"]
    try:
        kubectl("label", "node", first, "disk=ssd")
        patch(kubectl, what, {"template": {"spec": wanted}})
        kubectl.rolled_out(what)
        wait_for(lambda: items(kubectl, "pods", ".spec.nodeName") == [first], "pods elsewhere to go")
        kubectl("label", "node", second, "disk=ssd")
        settled(kubectl, what, desiredNumberScheduled=2, numberAvailable=2)
        kubectl("label", "node", second, "disk-")
        wait_for(lambda: items(kubectl, "pods", ".spec.nodeName") == [first], "the pod of a node without the label to go")

        kubectl("taint", "node", first, "dedicated=db:NoExecute")
        wait_for(lambda: items(kubectl, "pods", ".spec.nodeName") == [], "the pod of a tainted node to go")
        settled(kubectl, what, desiredNumberScheduled=0)
        patch(kubectl, what, {"template": {"spec": {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}}})
        settled(kubectl, what, desiredNumberScheduled=1, numberAvailable=1)
        assert "1 Running / 0 Waiting / 0 Succeeded / 0 Failed" in kubectl("describe", what)
    finally:
        kubectl("taint", "node", first, "dedicated-")
        kubectl("label", "node", first, second, "disk-")


def test_pods_of_a_daemon_set_bear_what_lets_them_stay_on_troubled_nodes(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    kubectl.rolled_out("daemonset/fluentd")
    pod = json.loads(kubectl("get", "pods", "-o", "jsonpath={.items[0].spec}"))
    tolerated = {f"{t['key'].removeprefix('node.kubernetes.io/')}:{t['effect']}" for t in pod["tolerations"]}
    assert tolerated == {
        "not-ready:NoExecute", "unreachable:NoExecute", "disk-pressure:NoSchedule", "memory-pressure:NoSchedule",
        "pid-pressure:NoSchedule", "unschedulable:NoSchedule",
    }  # fmt: skip
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [pod["nodeName"]]}]}]


def test_a_daemon_set_rolls_node_by_node_and_back(kubectl: Kubectl) -> None:
    what = "daemonset/fluentd"
    kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    kubectl.rolled_out(what)
    never = {"metadata": {"annotations": {"pilothouse.dev/fail-readiness": "true"}}}
    kubectl("annotate", what, "kubernetes.io/change-cause=broken")
    patch(kubectl, what, {"template": {**never, "spec": {"containers": [{"name": "fluentd", "image": "fluentd:v6"}]}}})
    settled(kubectl, what, updatedNumberScheduled=1, numberUnavailable=1)
    assert "1 out of 2 new pods have been updated" in kubectl("rollout", "status", what, "--timeout=1s", code=1)
    history = [line.split() for line in kubectl("rollout", "history", what).splitlines()[2:] if line]
    assert [line[0] for line in history] == ["1", "2"] and history[1][1] == "broken"
    assert "fluentd:v6" in kubectl("rollout", "history", what, "--revision=2")
    kubectl("rollout", "undo", what, "--to-revision=1")
    kubectl.rolled_out(what)
    assert images(kubectl) == ["v5", "v5"]
    assert [line.split()[0] for line in kubectl("rollout", "history", what).splitlines()[2:] if line] == ["2", "3"]

    patch(kubectl, what, {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}})
    kubectl("set", "image", what, "fluentd=fluentd:v7")
    wait_for(lambda: kubectl.path(what, ".status.updatedNumberScheduled") == "", "the new template to be seen")
    kubectl("delete", "pod", names(kubectl, "pods")[0])
    settled(kubectl, what, updatedNumberScheduled=1, numberAvailable=2)
    assert sorted(images(kubectl)) == ["v5", "v7"]
    kubectl("delete", what, "--cascade=orphan")
    assert len(names(kubectl, "pods")) == 2
    # A new set with the same selector takes the pods; what is not of its template it replaces.
    kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    kubectl.rolled_out(what)
    wait_for(lambda: images(kubectl) == ["v5", "v5"], "pods of the template only")

"""With kubectl alone: the lives of Deployments, ReplicaSets, ReplicationControllers and disruption budgets, as their pages tell them."""

from __future__ import annotations

import json

from live_cluster import ON_SQLITE, Kubectl, wait_for

pytestmark = ON_SQLITE

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx-deployment, labels: {app: nginx}}
spec:
  replicas: 3
  progressDeadlineSeconds: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec: {containers: [{name: nginx, image: "nginx:1.14.2", ports: [{containerPort: 80}]}]}
"""
REPLICA_SET = """
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: frontend, labels: {app: guestbook, tier: frontend}}
spec:
  replicas: 3
  selector: {matchLabels: {tier: frontend}}
  template:
    metadata: {labels: {tier: frontend}}
    spec: {containers: [{name: php-redis, image: "gb-frontend:v5"}]}
"""
BARE_PODS = """
apiVersion: v1
kind: Pod
metadata: {name: pod1, labels: {tier: frontend}}
spec: {containers: [{name: hello1, image: "hello-app:2.0"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pod2, labels: {tier: frontend}}
spec: {containers: [{name: hello2, image: "hello-app:1.0"}]}
"""
REPLICATION_CONTROLLER = """
apiVersion: v1
kind: ReplicationController
metadata: {name: nginx}
spec:
  replicas: 3
  selector: {app: nginx}
  template:
    metadata: {name: nginx, labels: {app: nginx}}
    spec: {containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]}
"""
#: What keeps simulated pods from becoming ready.
NEVER_READY = {"spec": {"template": {"metadata": {"annotations": {"pilothouse.dev/fail-readiness": "true"}}}}}


def items(kubectl: Kubectl, what: str, path: str, *more: str) -> list[str]:
    return sorted(kubectl("get", what, "-o", f"jsonpath={{.items[*]{path}}}", *more).split())


def names(kubectl: Kubectl, what: str, *more: str) -> list[str]:
    return items(kubectl, what, ".metadata.name", *more)


def condition(kubectl: Kubectl, what: str, type: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(kubectl.path(what, f'.status.conditions[?(@.type=="{type}")]') or "{}")
    return found


def test_a_deployment_is_made_updated_rolled_back_and_scaled(kubectl: Kubectl) -> None:
    what = "deployment/nginx-deployment"
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl.rolled_out(what)
    assert kubectl("get", what, "--no-headers").split()[:4] == ["nginx-deployment", "3/3", "3", "3"]
    first = kubectl("get", "rs", "-o", "jsonpath={.items[0].metadata.labels.pod-template-hash}")
    assert names(kubectl, "rs") == [f"nginx-deployment-{first}"]
    assert items(kubectl, "pods", ".metadata.labels.pod-template-hash") == [first] * 3

    kubectl("set", "image", what, "nginx=nginx:1.16.1")
    kubectl.rolled_out(what)
    assert items(kubectl, "rs", ".spec.replicas") == ["0", "3"]
    told = kubectl("describe", what)
    assert "StrategyType:           RollingUpdate" in told and "25% max unavailable, 25% max surge" in told
    assert "OldReplicaSets:  nginx-deployment-" in told and "(0/0 replicas created)" in told
    assert f"Scaled up replica set nginx-deployment-{first} from 0 to 3" in told
    assert f"Scaled down replica set nginx-deployment-{first} from 1 to 0" in told

    kubectl("annotate", what, "kubernetes.io/change-cause=image updated to 1.16.1")
    wait_for(lambda: "2         image updated to 1.16.1" in kubectl("rollout", "history", what), "the cause of the second")
    assert "rolled back" in kubectl("rollout", "undo", what, "--to-revision=1")
    kubectl.rolled_out(what)
    wait_for(
        lambda: items(kubectl, "pods", ".metadata.labels.pod-template-hash") == [first] * 3, "the pods of the second to be gone"
    )
    assert kubectl.path(what, ".metadata.annotations.deployment\\.kubernetes\\.io/revision") == "3"
    assert "unable to find specified revision 1" in kubectl("rollout", "undo", what, "--to-revision=1", code=1)

    kubectl("scale", what, "--replicas=5")
    kubectl("wait", what, "--for=jsonpath={.status.availableReplicas}=5", "--timeout=30s")
    kubectl("patch", what, "-p", '{"spec":{"revisionHistoryLimit":0}}')
    wait_for(lambda: names(kubectl, "rs") == [f"nginx-deployment-{first}"], "old replica sets to be cleaned up")


def test_a_deployment_that_makes_no_progress_is_told_of_and_rolled_back(kubectl: Kubectl) -> None:
    what = "deployment/nginx-deployment"
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl.rolled_out(what)
    assert condition(kubectl, what, "Progressing")["reason"] == "NewReplicaSetAvailable"
    kubectl("patch", what, "-p", json.dumps(NEVER_READY))
    assert "exceeded its progress deadline" in kubectl("rollout", "status", what, code=1)
    progressing = condition(kubectl, what, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert kubectl("get", what, "--no-headers").split()[:4] == ["nginx-deployment", "3/3", "1", "3"]
    assert len(names(kubectl, "pods")) == 4  # a surge of one, and nobody old goes

    # Scaled in the middle of a rollout, new pods are spread over both replica sets.
    kubectl("scale", what, "--replicas=10")
    kubectl("wait", what, "--for=jsonpath={.status.replicas}=13", "--timeout=30s")
    assert sum(map(int, items(kubectl, "rs", ".spec.replicas"))) == 13 and "0" not in items(kubectl, "rs", ".spec.replicas")

    kubectl("rollout", "undo", what)
    kubectl.rolled_out(what)
    assert condition(kubectl, what, "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert kubectl("get", what, "--no-headers").split()[:4] == ["nginx-deployment", "10/10", "10", "10"]


def test_a_deployment_that_may_not_make_pods_says_so(kubectl: Kubectl) -> None:
    what = "deployment/nginx-deployment"
    kubectl("create", "quota", "few", "--hard=pods=1")
    kubectl("wait", "quota/few", "--for=jsonpath={.status.hard.pods}=1", "--timeout=30s")
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("wait", what, "--for=condition=ReplicaFailure", "--timeout=30s")
    failure = condition(kubectl, what, "ReplicaFailure")
    assert failure["reason"] == "FailedCreate" and "exceeded quota: few, requested: pods=1, used: pods=1" in failure["message"]
    assert condition(kubectl, what, "Available")["reason"] == "MinimumReplicasUnavailable"


def test_changes_of_a_paused_deployment_make_one_rollout(kubectl: Kubectl) -> None:
    what = "deployment/nginx-deployment"
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl.rolled_out(what)
    kubectl("rollout", "pause", what)
    kubectl("set", "image", what, "nginx=nginx:1.16.1")
    kubectl("set", "resources", what, "-c=nginx", "--limits=cpu=200m,memory=512Mi")
    kubectl("wait", what, "--for=condition=Progressing=Unknown", "--timeout=30s")
    assert condition(kubectl, what, "Progressing")["reason"] == "DeploymentPaused"
    assert "cannot rollback a paused deployment" in kubectl("rollout", "undo", what, "--to-revision=1", code=1)
    assert len(names(kubectl, "rs")) == 1
    kubectl("scale", what, "--replicas=4")
    kubectl("wait", what, "--for=jsonpath={.status.availableReplicas}=4", "--timeout=30s")
    kubectl("rollout", "resume", what)
    kubectl.rolled_out(what)
    assert len(names(kubectl, "rs")) == 2
    assert items(kubectl, "pods", ".spec.containers[0].resources.limits.cpu", "-l", "app=nginx") == ["200m"] * 4


def test_a_recreated_deployment_never_runs_two_versions(kubectl: Kubectl) -> None:
    what = "deployment/nginx-deployment"
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("patch", what, "--type=merge", "-p", '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}')
    kubectl.rolled_out(what)
    kubectl("set", "image", what, "nginx=nginx:1.16.1")
    kubectl.rolled_out(what)
    assert items(kubectl, "pods", ".spec.containers[0].image") == ["nginx:1.16.1"] * 3
    told = [line for line in kubectl("describe", what).splitlines() if "ScalingReplicaSet" in line]
    assert sorted(line.partition(" from ")[2] for line in told) == ["0 to 3", "0 to 3", "3 to 0"]


def test_a_replica_set_acquires_and_sets_free_pods(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=BARE_PODS)
    kubectl("apply", "-f", "-", stdin=REPLICA_SET)
    kubectl("wait", "rs/frontend", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    assert {"pod1", "pod2"} < set(names(kubectl, "pods")) and len(names(kubectl, "pods")) == 3
    owner = json.loads(kubectl.path("pod/pod1", ".metadata.ownerReferences[0]"))
    owner.pop("uid")
    assert owner == {
        "apiVersion": "apps/v1", "blockOwnerDeletion": True, "controller": True, "kind": "ReplicaSet", "name": "frontend"
    }  # fmt: skip
    # Made when the set is whole, bare pods are taken as well, and two pods (all are about as old) are ended.
    kubectl("delete", "pod", "pod1", "pod2")
    wait_for(
        lambda: items(kubectl, "pods", ".status.conditions[?(@.type=='Ready')].status") == ["True"] * 3, "pods in their place"
    )
    kubectl("apply", "-f", "-", stdin=BARE_PODS)
    wait_for(lambda: len(names(kubectl, "pods")) == 3, "pods beyond the number to go")

    lonely = names(kubectl, "pods")[0]
    kubectl("label", "pod", lonely, "tier=debug", "--overwrite")
    wait_for(lambda: len(names(kubectl, "pods", "-l", "tier=frontend")) == 3, "a pod in place of the one set free")
    assert kubectl.path(f"pod/{lonely}", ".metadata.ownerReferences") == ""

    kubectl("scale", "rs/frontend", "--replicas=4")
    kubectl("wait", "rs/frontend", "--for=jsonpath={.status.readyReplicas}=4", "--timeout=30s")
    cheap = names(kubectl, "pods", "-l", "tier=frontend")[2]
    kubectl("annotate", "pod", cheap, "controller.kubernetes.io/pod-deletion-cost=-5")
    kubectl("scale", "rs/frontend", "--replicas=3")
    wait_for(lambda: len(names(kubectl, "pods", "-l", "tier=frontend")) == 3, "one pod less")
    assert cheap not in names(kubectl, "pods")

    kubectl("delete", "rs", "frontend", "--cascade=orphan")
    left = names(kubectl, "pods", "-l", "tier=frontend")
    kubectl("apply", "-f", "-", stdin=REPLICA_SET.replace("v5", "v6"))
    kubectl("wait", "rs/frontend", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    assert names(kubectl, "pods", "-l", "tier=frontend") == left  # the new set takes the old pods, whatever their image
    kubectl("delete", "rs", "frontend", "--cascade=foreground")
    assert names(kubectl, "pods") == [lonely]


def test_a_replication_controller_keeps_its_number_of_pods(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=REPLICATION_CONTROLLER)
    kubectl("wait", "rc/nginx", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    told = kubectl("describe", "rc", "nginx")
    assert "Replicas:     3 current / 3 desired" in told and "3 Running / 0 Waiting / 0 Succeeded / 0 Failed" in told
    assert told.count("SuccessfulCreate") == 3 and "replication-controller" in told
    gone = names(kubectl, "pods")[0]
    kubectl("delete", "pod", gone)
    kubectl("wait", "rc/nginx", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    kubectl("scale", "rc/nginx", "--replicas=1")
    wait_for(lambda: len(names(kubectl, "pods")) == 1, "two pods to go")
    kubectl("expose", "rc", "nginx", "--port=80")
    assert kubectl.path("service/nginx", ".spec.selector.app") == "nginx"
    kubectl("delete", "rc", "nginx", "--cascade=orphan")
    assert items(kubectl, "pods", ".metadata.ownerReferences[0].name") == []
    assert len(names(kubectl, "pods")) == 1


def test_a_disruption_budget_holds_back_evictions_but_not_deletions(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("create", "pdb", "zk", "--selector=app=nginx", "--max-unavailable=1")
    kubectl("wait", "pdb/zk", "--for=condition=DisruptionAllowed", "--timeout=30s")
    kubectl("wait", "pdb/zk", "--for=jsonpath={.status.currentHealthy}=3", "--timeout=30s")
    assert kubectl("get", "pdb", "zk", "--no-headers").split()[:4] == ["zk", "N/A", "1", "1"]
    told = kubectl("describe", "pdb", "zk")
    assert "Allowed disruptions:  1" in told and "Desired:              2" in told and "Total:                3" in told

    victim = names(kubectl, "pods")[0]
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{victim}/eviction"
    kubectl("patch", "pdb", "zk", "--type=merge", "-p", '{"spec":{"maxUnavailable":0}}')
    kubectl("wait", "pdb/zk", "--for=condition=DisruptionAllowed=False", "--timeout=30s")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": victim}}
    refused = kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), code=1)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
    kubectl("delete", "pod", victim)
    assert victim not in names(kubectl, "pods")

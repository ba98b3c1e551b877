"""With kubectl alone: autoscalers, quotas, limit ranges and claims of volumes, as their pages tell them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from live_cluster import ON_SQLITE, Kubectl, wait_for

pytestmark = ON_SQLITE

#: All its pods share one load: 600 MiB, where each asks for 200. (Processor time of pods that have just begun does not count for a while.)
SERVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: php-apache}
spec:
  selector: {matchLabels: {run: php-apache}}
  template:
    metadata: {labels: {run: php-apache}, annotations: {pilothouse.dev/memory-usage: shared 600Mi}}
    spec: {containers: [{name: php-apache, image: hpa-example, resources: {requests: {memory: 200Mi}}}]}
"""
LIMIT_RANGE = """
apiVersion: v1
kind: LimitRange
metadata: {name: cpu-resource-constraint}
spec:
  limits:
  - {type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 500m}, max: {cpu: "1"}, min: {cpu: 100m}}
"""
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: task-pv-claim}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 3Gi}}}
"""


def pod(name: str, cpu: str = "", claim: str = "", **requests: str) -> str:
    """A pod that may ask for something and mount a claim."""
    container: dict[str, Any] = {"name": "c", "image": "nginx"}
    if cpu or requests:
        amounts = {**({"cpu": cpu} if cpu else {}), **requests}
        container["resources"] = {"requests": amounts, "limits": amounts}
    spec: dict[str, Any] = {"containers": [container]}
    if claim:
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def load(kubectl: Kubectl, amount: str) -> None:
    """What all pods of the server use from now on."""
    kubectl("annotate", "pods", "-l", "run=php-apache", "--overwrite", f"pilothouse.dev/memory-usage=shared {amount}")


def measured(kubectl: Kubectl, mebibytes: int, pods: int = 1) -> bool:
    """Whether that is what all pods use together."""
    with contextlib.suppress(AssertionError):  # kubectl fails while a pod has no metrics yet
        amounts = [line.split()[2] for line in kubectl("top", "pods", "--no-headers").splitlines()]
        return len(amounts) == pods and sum(int(a.removesuffix("Mi")) for a in amounts) == mebibytes
    return False


def test_an_autoscaler_follows_the_load_up_and_down(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=SERVER)
    kubectl.rolled_out("deployment/php-apache")
    wait_for(lambda: measured(kubectl, 600), "the load to be measured")
    kubectl("autoscale", "deployment/php-apache", "--memory=50%", "--min=1", "--max=4")
    # 600 over 200 is 300 %, six times the target.
    kubectl("wait", "deployment/php-apache", "--for=jsonpath={.spec.replicas}=4", "--timeout=30s")
    told = kubectl("describe", "hpa", "php-apache")
    assert (
        "SuccessfulRescale" in told
        and "New size: 4; reason: memory resource utilization (percentage of request) above target" in told
    )
    assert "ScalingActive   True    ValidMetricFound" in told
    kubectl.rolled_out("deployment/php-apache")

    # Down at once, because this one is told not to wait for five minutes; changed, it looks again.
    load(kubectl, "0")
    wait_for(lambda: measured(kubectl, 0, 4), "the load to be gone")
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}, "scaleUp": {"selectPolicy": "Disabled"}}
    kubectl("patch", "hpa", "php-apache", "--type=merge", "-p", json.dumps({"spec": {"behavior": behavior}}))
    kubectl("wait", "deployment/php-apache", "--for=jsonpath={.spec.replicas}=1", "--timeout=60s")
    assert "reason: All metrics below target" in kubectl("describe", "hpa", "php-apache")
    kubectl("patch", "hpa", "php-apache", "--type=merge", "-p", '{"spec":{"maxReplicas":5}}')
    kubectl("wait", "hpa/php-apache", "--for=jsonpath={.status.currentReplicas}=1", "--timeout=60s")
    assert kubectl("get", "hpa", "php-apache", "--no-headers").split()[2:7] == ["memory:", "0%/50%", "1", "5", "1"]

    kubectl("scale", "deployment/php-apache", "--replicas=0")
    kubectl("patch", "hpa", "php-apache", "--type=merge", "-p", '{"spec":{"maxReplicas":6}}')
    kubectl("wait", "hpa/php-apache", "--for=condition=ScalingActive=False", "--timeout=60s")
    assert "scaling is disabled since the replica count of the target is zero" in kubectl("describe", "hpa", "php-apache")


def test_a_quota_counts_what_is_there_and_refuses_what_is_too_much(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "compute", "--hard=cpu=1,memory=1Gi,pods=2,count/configmaps=3,persistentvolumeclaims=1")
    kubectl("wait", "quota/compute", "--for=jsonpath={.status.used.pods}=0", "--timeout=30s")
    refused = kubectl("run", "lazy", "--image=nginx", code=1)
    assert "failed quota: compute: must specify cpu for: lazy; memory for: lazy" in refused
    kubectl("apply", "-f", "-", stdin=pod("one", "600m", memory="200Mi"))
    refused = kubectl("apply", "-f", "-", stdin=pod("two", "500m", memory="200Mi"), code=1)
    assert "exceeded quota: compute, requested: cpu=500m, used: cpu=600m, limited: cpu=1" in refused
    rows = [line.split() for line in kubectl("describe", "quota", "compute").splitlines()]
    assert ["cpu", "600m", "1"] in rows and ["memory", "200Mi", "1Gi"] in rows and ["pods", "1", "2"] in rows
    assert ["count/configmaps", "1", "3"] in rows  # kube-root-ca.crt
    kubectl("delete", "pod", "one")
    kubectl("wait", "quota/compute", "--for=jsonpath={.status.used.cpu}=0", "--timeout=30s")
    kubectl("apply", "-f", "-", stdin=pod("two", "500m", memory="200Mi"))
    kubectl("create", "quota", "best", "--hard=pods=1", "--scopes=BestEffort")
    kubectl("wait", "quota/best", "--for=jsonpath={.status.used.pods}=0", "--timeout=30s")
    assert "cpu: 500m/1" in kubectl("get", "quota", "compute", "--no-headers")
    assert "Resource Quotas" in kubectl("describe", "namespace", kubectl.namespace)


def test_a_limit_range_fills_in_and_bounds_what_containers_ask_for(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=LIMIT_RANGE)
    rows = [line.split() for line in kubectl("describe", "limitrange", "cpu-resource-constraint").splitlines()]
    assert ["Container", "cpu", "100m", "1", "500m", "500m", "-"] in rows
    kubectl("apply", "-f", "-", stdin=pod("defaulted"))
    resources = json.loads(kubectl.path("pod/defaulted", ".spec.containers[0].resources"))
    assert resources == {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}
    assert "LimitRanger plugin set: cpu request for container c; cpu limit for container c" in kubectl(
        "get", "pod", "defaulted", "-o", "jsonpath={.metadata.annotations}"
    )
    refused = kubectl("apply", "-f", "-", stdin=pod("big", "1500m"), code=1)
    assert "maximum cpu usage per Container is 1, but limit is 1500m" in refused
    refused = kubectl("apply", "-f", "-", stdin=pod("small", "50m"), code=1)
    assert "minimum cpu usage per Container is 100m, but request is 50m" in refused
    asks_more = {"requests": {"cpu": "700m"}}
    body = json.loads(pod("conflict"))
    body["spec"]["containers"][0]["resources"] = asks_more
    assert "must be less than or equal to cpu limit of 500m" in kubectl("apply", "-f", "-", stdin=json.dumps(body), code=1)


def test_a_claim_waits_for_its_first_pod_grows_and_goes_with_its_volume(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CLAIM)
    wait_for(lambda: "WaitForFirstConsumer" in kubectl("describe", "pvc", "task-pv-claim"), "the claim to wait")
    assert kubectl("get", "pvc", "task-pv-claim", "--no-headers").split()[:2] == ["task-pv-claim", "Pending"]
    kubectl("apply", "-f", "-", stdin=pod("task-pv-pod", claim="task-pv-claim"))
    kubectl("wait", "pod/task-pv-pod", "--for=condition=Ready", "--timeout=30s")
    volume = kubectl.path("pvc/task-pv-claim", ".spec.volumeName")
    row = kubectl("get", "pvc", "task-pv-claim", "--no-headers").split()
    assert row[:6] == ["task-pv-claim", "Bound", volume, "3Gi", "RWO", "standard"]
    row = kubectl("get", "pv", volume, "--no-headers").split()
    assert row[1:7] == ["3Gi", "RWO", "Delete", "Bound", f"{kubectl.namespace}/task-pv-claim", "standard"]
    assert "Successfully provisioned volume" in kubectl("describe", "pvc", "task-pv-claim")
    assert kubectl.path("pod/task-pv-pod", ".spec.nodeName") in kubectl("describe", "pv", volume)

    size = '{"spec":{"resources":{"requests":{"storage":"%s"}}}}'
    kubectl("patch", "pvc", "task-pv-claim", "-p", size % "5Gi")
    kubectl("wait", "pvc/task-pv-claim", "--for=jsonpath={.status.capacity.storage}=5Gi", "--timeout=30s")
    assert kubectl.path(f"pv/{volume}", ".spec.capacity.storage") == "5Gi"
    refused = kubectl("patch", "pvc", "task-pv-claim", "-p", size % "1Gi", code=1)
    assert "field can not be less than status.capacity" in refused

    # In use, it does not go before its pod.
    kubectl("delete", "pvc", "task-pv-claim", "--wait=false")
    assert kubectl("get", "pvc", "task-pv-claim", "--no-headers").split()[1] == "Terminating"
    assert kubectl.path("pvc/task-pv-claim", ".metadata.finalizers[0]") == "kubernetes.io/pvc-protection"
    kubectl("delete", "pod", "task-pv-pod")
    kubectl("wait", "pvc/task-pv-claim", f"pv/{volume}", "--for=delete", "--timeout=30s")


def test_a_volume_made_by_hand_is_bound_and_kept(kubectl: Kubectl) -> None:
    name = f"task-{kubectl.namespace}"
    volume = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"storageClassName": name, "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"],
                 "hostPath": {"path": "/mnt/data"}},
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(volume))
    try:
        kubectl("wait", f"pv/{name}", "--for=jsonpath={.status.phase}=Available", "--timeout=30s")
        kubectl("apply", "-f", "-", stdin=CLAIM.replace("spec: {", f"spec: {{storageClassName: {name}, "))
        kubectl("wait", "pvc/task-pv-claim", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
        assert kubectl.path("pvc/task-pv-claim", ".spec.volumeName") == name
        kubectl("delete", "pvc", "task-pv-claim")
        kubectl("wait", f"pv/{name}", "--for=jsonpath={.status.phase}=Released", "--timeout=30s")
        assert kubectl.path(f"pv/{name}", ".spec.persistentVolumeReclaimPolicy") == "Retain"
    finally:
        kubectl("delete", "pv", name)

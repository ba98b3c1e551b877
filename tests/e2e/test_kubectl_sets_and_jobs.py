"""kubectl on StatefulSets, DaemonSets, Jobs and CronJobs, as their pages in Kubernetes' documentation walk through them."""

from __future__ import annotations

import json

from live_cluster import Kubectl, wait_for

STATEFUL_SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  replicas: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec: {containers: [{name: nginx, image: "nginx:1", volumeMounts: [{name: www, mountPath: /www}]}]}
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: "agent:1"}]}
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: pi}
spec:
  completions: 4
  parallelism: 2
  completionMode: Indexed
  template:
    metadata: {annotations: {pilothouse.dev/run-for: "0.3"}}
    spec: {restartPolicy: Never, containers: [{name: c, image: pi}]}
"""
FAILING = """
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 2
  template:
    metadata: {annotations: {pilothouse.dev/run-for: "0.3", pilothouse.dev/exit-code: "3"}}
    spec: {restartPolicy: Never, containers: [{name: c, image: pi}]}
"""


def names(kubectl: Kubectl, what: str, *more: str) -> list[str]:
    return sorted(kubectl("get", what, "-o", "name", *more).split())


def images(kubectl: Kubectl, selector: str) -> set[str]:
    return set(kubectl("get", "pods", "-l", selector, "-o", "jsonpath={.items[*].spec.containers[0].image}").split())


def test_a_stateful_set_keeps_names_and_claims_through_its_life(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    kubectl.rolled_out("statefulset/web")
    assert names(kubectl, "pods") == ["pod/web-0", "pod/web-1"]
    assert kubectl.path("pvc/www-web-1", ".status.phase") == "Bound"
    kubectl("scale", "statefulset/web", "--replicas=3")
    kubectl("set", "image", "statefulset/web", "nginx=nginx:2")
    assert "3 new pods have been updated" in kubectl.rolled_out("statefulset/web")
    assert images(kubectl, "app=nginx") == {"nginx:2"}
    kubectl("rollout", "undo", "statefulset/web")
    kubectl.rolled_out("statefulset/web")
    assert images(kubectl, "app=nginx") == {"nginx:1"}
    kubectl("delete", "statefulset/web", "--cascade=orphan")
    assert len(names(kubectl, "pods")) == 3
    kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    wait_for(lambda: names(kubectl, "pods") == ["pod/web-0", "pod/web-1"], "the third pod to go")
    kubectl("delete", "statefulset/web")
    wait_for(lambda: names(kubectl, "pods") == [], "the pods to go")
    assert len(names(kubectl, "pvc")) == 3


def test_a_daemon_set_runs_on_every_node_and_rolls(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    assert "successfully rolled out" in kubectl.rolled_out("daemonset/agent")
    nodes = kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert sorted(kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split()) == sorted(nodes)
    kubectl("set", "image", "daemonset/agent", "c=agent:2")
    kubectl.rolled_out("daemonset/agent")
    assert images(kubectl, "app=agent") == {"agent:2"}
    assert len(kubectl("rollout", "history", "daemonset/agent").strip().splitlines()) == 4
    kubectl("rollout", "undo", "daemonset/agent")
    kubectl.rolled_out("daemonset/agent")
    assert images(kubectl, "app=agent") == {"agent:1"}


def test_jobs_complete_fail_and_go(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=JOB)
    kubectl("apply", "-f", "-", stdin=FAILING)
    kubectl("wait", "--for=condition=complete", "job/pi", "--timeout=30s")
    assert kubectl.path("job/pi", ".status.completedIndexes") == "0-3"
    assert "Job completed" in kubectl("describe", "job", "pi")
    wait_for(lambda: "job.batch/bad" not in names(kubectl, "jobs"), "the failed job's time to be over")
    events = kubectl("events", "--for=job/bad")
    assert "Job has reached the specified backoff limit" in events


def test_a_cron_job_makes_jobs_by_hand_and_by_time(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "hello", "--image=hi", "--schedule=0 0 29 2 *")
    note = {"spec": {"jobTemplate": {"spec": {"template": {"metadata": {"annotations": {"pilothouse.dev/run-for": "0.2"}}}}}}}
    kubectl("patch", "cronjob", "hello", "--type=merge", "-p", json.dumps(note))
    kubectl("create", "job", "--from=cronjob/hello", "now")
    kubectl("wait", "--for=condition=complete", "job/now", "--timeout=30s")
    missed = '{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}'
    kubectl("patch", "cronjob", "hello", "--subresource=status", "--type=merge", "-p", missed)
    wait_for(lambda: len(names(kubectl, "jobs")) == 2, "the missed run")
    kubectl("delete", "cronjob", "hello")
    wait_for(lambda: names(kubectl, "jobs") == [], "its jobs to go")

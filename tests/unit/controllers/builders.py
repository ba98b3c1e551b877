"""Small objects for tests of controllers."""

from __future__ import annotations

from typing import Any

from pilothouse.clock import rfc3339

Obj = dict[str, Any]
NOW = 1_767_225_600.0


def pod(
    name: str, *, node: str = "n1", phase: str = "Running", ready: float | None = None, age: float = 100.0, **more: Any
) -> Obj:
    """A pod `age` seconds old that is ready since `ready` seconds ago (None: not ready)."""
    conditions = []
    if ready is not None:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - ready)})
    meta = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "creationTimestamp": rfc3339(NOW - age),
        "labels": {"app": "a"},
    }
    meta.update(more.pop("metadata", {}))
    status = {"phase": phase, "conditions": conditions, **more.pop("status", {})}
    spec = {"containers": [{"name": "c", "image": "i"}], **more.pop("spec", {})}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def template(image: str = "v1", **labels: str) -> Obj:
    return {"metadata": {"labels": {"app": "a", **labels}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def replica_set(
    name: str, replicas: int, *, image: str = "v1", available: int | None = None, age: float = 0.0, **more: Any
) -> Obj:
    """A ReplicaSet of Deployment `d` that has reached its size, with `available` of its pods available (default: all)."""
    have = replicas if available is None else available
    status = {
        "replicas": replicas,
        "readyReplicas": have,
        "availableReplicas": have,
        "observedGeneration": 1,
        "terminatingReplicas": 0,
    }
    status.update(more.pop("status", {}))
    meta = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": rfc3339(NOW - age),
        "labels": {"app": "a", "pod-template-hash": name},
        "annotations": more.pop("annotations", {}),
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "a", "pod-template-hash": name}},
        "template": template(image, **{"pod-template-hash": name}),
    }
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec, "status": status}


def deployment(replicas: int, *, image: str = "v1", strategy: Obj | None = None, **more: Any) -> Obj:
    meta = {"name": "d", "namespace": "ns", "uid": "uid-d", "generation": 1, "annotations": more.pop("annotations", {})}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "a"}},
        "template": template(image),
        "strategy": strategy or rolling("25%", "25%"),
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 10,
        **more.pop("spec", {}),
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec, "status": more.pop("status", {})}


def rolling(surge: int | str, unavailable: int | str) -> Obj:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def node(name: str, ready: str = "True", **more: Any) -> Obj:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": rfc3339(NOW), "lastTransitionTime": rfc3339(NOW)}]
    meta = {"name": name, "uid": f"uid-{name}", "creationTimestamp": rfc3339(NOW), "labels": more.pop("labels", {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta,
        "spec": more.pop("spec", {}),
        "status": {"conditions": conditions},
    }


def daemon_set(*, image: str = "v1", strategy: Obj | None = None, **spec: Any) -> Obj:
    return {
        "metadata": {
            "name": "ds",
            "namespace": "ns",
            "uid": "uid-ds",
            "generation": 1,
            "annotations": {"deprecated.daemonset.template.generation": "1"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": template(image),
            "updateStrategy": strategy or {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def stateful_set(replicas: int, *, image: str = "v1", **spec: Any) -> Obj:
    return {
        "metadata": {"name": "web", "namespace": "ns", "uid": "uid-web", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "a"}},
            "template": template(image),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def job(name: str = "j", **spec: Any) -> Obj:
    template = {
        "metadata": {"labels": {"job": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"},
    }
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "generation": 1},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "completionMode": "NonIndexed",
            "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"job": name}},
            "template": template,
            **spec,
        },
    }


def cron_job(schedule: str, **spec: Any) -> Obj:
    return {
        "metadata": {"name": "cj", "namespace": "ns", "uid": "uid-cj", "generation": 1},
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Allow",
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"from": "cron"}}, "spec": job()["spec"]},
            **spec,
        },
    }

"""An operator written with kopf: a stateful service for each Database, a daemon and a timer for each, an index of passwords.

Run as for any cluster: `kopf run --namespace NS kopf_database.py`.
"""

from __future__ import annotations

from typing import Any

import kopf
from kubernetes import client, config

KIND = ("data.example.com", "v1", "databases")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.persistence.finalizer = "data.example.com/kopf"
    settings.watching.server_timeout = 5


@kopf.index("secrets", labels={"kind": "password"})
def passwords(name: str, body: kopf.Body, **_: Any) -> dict[str, str]:
    return {name: body["data"]["password"]}


def deployment(name: str, spec: kopf.Spec) -> dict[str, Any]:
    labels = {"database": name}
    container = {"name": "db", "image": f"{spec['engine']}:16", "ports": [{"containerPort": 5432}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    body = {"replicas": spec["replicas"], "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


@kopf.on.create(*KIND)
def create(body: kopf.Body, name: str, namespace: str, spec: kopf.Spec, passwords: kopf.Index, **_: Any) -> dict[str, Any]:
    if name not in passwords:
        raise kopf.TemporaryError(f"no password for {name} yet", delay=0.2)
    child = deployment(name, spec)
    kopf.adopt(child)
    made = client.AppsV1Api().create_namespaced_deployment(namespace, child)
    kopf.event(body, type="Normal", reason="Provisioned", message=f"{name} has a deployment")
    return {"child": made.metadata.name, "password": next(iter(passwords[name]))}


@kopf.on.field(*KIND, field="spec.replicas")
def scale(name: str, namespace: str, old: int | None, new: int, patch: kopf.Patch, **_: Any) -> None:
    if old is not None:
        client.AppsV1Api().patch_namespaced_deployment_scale(name, namespace, {"spec": {"replicas": new}})
    patch.status["replicas"] = new


@kopf.on.update(*KIND, field="spec.engine")
def refuse(**_: Any) -> None:
    raise kopf.PermanentError("an engine cannot be changed")


@kopf.on.delete(*KIND)
def backup(name: str, namespace: str, status: kopf.Status, **_: Any) -> None:
    """May run twice: another handler can change the object before the finalizer is taken off."""
    data = {"replicas": str(status.get("replicas"))}
    try:
        client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-backup"}, "data": data})
    except client.ApiException as error:
        if error.status != 409:
            raise


@kopf.daemon(*KIND, cancellation_timeout=1.0)
def follow(name: str, namespace: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
    """Tells how many pods are ready until the database is deleted."""
    while not stopped:
        pods = client.CoreV1Api().list_namespaced_pod(namespace, label_selector=f"database={name}").items
        ready = sum(c.status == "True" for pod in pods for c in pod.status.conditions or () if c.type == "Ready")
        body = {"status": {"ready": ready}}
        client.CustomObjectsApi().patch_namespaced_custom_object_status(KIND[0], KIND[1], namespace, KIND[2], name, body)
        stopped.wait(0.2)


@kopf.timer(*KIND, interval=0.3, initial_delay=0.1)
def count(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    if (status.get("ticks") or 0) < 3:
        patch.status["ticks"] = (status.get("ticks") or 0) + 1

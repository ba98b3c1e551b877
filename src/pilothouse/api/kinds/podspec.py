"""Defaults of a pod's spec, shared by pods and everything that carries a pod template (API reference: PodSpec, Container, Probe, Volume)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import quantity

Obj = dict[str, Any]

_SPEC = (
    ("restartPolicy", "Always"),
    ("terminationGracePeriodSeconds", 30),
    ("dnsPolicy", "ClusterFirst"),
    ("schedulerName", "default-scheduler"),
)
_PROBE = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))
_MODE = 0o644


def default_pod_spec(spec: Obj) -> None:
    """Fill in a PodSpec, in place."""
    for key, value in _SPEC:
        if not spec.get(key) and spec.get(key) != 0:
            spec[key] = value
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("serviceAccountName") and not spec.get("serviceAccount"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount") and not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    host = bool(spec.get("hostNetwork"))
    for c in spec.get("containers") or ():
        default_container(c, host)
    for c in spec.get("initContainers") or ():
        default_container(c, host)
    if spec.get("resources"):
        default_pod_resources(spec)
    for c in spec.get("ephemeralContainers") or ():
        default_container(c, False)
    for v in spec.get("volumes") or ():
        default_volume(v)


def default_container(c: Obj, host_network: bool) -> None:
    """Fill in a Container, in place."""
    if not c.get("imagePullPolicy"):
        c["imagePullPolicy"] = pull_policy(c.get("image") or "")
    if not c.get("terminationMessagePath"):
        c["terminationMessagePath"] = "/dev/termination-log"
    if not c.get("terminationMessagePolicy"):
        c["terminationMessagePolicy"] = "File"
    for port in c.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if host_network and not port.get("hostPort") and port.get("containerPort"):
            port["hostPort"] = port["containerPort"]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if c.get(probe) is not None:
            default_probe(c[probe])
    for hook in (c.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet"):
            default_http_get(hook["httpGet"])
    for env in c.get("env") or ():
        _default_field_ref(env.get("valueFrom") or {})
    default_resources(c.get("resources") or {})


def default_resources(resources: Obj) -> None:
    """Limits stand for requests that are not given; nothing is finer than a thousandth."""
    for listed in filter(None, (resources.get("limits"), resources.get("requests"))):
        for name, amount in listed.items():
            if amount[-1:] in ("n", "u"):
                listed[name] = quantity.round_up_to_milli(amount)
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def default_probe(probe: Obj) -> None:
    for key, value in _PROBE:
        if not probe.get(key):
            probe[key] = value
    if probe.get("httpGet"):
        default_http_get(probe["httpGet"])
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def default_http_get(action: Obj) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def pull_policy(image: str) -> str:
    """Always for the tag latest or none, else IfNotPresent."""
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    tag = name.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def default_volume(v: Obj) -> None:
    """Fill in a Volume, in place; one without a source is an emptyDir."""
    if len(v) <= 1:
        v["emptyDir"] = {}
    for source in ("configMap", "secret", "downwardAPI", "projected"):
        if isinstance(v.get(source), dict) and v[source].get("defaultMode") is None:
            v[source]["defaultMode"] = _MODE
    for item in (v.get("downwardAPI") or {}).get("items") or ():
        _default_field_ref(item)
    for source in (v.get("projected") or {}).get("sources") or ():
        token = source.get("serviceAccountToken")
        if token is not None and not token.get("expirationSeconds"):
            token["expirationSeconds"] = 3600
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _default_field_ref(item)
    if v.get("hostPath") is not None:
        v["hostPath"].setdefault("type", "")
    _default_disks(v)


def _default_field_ref(item: Obj) -> None:
    ref = item.get("fieldRef")
    if ref is not None and not ref.get("apiVersion"):
        ref["apiVersion"] = "v1"


def _default_disks(v: Obj) -> None:
    if v.get("iscsi") is not None:
        v["iscsi"].setdefault("iscsiInterface", "default")
    if v.get("rbd") is not None:
        for key, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
            v["rbd"].setdefault(key, value)
    if v.get("azureDisk") is not None:
        for key, disk in (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)):
            v["azureDisk"].setdefault(key, disk)
    if v.get("scaleIO") is not None:
        v["scaleIO"].setdefault("storageMode", "ThinProvisioned")
        v["scaleIO"].setdefault("fsType", "xfs")
    claim = (v.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim is not None:
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def default_pod_resources(spec: Obj) -> None:
    """Pod-level requests that are not given: what the containers ask for together, else the pod-level limit (KEP-2837)."""
    resources = spec["resources"]
    for name, limit in (resources.get("limits") or {}).items():
        if name in (resources.get("requests") or {}):
            continue
        asked = [(c.get("resources") or {}).get("requests", {}).get(name) for c in spec.get("containers") or ()]
        total = None
        for amount in asked:
            if amount is not None:
                total = amount if total is None else quantity.add(total, amount)
        resources.setdefault("requests", {})[name] = limit if total is None else total

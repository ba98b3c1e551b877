"""Defaults of a pod's spec, shared by pods and everything that carries a pod template (API reference: PodSpec, Container, Probe, Volume).

Runs on every write of these kinds, so fields are looked for before they are walked.
"""

from __future__ import annotations

import functools
import re

from pilothouse.api import quantity
from pilothouse.api.errors import Obj
from pilothouse.api.podspec.resources import COMPUTE, aggregate, is_huge_page

_MODE = 0o644
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)
#: registry.example.com:5000/team/app:1.2@sha256:...
_is_image = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{{32,}}))?",
    re.ASCII,
).fullmatch


def default_pod_spec(spec: Obj) -> None:
    """Fill in a PodSpec, in place: of a pod or of a template."""
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    _default_service_account(spec)
    for c in spec.get("containers") or ():
        default_container(c)
    for c in spec.get("initContainers") or ():
        default_container(c)
    for c in spec.get("ephemeralContainers") or ():
        default_container(c)
    for v in spec.get("volumes") or ():
        default_volume(v)


def default_pod_only(spec: Obj) -> None:
    """What is filled in when a template has become a pod: requests from limits, the node's ports, links to services."""
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    host = spec.get("hostNetwork")
    for field in ("containers", "initContainers"):
        for c in spec.get(field) or ():
            if c.get("resources"):
                default_requests(c["resources"])
            if host and c.get("ports"):
                _default_host_ports(c["ports"])
    if spec.get("resources"):
        default_pod_resources(spec)


def _default_host_ports(ports: list[Obj]) -> None:
    for port in ports:
        if not port.get("hostPort") and port.get("containerPort"):
            port["hostPort"] = port["containerPort"]


def _default_service_account(spec: Obj) -> None:
    """The old name and the new one of the same field."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def default_container(c: Obj) -> None:
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
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if field in c and c[field] is not None:
            default_probe(c[field])
    if c.get("lifecycle"):
        for hook in c["lifecycle"].values():
            if isinstance(hook, dict) and hook.get("httpGet"):
                default_http_get(hook["httpGet"])
    for env in c.get("env") or ():
        if env.get("valueFrom"):
            _default_references(env["valueFrom"])
    if c.get("resources"):
        default_resources(c["resources"])


def default_resources(resources: Obj) -> None:
    """Nothing is finer than a thousandth."""
    for listed in filter(None, (resources.get("limits"), resources.get("requests"))):
        for name, amount in listed.items():
            if amount[-1:] in ("n", "u"):
                listed[name] = quantity.round_up_to_milli(amount)


def default_requests(resources: Obj) -> None:
    """Limits stand for requests that are not given."""
    limits = resources.get("limits")
    if limits:
        requests = resources.get("requests")
        if requests is None:
            requests = resources["requests"] = {}
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def default_probe(probe: Obj) -> None:
    if not probe.get("timeoutSeconds"):
        probe["timeoutSeconds"] = 1
    if not probe.get("periodSeconds"):
        probe["periodSeconds"] = 10
    if not probe.get("successThreshold"):
        probe["successThreshold"] = 1
    if not probe.get("failureThreshold"):
        probe["failureThreshold"] = 3
    if probe.get("httpGet"):
        default_http_get(probe["httpGet"])
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def default_http_get(action: Obj) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


@functools.lru_cache(maxsize=4096)
def pull_policy(image: str) -> str:
    """Always for the tag latest or none; else, and where the name is none that a registry could have, IfNotPresent."""
    match = _is_image(image)
    if match is None or match["digest"]:
        return "IfNotPresent"
    return "Always" if match["tag"] in (None, "latest") else "IfNotPresent"


def default_volume(v: Obj) -> None:
    """Fill in a Volume, in place; one without a source is an emptyDir."""
    if len(v) <= 1 and not (v and "name" not in v):
        v["emptyDir"] = {}
    for field, default in _VOLUME_DEFAULTS:
        if field in v and v[field] is not None:
            default(v[field])


def _default_mode(source: Obj) -> None:
    if source.get("defaultMode") is None:
        source["defaultMode"] = _MODE


def _default_downward(source: Obj) -> None:
    _default_mode(source)
    for item in source.get("items") or ():
        _default_references(item)


def _default_projected(source: Obj) -> None:
    _default_mode(source)
    for projection in source.get("sources") or ():
        token = projection.get("serviceAccountToken")
        if token is not None and not token.get("expirationSeconds"):
            token["expirationSeconds"] = 3600
        certificate = projection.get("podCertificate")
        if certificate is not None and certificate.get("maxExpirationSeconds") is None:
            certificate["maxExpirationSeconds"] = 86400
        for item in (projection.get("downwardAPI") or {}).get("items") or ():
            _default_references(item)


def _default_references(holder: Obj) -> None:
    """References into the pod itself: which version's fields, and divided by what."""
    field, resource = holder.get("fieldRef"), holder.get("resourceFieldRef")
    if field is not None and not field.get("apiVersion"):
        field["apiVersion"] = "v1"
    if resource is not None and resource.get("divisor") is None:
        resource["divisor"] = "0"


def _default_host_path(source: Obj) -> None:
    if source.get("type") is None:
        source["type"] = ""


def _default_iscsi(source: Obj) -> None:
    if not source.get("iscsiInterface"):
        source["iscsiInterface"] = "default"


def _default_rbd(source: Obj) -> None:
    for field, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
        if not source.get(field):
            source[field] = value


def _default_azure(source: Obj) -> None:
    for field, value in (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)):
        if source.get(field) is None:
            source[field] = value


def _default_scaleio(source: Obj) -> None:
    for field, value in (("storageMode", "ThinProvisioned"), ("fsType", "xfs")):
        if not source.get(field):
            source[field] = value


def _default_ephemeral(source: Obj) -> None:
    claim = source.get("volumeClaimTemplate")
    if claim is not None:
        spec = claim.setdefault("spec", {})
        if spec.get("volumeMode") is None:
            spec["volumeMode"] = "Filesystem"


def _default_image(source: Obj) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(source.get("reference") or "")


_VOLUME_DEFAULTS = (
    ("secret", _default_mode),
    ("configMap", _default_mode),
    ("projected", _default_projected),
    ("downwardAPI", _default_downward),
    ("hostPath", _default_host_path),
    ("iscsi", _default_iscsi),
    ("rbd", _default_rbd),
    ("azureDisk", _default_azure),
    ("scaleIO", _default_scaleio),
    ("ephemeral", _default_ephemeral),
    ("image", _default_image),
)


def default_pod_resources(spec: Obj) -> None:
    """Pod-level requests that are not given: what the containers ask for together, else the pod-level limit (KEP-2837)."""
    resources: Obj = spec["resources"]
    limits = resources.get("limits") or {}
    requests = dict(resources.get("requests") or {})
    if not limits and not requests:
        return
    for name, amount in aggregate(spec, "requests").items():
        if name not in requests and (name in COMPUTE or is_huge_page(name)):
            requests[name] = amount
    for name, limit in limits.items():
        requests.setdefault(name, limit)
    if requests:
        resources["requests"] = requests

"""The other objects of a new cluster: namespaces, priority classes, API services, the kubernetes service, configuration."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Iterable

from pilothouse.api.errors import Obj

#: Namespaces that always exist, in the order of their creation.
NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")

_CLUSTER_CRITICAL = "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
_NODE_CRITICAL = "Used for system critical pods that must not be moved from their current node."
PRIORITY_CLASSES: tuple[Obj, ...] = tuple(
    {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": name},
        "value": value,
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    for name, value, description in (
        ("system-node-critical", 2000001000, _NODE_CRITICAL),
        ("system-cluster-critical", 2000000000, _CLUSTER_CRITICAL),
    )
)

#: group -> its priority among groups; versions have 15 unless named below.
GROUP_PRIORITY = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
    "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100, "internal.apiserver.k8s.io": 16000, "storagemigration.k8s.io": 15800,
}  # fmt: skip
VERSION_PRIORITY = {
    ("", "v1"): 1, ("autoscaling", "v2"): 30, ("resource.k8s.io", "v1"): 21, ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("certificates.k8s.io", "v1beta1"): 9, ("certificates.k8s.io", "v1alpha1"): 1, ("networking.k8s.io", "v1beta1"): 9,
    ("storage.k8s.io", "v1beta1"): 9, ("storage.k8s.io", "v1alpha1"): 1, ("admissionregistration.k8s.io", "v1beta1"): 12,
    ("admissionregistration.k8s.io", "v1alpha1"): 9, ("scheduling.k8s.io", "v1alpha2"): 2, ("coordination.k8s.io", "v1beta1"): 13,
    ("coordination.k8s.io", "v1alpha2"): 12, ("resource.k8s.io", "v1beta2"): 15, ("resource.k8s.io", "v1beta1"): 9,
    ("resource.k8s.io", "v1alpha3"): 1,
}  # fmt: skip

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"


def namespace(name: str) -> Obj:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}


def api_services(group_versions: Iterable[tuple[str, str]]) -> list[Obj]:
    """A local APIService for each served group and version, but for the group of APIServices itself."""
    return [_api_service(g, v) for g, v in group_versions if g != "apiregistration.k8s.io" and g in GROUP_PRIORITY]


def _api_service(group: str, version: str) -> Obj:
    spec: Obj = {"group": group} if group else {}
    spec |= {
        "version": version,
        "groupPriorityMinimum": GROUP_PRIORITY[group],
        "versionPriority": VERSION_PRIORITY.get((group, version), 15),
    }
    metadata = {"name": f"{version}.{group}", "labels": {AUTOMANAGED: "onstart"}}
    return {"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": metadata, "spec": spec}


# --- the API server as a service ------------------------------------------------------------------------------------------------------


def first_address(cidr: str) -> str:
    """The service range's first usable address: the one of the kubernetes service."""
    return str(ipaddress.ip_network(cidr, strict=False)[1])


def service_cidr(ranges: list[str]) -> Obj:
    metadata = {"name": "kubernetes"}
    return {"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": {"cidrs": ranges}}


def service_cidr_ready(now: str) -> Obj:
    """The status of the default range, as an apply configuration."""
    message = "Kubernetes default Service CIDR is ready"
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": now, "message": message}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "status": {"conditions": [condition]},
    }


def kubernetes_service(address: str, port: int) -> Obj:
    """The service default/kubernetes, in front of the API servers' `port`."""
    metadata = {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}}
    spec: Obj = {
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        "clusterIP": address,
        "clusterIPs": [address],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv6" if ":" in address else "IPv4"],
        "ipFamilyPolicy": "SingleStack",
    }
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": spec}


def kubernetes_endpoints(addresses: list[str], port: int) -> Obj:
    metadata = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
    }
    subset = {"addresses": [{"ip": a} for a in addresses], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
    return {"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata, "subsets": [subset]}


def kubernetes_endpointslice(addresses: list[str], port: int) -> Obj:
    metadata = {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}}
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": metadata,
        "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
        "ports": [{"name": "https", "protocol": "TCP", "port": port}],
    }


# --- configuration ----------------------------------------------------------------------------------------------------------------------


def authentication_configmap(client_ca: str, front_proxy_ca: str) -> Obj:
    """What extension API servers need to trust requests that come through this one."""
    data = {
        "client-ca-file": client_ca,
        "requestheader-client-ca-file": front_proxy_ca,
        "requestheader-allowed-names": json.dumps(["front-proxy-client"]),
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    }
    metadata = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {k: v for k, v in data.items() if v}}


def token_tracking_configmap(day: str) -> Obj:
    """Since when the use of legacy service account tokens is watched: YYYY-MM-DD."""
    metadata = {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"since": day}}


def identity(hostname: str) -> str:
    """A server's name among several: apiserver-<hash of the host's name>, as Kubernetes makes it."""
    digest = hashlib.sha256(f"kube-apiserver/{hostname}".encode()).digest()
    return "apiserver-" + base64.b32encode(digest).decode().lower().rstrip("=")[:26]


def identity_lease(name: str, holder: str, hostname: str, now: str) -> Obj:
    metadata = {
        "name": name,
        "namespace": "kube-system",
        "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": hostname},
    }
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 3600, "renewTime": now}
    return {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata, "spec": spec}

"""Pods that a kubelet makes: mirrors of its static pods, which belong to its node and refer to nothing that the node may not read."""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.authz.node import configmap_names, secret_names
from pilothouse.apiserver.interface import AdmissionRequest

_MIRROR = "kubernetes.io/config.mirror"


def check_mirror(request: AdmissionRequest, node: str, uid: str) -> None:
    """403 unless the new pod is a mirror pod of the node. `uid` is the node's."""
    pod: Obj = request.obj or {}
    if _MIRROR not in (pod["metadata"].get("annotations") or {}):
        raise refuse(request, f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods')
    if pod["spec"].get("nodeName") != node:
        raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
    _check_owner(request, pod["metadata"].get("ownerReferences") or [], node, uid)
    for what in _references(pod):
        raise refuse(request, f'node "{node}" can not create pods that reference {what}')


def _check_owner(request: AdmissionRequest, owners: list[Obj], node: str, uid: str) -> None:
    """The pod belongs to its node alone."""
    if len(owners) > 1:
        raise refuse(request, f'node "{node}" can only create pods with a single owner reference set to itself')
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise refuse(request, f'node "{node}" can only create pods with an owner reference set to itself')
    if not owner.get("controller"):
        raise refuse(request, f'node "{node}" can only create pods with a controller owner reference set to itself')
    if owner.get("blockOwnerDeletion"):
        raise refuse(request, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    if owner.get("uid") != uid:
        raise refuse(request, f"node {node} UID mismatch: expected {owner.get('uid', '')} got {uid}")


def _references(pod: Obj) -> list[str]:
    """What the pod refers to, of that which it may not."""
    spec = pod["spec"]
    volumes = spec.get("volumes") or ()
    sources = [s for v in volumes for s in (v.get("projected") or {}).get("sources") or ()]
    found = {
        "a service account": bool(spec.get("serviceAccountName")),
        "secrets": any(secret_names(pod)),
        "configmaps": any(configmap_names(pod)),
        "persistentvolumeclaims": any("persistentVolumeClaim" in v or "ephemeral" in v for v in volumes),
        "resourceclaims": bool(spec.get("resourceClaims")),
        "clustertrustbundles": any("clusterTrustBundle" in s for s in sources),
    }
    return [what for what, there in found.items() if there]

"""NodeRestriction: a kubelet writes its own Node, the pods that are bound to it, and nothing else.

Off by default, as in Kubernetes; kubeadm turns it on. Together with the Node authorizer it keeps a stolen kubelet credential from being
worth more than its node.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.authz.node import configmap_names, node_name, secret_names
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_MIRROR = "kubernetes.io/config.mirror"
_LEASES = "kube-node-lease"
#: Labels of these domains a kubelet may not give to its node, but for the ones named below.
_DOMAINS = ("kubernetes.io", "k8s.io")
_OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch", "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    )
)  # fmt: skip
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(AdmissionPlugin):
    name = "NodeRestriction"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        known = resource.group_resource in _CHECKS
        return known and operation in ("CREATE", "UPDATE", "DELETE")

    async def validate(self, request: AdmissionRequest) -> None:
        node = node_name(request.user)
        if node:
            _CHECKS[request.resource.group_resource](self, request, node)

    # --- pods -------------------------------------------------------------------------------------------------------------------

    def _pod(self, request: AdmissionRequest, node: str) -> None:
        if request.subresource == "status":
            self._own_pod(request, node, "status of pods")
        elif request.subresource == "eviction":
            self._own_pod(request, node, "pods", "evict")
        elif request.subresource:
            raise refuse(request, f"unexpected pod subresource {request.subresource!r}")
        elif request.operation == "CREATE":
            _check_mirror(request, node)
        elif request.operation == "DELETE":
            self._own_pod(request, node, "pods", "delete")
        else:
            raise refuse(
                request, f"unexpected operation {request.operation!r}, node {node!r} can only create and delete mirror pods"
            )

    def _own_pod(self, request: AdmissionRequest, node: str, what: str, verb: str = "update") -> None:
        entry = self.hub.cache("", "pods").get(request.namespace, request.name)
        if entry is not None and entry.obj["spec"].get("nodeName") != node:
            raise refuse(request, f'node "{node}" can only {verb} {what} with spec.nodeName set to itself')

    # --- its own objects ------------------------------------------------------------------------------------------------------

    def _node(self, request: AdmissionRequest, node: str) -> None:
        name = (request.obj or request.old or {}).get("metadata", {}).get("name") or request.name
        if name != node:
            raise refuse(request, f'node "{node}" is not allowed to modify node "{name}"')
        if request.operation == "CREATE":
            _check_labels(request, node, (request.obj or {})["metadata"].get("labels") or {}, {})
        elif request.operation == "UPDATE":
            self._node_update(request, node)

    def _node_update(self, request: AdmissionRequest, node: str) -> None:
        new, old = request.obj or {}, request.old or {}
        if (new.get("spec") or {}).get("configSource") != (old.get("spec") or {}).get("configSource"):
            raise refuse(request, f'node "{node}" is not allowed to update configSource to a new non-nil configSource')
        if (new.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
            raise refuse(request, f'node "{node}" is not allowed to modify taints')
        if new["metadata"].get("ownerReferences") != old["metadata"].get("ownerReferences"):
            raise refuse(request, f'node "{node}" is not allowed to modify ownerReferences')
        _check_labels(request, node, new["metadata"].get("labels") or {}, old["metadata"].get("labels") or {})

    def _lease(self, request: AdmissionRequest, node: str) -> None:
        if request.namespace != _LEASES:
            raise refuse(request, f'can only access leases in the "{_LEASES}" system namespace')
        name = (request.obj or {}).get("metadata", {}).get("name") or request.name
        if name != node:
            raise refuse(request, "can only access node lease with the same name as the requesting node")

    def _csi_node(self, request: AdmissionRequest, node: str) -> None:
        name = (request.obj or {}).get("metadata", {}).get("name") or request.name
        if name != node:
            raise refuse(request, "can only access CSINode with the same name as the requesting node")

    def _token(self, request: AdmissionRequest, node: str) -> None:
        if request.operation != "CREATE" or request.subresource != "token":
            return
        ref = ((request.obj or {}).get("spec") or {}).get("boundObjectRef") or {}
        if ref.get("kind") != "Pod" or ref.get("apiVersion") != "v1" or not ref.get("name"):
            raise refuse(request, "node requested token not bound to a pod")
        if not ref.get("uid"):
            raise refuse(request, "node requested token with a pod binding without a uid")
        entry = self.hub.cache("", "pods").get(request.namespace, ref["name"])
        if entry is None or entry.obj["metadata"]["uid"] != ref["uid"]:
            raise refuse(request, "the UID in the bound object reference does not match the UID in record")
        if entry.obj["spec"].get("nodeName") != node:
            raise refuse(request, "node requested token bound to a pod scheduled on a different node")


_CHECKS = {
    ("", "pods"): NodeRestriction._pod,
    ("", "nodes"): NodeRestriction._node,
    ("", "serviceaccounts"): NodeRestriction._token,
    ("coordination.k8s.io", "leases"): NodeRestriction._lease,
    ("storage.k8s.io", "csinodes"): NodeRestriction._csi_node,
}


def _check_mirror(request: AdmissionRequest, node: str) -> None:
    pod: Obj = request.obj or {}
    spec = pod["spec"]
    if _MIRROR not in (pod["metadata"].get("annotations") or {}):
        raise refuse(request, f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods')
    if spec.get("nodeName") != node:
        raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
    if spec.get("serviceAccountName"):
        raise refuse(request, f'node "{node}" can not create pods that reference a service account')
    if any(secret_names(pod)):
        raise refuse(request, f'node "{node}" can not create pods that reference secrets')
    if any(configmap_names(pod)):
        raise refuse(request, f'node "{node}" can not create pods that reference configmaps')
    if any("persistentVolumeClaim" in v for v in spec.get("volumes") or ()):
        raise refuse(request, f'node "{node}" can not create pods that reference persistentvolumeclaims')


def _check_labels(request: AdmissionRequest, node: str, new: dict[str, str], old: dict[str, str]) -> None:
    changed = {k for k in {*new, *old} if new.get(k) != old.get(k)}
    forbidden = sorted(k for k in changed if _is_reserved(k))
    if forbidden:
        raise refuse(request, f'node "{node}" is not allowed to modify labels: {", ".join(forbidden)}')


def _is_reserved(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if label in _OWN_LABELS or any(domain == d or domain.endswith("." + d) for d in _OWN_DOMAINS):
        return False
    return any(domain == d or domain.endswith("." + d) for d in _DOMAINS)

"""NodeRestriction: a kubelet writes its own Node, the pods that are bound to it, and nothing else.

Off by default, as in Kubernetes; kubeadm turns it on. Together with the Node authorizer it keeps a stolen kubelet credential from being
worth more than its node.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.node_mirror_pods import check_mirror
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.authz.node import node_name
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Attributes, Verdict

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
            self._pod_status(request, node)
        elif request.subresource == "eviction":
            self._own_pod(request, node, "pods", "evict")
        elif request.subresource:
            told = f"unexpected pod subresource \"{request.subresource}\", only 'status' and 'eviction' are allowed"
            raise refuse(request, told)
        elif request.operation == "CREATE":
            entry = self.hub.cache("", "nodes").get("", node)
            check_mirror(request, node, entry.obj["metadata"]["uid"] if entry is not None else "")
        elif request.operation == "DELETE":
            self._own_pod(request, node, "pods", "delete")
        else:
            raise refuse(
                request, f'unexpected operation "{request.operation}", node "{node}" can only create and delete mirror pods'
            )

    def _own_pod(self, request: AdmissionRequest, node: str, what: str, verb: str = "update") -> None:
        entry = self.hub.cache("", "pods").get(request.namespace, request.name)
        if entry is not None and entry.obj["spec"].get("nodeName") != node:
            raise refuse(request, f'node "{node}" can only {verb} {what} with spec.nodeName set to itself')

    def _pod_status(self, request: AdmissionRequest, node: str) -> None:
        new, old = request.obj or {}, request.old or {}
        if (new["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
            raise refuse(request, f'node "{node}" cannot update labels through pod status')
        claims = [(o.get("status") or {}).get("resourceClaimStatuses") for o in (new, old)]
        if claims[0] != claims[1]:
            raise refuse(request, f'node "{node}" cannot update resource claim statuses')

    # --- its own objects ------------------------------------------------------------------------------------------------------

    def _node(self, request: AdmissionRequest, node: str) -> None:
        name = (request.obj or request.old or {}).get("metadata", {}).get("name") or request.name
        if name != node:
            raise refuse(request, f'node "{node}" is not allowed to modify node "{name}"')
        if request.operation == "CREATE":
            _check_new_labels(request, node)
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

    def _resource_slice(self, request: AdmissionRequest, node: str) -> None:
        for obj in (request.obj, request.old):
            if obj is not None and (obj.get("spec") or {}).get("nodeName") != node:
                raise refuse(request, "can only create, update or delete ResourceSlices of the requesting node")

    def _claim(self, request: AdmissionRequest, node: str) -> None:
        """How much a volume has become after it grew, and nothing else."""
        if request.subresource != "status" or request.operation != "UPDATE":
            told = f'unexpected operation "{request.operation}" of persistentvolumeclaims, only status can be updated'
            raise refuse(request, told)
        new, old = ({**(o or {}), "status": {**((o or {}).get("status") or {})}} for o in (request.obj, request.old))
        for obj in (new, old):
            obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}
            for key in ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"):
                obj["status"].pop(key, None)
        if new != old:
            raise refuse(
                request, f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'
            )

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
        self._audience(request, entry.obj)

    def _audience(self, request: AdmissionRequest, pod: Obj) -> None:
        """A kubelet asks for the audiences that its pod's volumes are for (KEP-4412), or that it has been allowed to ask for."""
        audiences = ((request.obj or {}).get("spec") or {}).get("audiences") or []
        if len(audiences) > 1:
            raise refuse(request, "node may only request 0 or 1 audiences")
        audience = audiences[0] if audiences else ""
        if not audience or audience in self._wanted_audiences(pod):
            return
        verb, user, resource = "request-serviceaccounts-token-audience", request.user, request.resource
        asked = Attributes(user, verb, resource.group, resource.version, audience, "", request.namespace, request.name)
        if self.hub.authorize(asked)[0] is not Verdict.ALLOW:
            raise refuse(request, f'audience "{audience}" not found in pod spec volume')

    def _wanted_audiences(self, pod: Obj) -> set[str]:
        """Those of the pod's projected tokens, and of the drivers of its volumes."""
        found: set[str] = set()
        drivers: set[str] = set()
        for volume in pod["spec"].get("volumes") or ():
            found |= {
                (s.get("serviceAccountToken") or {}).get("audience", "")
                for s in (volume.get("projected") or {}).get("sources") or ()
            }
            drivers.add((volume.get("csi") or {}).get("driver", ""))
            drivers.add(self._claimed_driver(pod["metadata"]["namespace"], volume))
        for name in drivers - {""}:
            entry = self.hub.cache("storage.k8s.io", "csidrivers").get("", name)
            tokens = (entry.obj["spec"].get("tokenRequests") or ()) if entry is not None else ()
            found |= {token.get("audience", "") for token in tokens}
        return found

    def _claimed_driver(self, namespace: str, volume: Obj) -> str:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        entry = self.hub.cache("", "persistentvolumeclaims").get(namespace, claim) if claim else None
        bound = (
            self.hub.cache("", "persistentvolumes").get("", entry.obj["spec"].get("volumeName", ""))
            if entry is not None
            else None
        )
        driver: str = (bound.obj["spec"].get("csi") or {}).get("driver", "") if bound is not None else ""
        return driver


_CHECKS = {
    ("", "pods"): NodeRestriction._pod,
    ("", "nodes"): NodeRestriction._node,
    ("", "serviceaccounts"): NodeRestriction._token,
    ("coordination.k8s.io", "leases"): NodeRestriction._lease,
    ("storage.k8s.io", "csinodes"): NodeRestriction._csi_node,
    ("", "persistentvolumeclaims"): NodeRestriction._claim,
    ("resource.k8s.io", "resourceslices"): NodeRestriction._resource_slice,
}


def _check_new_labels(request: AdmissionRequest, node: str) -> None:
    labels = (request.obj or {})["metadata"].get("labels") or {}
    if forbidden := sorted(k for k in labels if _is_reserved(k)):
        raise refuse(request, f'node "{node}" is not allowed to set the following labels: {", ".join(forbidden)}')


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

"""The Node authorizer: a kubelet may read what the pods on its node refer to, and write what is about its node.

A node is who is called system:node:<name> in the group system:nodes. What every node may do is the ClusterRole system:node's rules;
for the kinds below, only in relation to itself: its Node and CSINode, its lease, pods bound to it, and the secrets, configmaps,
claims, volumes and service accounts that those pods refer to. The relation is looked up in the pods of that node, so that there is
no graph to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pilothouse.api.errors import Obj
from pilothouse.apiserver.authz.rules import allows
from pilothouse.apiserver.bootstrap.rbac_policy import rules_of
from pilothouse.apiserver.interface import Attributes, Hub, User, Verdict

_PREFIX = "system:node:"
_READ = ("get", "list", "watch")
_LEASES = "kube-node-lease"

Answer = tuple[Verdict, str]
_ALLOW: Answer = (Verdict.ALLOW, "")


def node_name(user: User) -> str:
    """The node that a user is the kubelet of; "" for everyone else."""
    if user.name.startswith(_PREFIX) and "system:nodes" in user.groups:
        return user.name[len(_PREFIX) :]
    return ""


def _no(reason: str) -> Answer:
    return Verdict.NO_OPINION, reason


class NodeAuthorizer:
    """One of --authorization-mode's modes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._rules: list[Obj] | None = None
        self._special: dict[tuple[str, str], Callable[[str, Attributes], Answer]] = {
            ("", "secrets"): self._read_namespaced,
            ("", "configmaps"): self._read_namespaced,
            ("", "persistentvolumeclaims"): self._claims,
            ("", "persistentvolumes"): self._get_individual,
            ("", "serviceaccounts"): self._service_account,
            ("", "nodes"): self._nodes,
            ("", "pods"): self._pods,
            ("resource.k8s.io", "resourceclaims"): self._get_individual,
            ("storage.k8s.io", "volumeattachments"): self._get_individual,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("coordination.k8s.io", "leases"): self._lease,
        }

    def authorize(self, attributes: Attributes) -> Answer:
        node = node_name(attributes.user)
        if not node:
            return _no("")
        if attributes.resource:
            special = self._special.get((attributes.group, attributes.resource))
            if special is not None:
                return special(node, attributes)
        return self._by_rules(attributes)

    def _by_rules(self, attributes: Attributes) -> Answer:
        if self._rules is None:
            self._rules = rules_of("system:node")
        return _ALLOW if any(allows(rule, attributes) for rule in self._rules) else _no("")

    # --- kinds that pods refer to -------------------------------------------------------------------------------------------

    def _read_namespaced(self, node: str, a: Attributes) -> Answer:
        if a.verb not in _READ or a.subresource:
            return _no("can only read resources of this type")
        if not a.name:
            return _no("No Object name found")
        if not a.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, a)

    def _claims(self, node: str, a: Attributes) -> Answer:
        if a.subresource == "status":
            return self._related(node, a) if a.verb in ("get", "update", "patch") else _no("can only get/update/patch this type")
        return self._get_individual(node, a)

    def _get_individual(self, node: str, a: Attributes) -> Answer:
        if a.verb != "get" or a.subresource:
            return _no("can only get individual resources of this type")
        return self._related(node, a) if a.name else _no("No Object name found")

    def _service_account(self, node: str, a: Attributes) -> Answer:
        if a.verb == "get" and not a.subresource:
            return self._related(node, a) if a.name else _no("No Object name found")
        if not a.name or a.verb != "create":
            return _no("can only create tokens for individual service accounts")
        if a.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, a)

    def _related(self, node: str, a: Attributes) -> Answer:
        if any(a.name in self._names(pod, a.resource) for pod in self._pods_of(node, a.namespace)):
            return _ALLOW
        return _no(f"no relationship found between node '{node}' and this object")

    def _pods_of(self, node: str, namespace: str) -> Iterator[Obj]:
        for entry in self._hub.cache("", "pods").list(namespace):
            pod = entry.obj
            if pod["spec"].get("nodeName") == node:
                yield pod

    def _names(self, pod: Obj, resource: str) -> set[str]:
        """What a pod refers to, of one kind."""
        if resource == "serviceaccounts":
            return {pod["spec"].get("serviceAccountName", "")}
        if resource == "secrets":
            return set(secret_names(pod))
        if resource == "configmaps":
            return set(configmap_names(pod))
        claims = {
            v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes") or () if "persistentVolumeClaim" in v
        }
        claims |= {f"{pod['metadata']['name']}-{v['name']}" for v in pod["spec"].get("volumes") or () if "ephemeral" in v}
        if resource == "persistentvolumeclaims":
            return claims
        if resource == "persistentvolumes":
            return self._volumes(pod["metadata"]["namespace"], claims)
        if resource == "resourceclaims":
            return set(_resource_claims(pod))
        return set()

    def _volumes(self, namespace: str, claims: set[str]) -> set[str]:
        cache = self._hub.cache("", "persistentvolumeclaims")
        found = (cache.get(namespace, claim) for claim in claims)
        return {e.obj["spec"].get("volumeName", "") for e in found if e is not None}

    # --- the node's own -------------------------------------------------------------------------------------------------------

    def _nodes(self, node: str, a: Attributes) -> Answer:
        if a.verb in ("create", "update", "patch", "delete") or (a.subresource and a.verb not in _READ):
            return self._by_rules(a)
        if a.verb in _READ:
            if a.name == node:
                return _ALLOW if a.subresource in ("", "status") else self._by_rules(a)
            if not a.name:
                return _no(f"node '{node}' cannot read all nodes, only its own Node object")
            return _no(f"node '{node}' cannot read '{a.name}', only its own Node object")
        return self._by_rules(a)

    def _pods(self, node: str, a: Attributes) -> Answer:
        if a.subresource:
            return self._by_rules(a)
        if a.verb in ("create", "delete"):
            return self._by_rules(a)
        if a.verb == "get":
            if not a.name:
                return _no("No Object name found")
            entry = self._hub.cache("", "pods").get(a.namespace, a.name)
            bound = entry is not None and entry.obj["spec"].get("nodeName") == node
            return _ALLOW if bound else _no(f"no relationship found between node '{node}' and this object")
        if a.verb in ("list", "watch"):
            if f"spec.nodeName={node}" in a.field_selector.replace("==", "=").split(","):
                return _ALLOW
            if a.name:
                return self._pods(node, Attributes(a.user, "get", "", a.version, "pods", "", a.namespace, a.name))
            return _no("can only list/watch pods with spec.nodeName field selector")
        return self._by_rules(a)

    def _lease(self, node: str, a: Attributes) -> Answer:
        if a.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a node lease")
        if a.namespace != _LEASES:
            return _no(f'can only access leases in the "{_LEASES}" system namespace')
        if a.verb != "create" and a.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return _ALLOW

    def _csi_node(self, node: str, a: Attributes) -> Answer:
        if a.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a CSINode")
        if a.subresource:
            return _no("cannot authorize CSINode subresources")
        if a.verb != "create" and a.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return _ALLOW


def secret_names(pod: Obj) -> Iterator[str]:
    """The secrets of its namespace that a pod refers to."""
    spec = pod["spec"]
    yield from (s.get("name", "") for s in spec.get("imagePullSecrets") or ())
    yield from _environment_names(spec, "secretRef", "secretKeyRef")
    for volume in spec.get("volumes") or ():
        if "secret" in volume:
            yield volume["secret"].get("secretName", "")
        yield from _projected_names(volume, "secret")
        for source in volume.values():
            for key in ("secretRef", "nodePublishSecretRef"):
                if isinstance(source, dict) and isinstance(source.get(key), dict):
                    yield source[key].get("name", "")


def configmap_names(pod: Obj) -> Iterator[str]:
    """The config maps of its namespace that a pod refers to."""
    spec = pod["spec"]
    yield from _environment_names(spec, "configMapRef", "configMapKeyRef")
    for volume in spec.get("volumes") or ():
        if "configMap" in volume:
            yield volume["configMap"].get("name", "")
        yield from _projected_names(volume, "configMap")


def _projected_names(volume: Obj, key: str) -> Iterator[str]:
    for source in (volume.get("projected") or {}).get("sources") or ():
        if key in source:
            yield source[key].get("name", "")


def _environment_names(spec: Obj, whole: str, single: str) -> Iterator[str]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            yield from (e[whole].get("name", "") for e in container.get("envFrom") or () if whole in e)
            yield from (
                e["valueFrom"][single].get("name", "") for e in container.get("env") or () if single in (e.get("valueFrom") or {})
            )


def _resource_claims(pod: Obj) -> Iterator[str]:
    for claim in pod["spec"].get("resourceClaims") or ():
        if "resourceClaimName" in claim:
            yield claim["resourceClaimName"]
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        yield status.get("resourceClaimName", "")

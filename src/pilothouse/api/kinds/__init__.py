"""Which file holds which kind's rules. Modules are imported when a kind is first served, never before."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pilothouse.api.strategy import Strategy

if TYPE_CHECKING:
    from pilothouse.api.resource import Resource

#: (group, plural) -> "module:Class" below this package.
STRATEGIES: dict[tuple[str, str], str] = {
    ("", "namespaces"): "namespace:NamespaceStrategy",
    ("", "nodes"): "node:NodeStrategy",
    ("", "pods"): "pod:PodStrategy",
    ("", "services"): "service:ServiceStrategy",
    ("", "endpoints"): "endpoints:EndpointsStrategy",
    ("", "configmaps"): "configmap:ConfigMapStrategy",
    ("", "secrets"): "secret:SecretStrategy",
    ("", "serviceaccounts"): "serviceaccount:ServiceAccountStrategy",
    ("", "events"): "event:EventStrategy",
    ("", "podtemplates"): "podtemplate:PodTemplateStrategy",
    ("", "replicationcontrollers"): "replicationcontroller:ReplicationControllerStrategy",
    ("events.k8s.io", "events"): "event:EventStrategy",
    ("discovery.k8s.io", "endpointslices"): "endpointslice:EndpointSliceStrategy",
    ("coordination.k8s.io", "leases"): "lease:LeaseStrategy",
    ("apps", "deployments"): "deployment:DeploymentStrategy",
    ("apps", "replicasets"): "replicaset:ReplicaSetStrategy",
    ("apps", "statefulsets"): "statefulset:StatefulSetStrategy",
    ("apps", "daemonsets"): "daemonset:DaemonSetStrategy",
    ("apps", "controllerrevisions"): "controllerrevision:ControllerRevisionStrategy",
    ("rbac.authorization.k8s.io", "roles"): "rbac:RoleStrategy",
    ("rbac.authorization.k8s.io", "clusterroles"): "rbac:ClusterRoleStrategy",
    ("rbac.authorization.k8s.io", "rolebindings"): "rbac:RoleBindingStrategy",
    ("rbac.authorization.k8s.io", "clusterrolebindings"): "rbac:ClusterRoleBindingStrategy",
    ("scheduling.k8s.io", "priorityclasses"): "priorityclass:PriorityClassStrategy",
}


def strategy_for(resource: Resource) -> Strategy:
    """The kind's rules; the generic ones for a kind that has no file of its own."""
    where = STRATEGIES.get(resource.group_resource)
    if where is None:
        return Strategy(resource)
    module, _, name = where.partition(":")
    found: type[Strategy] = getattr(importlib.import_module(f"pilothouse.api.kinds.{module}"), name)
    return found(resource)

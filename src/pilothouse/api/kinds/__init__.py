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
    ("", "componentstatuses"): "componentstatus:ComponentStatusStrategy",
    ("", "limitranges"): "limitrange:LimitRangeStrategy",
    ("", "persistentvolumeclaims"): "persistentvolumeclaim:PersistentVolumeClaimStrategy",
    ("", "persistentvolumes"): "persistentvolume:PersistentVolumeStrategy",
    ("", "resourcequotas"): "resourcequota:ResourceQuotaStrategy",
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): "admissionpolicy:MutatingAdmissionPolicyStrategy",
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): "admissionpolicy:MutatingAdmissionPolicyBindingStrategy",
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
    ): "webhookconfiguration:MutatingWebhookConfigurationStrategy",
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): "admissionpolicy:ValidatingAdmissionPolicyStrategy",
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
    ): "admissionpolicy:ValidatingAdmissionPolicyBindingStrategy",
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
    ): "webhookconfiguration:ValidatingWebhookConfigurationStrategy",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "customresourcedefinition:CustomResourceDefinitionStrategy",
    ("apiregistration.k8s.io", "apiservices"): "apiservice:APIServiceStrategy",
    ("autoscaling", "horizontalpodautoscalers"): "horizontalpodautoscaler:HorizontalPodAutoscalerStrategy",
    ("batch", "cronjobs"): "cronjob:CronJobStrategy",
    ("batch", "jobs"): "job:JobStrategy",
    ("certificates.k8s.io", "certificatesigningrequests"): "certificatesigningrequest:CertificateSigningRequestStrategy",
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): "flowschema:FlowSchemaStrategy",
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
    ): "prioritylevelconfiguration:PriorityLevelConfigurationStrategy",
    ("networking.k8s.io", "ingressclasses"): "ingress:IngressClassStrategy",
    ("networking.k8s.io", "ingresses"): "ingress:IngressStrategy",
    ("networking.k8s.io", "ipaddresses"): "servicecidr:IPAddressStrategy",
    ("networking.k8s.io", "networkpolicies"): "networkpolicy:NetworkPolicyStrategy",
    ("networking.k8s.io", "servicecidrs"): "servicecidr:ServiceCIDRStrategy",
    ("node.k8s.io", "runtimeclasses"): "runtimeclass:RuntimeClassStrategy",
    ("policy", "poddisruptionbudgets"): "poddisruptionbudget:PodDisruptionBudgetStrategy",
    ("resource.k8s.io", "deviceclasses"): "deviceclass:DeviceClassStrategy",
    ("resource.k8s.io", "resourceclaims"): "resourceclaim:ResourceClaimStrategy",
    ("resource.k8s.io", "resourceclaimtemplates"): "resourceclaimtemplate:ResourceClaimTemplateStrategy",
    ("resource.k8s.io", "resourceslices"): "resourceslice:ResourceSliceStrategy",
    ("storage.k8s.io", "csidrivers"): "csidriver:CSIDriverStrategy",
    ("storage.k8s.io", "csinodes"): "csinode:CSINodeStrategy",
    ("storage.k8s.io", "csistoragecapacities"): "csistoragecapacity:CSIStorageCapacityStrategy",
    ("storage.k8s.io", "storageclasses"): "storageclass:StorageClassStrategy",
    ("storage.k8s.io", "volumeattachments"): "volumeattachment:VolumeAttachmentStrategy",
    ("storage.k8s.io", "volumeattributesclasses"): "volumeattributesclass:VolumeAttributesClassStrategy",
}


def strategy_for(resource: Resource) -> Strategy:
    """The kind's rules; the generic ones for a kind that has no file of its own."""
    where = STRATEGIES.get(resource.group_resource)
    if where is None:
        return Strategy(resource)
    module, _, name = where.partition(":")
    found: type[Strategy] = getattr(importlib.import_module(f"pilothouse.api.kinds.{module}"), name)
    return found(resource)

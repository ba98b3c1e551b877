"""Which admission plugins run, and in which order: --enable-admission-plugins and --disable-admission-plugins.

The order is Kubernetes' own, whatever the order on the command line. All names that Kubernetes 1.36 knows are known here. Some that are on by
default have nothing to do, because their kinds or gates are off in a stock server (`INERT`).
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from pilothouse.api.errors import Obj
from pilothouse.apiserver.interface import AdmissionPlugin, Hub

#: Every plugin in the order of execution: name, on by default, "module:Class" below this package ("" where there is none).
PLUGINS: tuple[tuple[str, bool, str], ...] = (
    ("AlwaysAdmit", False, "always:AlwaysAdmit"),
    ("NamespaceAutoProvision", False, "namespace_exists:NamespaceAutoProvision"),
    ("NamespaceLifecycle", True, "namespace_lifecycle:NamespaceLifecycle"),
    ("NamespaceExists", False, "namespace_exists:NamespaceExists"),
    ("LimitPodHardAntiAffinityTopology", False, "limit_pod_hard_anti_affinity_topology:LimitPodHardAntiAffinityTopology"),
    ("LimitRanger", True, "limit_ranger:LimitRanger"),
    ("ServiceAccount", True, "service_account:ServiceAccount"),
    ("NodeRestriction", False, "node_restriction:NodeRestriction"),
    ("TaintNodesByCondition", True, "taint_nodes_by_condition:TaintNodesByCondition"),
    ("AlwaysPullImages", False, "always_pull_images:AlwaysPullImages"),
    ("ImagePolicyWebhook", False, "image_policy_webhook:ImagePolicyWebhook"),
    ("PodSecurity", True, "pod_security:PodSecurity"),
    ("PodNodeSelector", False, "pod_node_selector:PodNodeSelector"),
    ("Priority", True, "priority:Priority"),
    ("DefaultTolerationSeconds", True, "default_toleration_seconds:DefaultTolerationSeconds"),
    ("PodTolerationRestriction", False, "pod_toleration_restriction:PodTolerationRestriction"),
    ("EventRateLimit", False, "event_rate_limit:EventRateLimit"),
    ("ExtendedResourceToleration", False, "extended_resource_toleration:ExtendedResourceToleration"),
    ("DefaultStorageClass", True, "default_storage_class:DefaultStorageClass"),
    ("StorageObjectInUseProtection", True, "storage_object_in_use_protection:StorageObjectInUseProtection"),
    ("PodGroupProtection", True, ""),
    (
        "OwnerReferencesPermissionEnforcement",
        False,
        "owner_references_permission_enforcement:OwnerReferencesPermissionEnforcement",
    ),
    ("PersistentVolumeClaimResize", True, "persistent_volume_claim_resize:PersistentVolumeClaimResize"),
    ("RuntimeClass", True, "runtime_class:RuntimeClass"),
    ("CertificateApproval", True, "certificates:CertificateApproval"),
    ("CertificateSigning", True, "certificates:CertificateSigning"),
    ("ClusterTrustBundleAttest", True, ""),
    ("CertificateSubjectRestriction", True, "certificates:CertificateSubjectRestriction"),
    ("DefaultIngressClass", True, "default_ingress_class:DefaultIngressClass"),
    ("DenyServiceExternalIPs", False, "deny_service_external_ips:DenyServiceExternalIPs"),
    ("PodTopologyLabels", True, "pod_topology_labels:PodTopologyLabels"),
    ("PodGroupWorkloadExists", True, ""),
    ("NodeDeclaredFeatureValidator", True, ""),
    ("JobValidation", True, ""),
    ("PodResizeValidator", True, "pod_resize_validator:PodResizeValidator"),
    ("MutatingAdmissionPolicy", True, "mutating_admission_policy:MutatingAdmissionPolicy"),
    ("MutatingAdmissionWebhook", True, "mutating_admission_webhook:MutatingAdmissionWebhook"),
    ("ValidatingAdmissionPolicy", True, "validating_admission_policy:ValidatingAdmissionPolicy"),
    ("ValidatingAdmissionWebhook", True, "validating_admission_webhook:ValidatingAdmissionWebhook"),
    ("ResourceQuota", True, "resource_quota:ResourceQuota"),
    ("AlwaysDeny", False, "always:AlwaysDeny"),
)
#: On by default, and waiting for what is off: what each waits for.
INERT: Mapping[str, str] = MappingProxyType(
    {
        "PodGroupProtection": "gate GenericWorkload",
        "ClusterTrustBundleAttest": "kind ClusterTrustBundle",
        "PodGroupWorkloadExists": "gate GenericWorkload",
        "NodeDeclaredFeatureValidator": "an update of a pod that needs a feature of its node",
        "JobValidation": "gate WorkloadWithJob",
    }
)
_NOTHING: Mapping[str, Obj] = MappingProxyType({})
_NAMES = frozenset(name for name, _, _ in PLUGINS)


def check_names(enable: Collection[str] = (), disable: Collection[str] = ()) -> None:
    """ValueError, in one line, for names that nobody knows and plugins that are switched both on and off."""
    for flag, names in (("enable-admission-plugins", enable), ("disable-admission-plugins", disable)):
        for name in names:
            if name not in _NAMES:
                raise ValueError(f'{flag} plugin "{name}" is unknown')
    both = sorted(set(enable) & set(disable))
    if both:
        raise ValueError(f"{both} in enable-admission-plugins and disable-admission-plugins overlapped")


def build(
    hub: Hub, enable: Collection[str] = (), disable: Collection[str] = (), configs: Mapping[str, Obj] = _NOTHING
) -> Sequence[AdmissionPlugin]:
    """The plugins that are on, in order, with their configurations. ValueError as `check_names`, and for what a plugin cannot use."""
    check_names(enable, disable)
    unknown = sorted(set(configs) - _NAMES)
    if unknown:
        raise ValueError(f'admission-control-config-file: plugin "{unknown[0]}" is unknown')
    wanted = [(name, where) for name, on, where in PLUGINS if where and (on or name in enable) and name not in disable]
    plugins = [_load(where)(hub) for _, where in wanted]
    for plugin in plugins:
        if plugin.name in configs or plugin.needs_configuration:
            plugin.configure(configs.get(plugin.name, {}))
    return plugins


def _load(where: str) -> type[AdmissionPlugin]:
    module, _, name = where.partition(":")
    found: type[AdmissionPlugin] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found

"""The controllers that exist, by the names that kube-controller-manager gives them, and which of them `--controllers` selects.

A controller's module is imported only when it is selected.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.controllers.kit import Controller

#: Seconds after which those start that a new cluster needs for its first pods.
SOON = 0.03


@dataclass(frozen=True, slots=True)
class Entry:
    """One controller: its name and former name, where its class is, the ServiceAccount that it acts as ("": the manager), needs."""

    name: str
    alias: str
    place: str
    account: str
    default: bool = True
    #: Seconds after the manager's start at which it starts: what a new cluster waits for comes first, then what is asked of it first.
    start_after: float = 0.15
    #: The name that its Events bear, where it is not its own.
    component: str = ""
    #: Options without which it has nothing to do.
    needs: tuple[str, ...] = ()

    def load(self) -> type[Controller]:
        module, _, attribute = self.place.partition(":")
        return getattr(importlib.import_module(f"pilothouse.controllers.{module}"), attribute)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "serviceaccount-token-controller",
        "serviceaccount-token",
        "token:TokenController",
        "",  # the manager itself: it reads and writes the secrets of all accounts
        needs=("service_account_private_key",),
        start_after=SOON,
    ),
    Entry(
        "serviceaccount-controller",
        "serviceaccount",
        "serviceaccount:ServiceAccountController",
        "service-account-controller",
        start_after=0.0,
    ),
    Entry(
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
        "root_ca:RootCAPublisher",
        "root-ca-cert-publisher",
        needs=("root_ca",),
        start_after=0.0,
    ),
    Entry("namespace-controller", "namespace", "namespace:NamespaceController", "namespace-controller", start_after=SOON),
    Entry(
        "garbage-collector-controller",
        "garbagecollector",
        "garbage_collector:GarbageCollector",
        "generic-garbage-collector",
        start_after=1.0,  # it lists everything
    ),
    Entry(
        "resourcequota-controller",
        "resourcequota",
        "resourcequota:ResourceQuotaController",
        "resourcequota-controller",
    ),
    Entry("replicaset-controller", "replicaset", "replicaset:ReplicaSetController", "replicaset-controller", start_after=SOON),
    Entry(
        "replicationcontroller-controller",
        "replicationcontroller",
        "replicationcontroller:ReplicationControllerController",
        "replication-controller",
        component="replication-controller",
    ),
    Entry("deployment-controller", "deployment", "deployment:DeploymentController", "deployment-controller", start_after=SOON),
    Entry("statefulset-controller", "statefulset", "statefulset:StatefulSetController", "statefulset-controller"),
    Entry("daemonset-controller", "daemonset", "daemonset:DaemonSetController", "daemon-set-controller"),
    Entry("job-controller", "job", "job:JobController", "job-controller"),
    Entry("cronjob-controller", "cronjob", "cronjob:CronJobController", "cronjob-controller"),
    Entry(
        "ttl-after-finished-controller",
        "ttl-after-finished",
        "ttl_after_finished:TTLAfterFinishedController",
        "ttl-after-finished-controller",
    ),
    Entry(
        "horizontal-pod-autoscaler-controller",
        "horizontalpodautoscaling",
        "hpa:HorizontalPodAutoscalerController",
        "horizontal-pod-autoscaler",
        component="horizontal-pod-autoscaler",
    ),
    Entry(
        "endpoints-controller",
        "endpoint",
        "endpoints:EndpointsController",
        "endpoint-controller",
        component="endpoint-controller",
        start_after=SOON,
    ),
    Entry(
        "endpointslice-controller",
        "endpointslice",
        "endpointslice:EndpointSliceController",
        "endpointslice-controller",
        component="endpoint-slice-controller",
        start_after=SOON,
    ),
    Entry(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring",
        "endpointslice_mirroring:EndpointSliceMirroringController",
        "endpointslicemirroring-controller",
    ),
    Entry(
        "disruption-controller",
        "disruption",
        "disruption:DisruptionController",
        "disruption-controller",
        component="controllermanager",
    ),
    Entry("pod-garbage-collector-controller", "podgc", "pod_gc:PodGarbageCollector", "pod-garbage-collector"),
    Entry(
        "node-lifecycle-controller",
        "nodelifecycle",
        "node_lifecycle:NodeLifecycleController",
        "node-controller",
        component="node-controller",
    ),
    Entry("taint-eviction-controller", "", "taint_eviction:TaintEvictionController", "node-controller"),
    Entry(
        "node-ipam-controller",
        "nodeipam",
        "node_ipam:NodeIPAMController",
        "node-controller",
        component="cidrAllocator",
        needs=("allocate_node_cidrs", "cluster_cidr"),
    ),
    Entry(
        "bootstrap-signer-controller",
        "bootstrapsigner",
        "bootstrap_signer:BootstrapSignerController",
        "bootstrap-signer",
        default=False,
    ),
    Entry(
        "token-cleaner-controller",
        "tokencleaner",
        "token_cleaner:TokenCleanerController",
        "token-cleaner",
        default=False,
    ),
    Entry("ttl-controller", "ttl", "ttl:TTLController", "ttl-controller"),
    Entry(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        "clusterrole_aggregation:ClusterRoleAggregationController",
        "clusterrole-aggregation-controller",
    ),
    Entry(
        "service-cidr-controller",
        "",
        "service_cidr:ServiceCIDRController",
        "service-cidrs-controller",
    ),
    Entry(
        "legacy-serviceaccount-token-cleaner-controller",
        "legacy-service-account-token-cleaner",
        "legacy_token_cleaner:LegacyTokenCleaner",
        "legacy-service-account-token-cleaner",
        start_after=1.0,
    ),
    Entry(
        "device-taint-eviction-controller",
        "",
        "device_taint_eviction:DeviceTaintEvictionController",
        "device-taint-eviction-controller",
    ),
    Entry(
        "certificatesigningrequest-approving-controller",
        "csrapproving",
        "csr_approving:CSRApprovingController",
        "certificate-controller",
        start_after=1.0,  # it needs the cryptographic library
    ),
    Entry(
        "certificatesigningrequest-signing-controller",
        "csrsigning",
        "csr_signing:CSRSigningController",
        "certificate-controller",
        start_after=1.0,
        needs=("cluster_signing_cert", "cluster_signing_key"),
    ),
    Entry(
        "certificatesigningrequest-cleaner-controller",
        "csrcleaner",
        "csr_cleaner:CSRCleanerController",
        "certificate-controller",
        start_after=1.0,
    ),
    Entry(
        "persistentvolume-binder-controller",
        "persistentvolume-binder",
        "pv_binder:PersistentVolumeBinder",
        "persistent-volume-binder",
        component="persistentvolume-controller",
    ),
    Entry(
        "persistentvolume-attach-detach-controller",
        "attachdetach",
        "attach_detach:AttachDetachController",
        "attachdetach-controller",
        component="attachdetach-controller",
    ),
    Entry(
        "persistentvolume-expander-controller",
        "persistentvolume-expander",
        "volume_expand:ExpandController",
        "expand-controller",
        component="volume_expand",
    ),
    Entry(
        "ephemeral-volume-controller",
        "ephemeral-volume",
        "ephemeral_volume:EphemeralVolumeController",
        "ephemeral-volume-controller",
        component="ephemeral_volume",
    ),
    Entry(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection",
        "pvc_protection:PVCProtectionController",
        "pvc-protection-controller",
    ),
    Entry(
        "persistentvolume-protection-controller",
        "pv-protection",
        "pv_protection:PVProtectionController",
        "pv-protection-controller",
    ),
    Entry(
        "volumeattributesclass-protection-controller",
        "",
        "vac_protection:VACProtectionController",
        "volumeattributesclass-protection-controller",
    ),
    Entry(
        "resourceclaim-controller",
        "resource-claim-controller",
        "resource_claim:ResourceClaimController",
        "resource-claim-controller",
        component="resource_claim",
    ),
    Entry(
        "validatingadmissionpolicy-status-controller",
        "validatingadmissionpolicy-status",
        "admission_policy_status:AdmissionPolicyStatusController",
        "validatingadmissionpolicy-status-controller",
    ),
)


def select(wanted: Iterable[str], entries: Iterable[Entry] = ENTRIES) -> list[Entry]:
    """The entries that a `--controllers` list means: `*` all that are on by default, `name` this one, `-name` not this one.

    ValueError for a name that no controller has.
    """
    entries = list(entries)
    named = list(wanted)
    by_name = {e.name: e for e in entries} | {e.alias: e for e in entries if e.alias}
    unknown = [n for n in named if n != "*" and n.removeprefix("-") not in by_name]
    if unknown:
        raise ValueError(f'"{unknown[0].removeprefix("-")}" is not in the list of known controllers')
    chosen = {by_name[n].name for n in named if n in by_name}
    refused = {by_name[n[1:]].name for n in named if n.startswith("-")}
    every = "*" in named
    return [e for e in entries if e.name in chosen or (every and e.default and e.name not in refused)]


def can_run(entry: Entry, options: Mapping[str, Any]) -> bool:
    """Whether its keys and certificates are configured."""
    return all(options.get(need) for need in entry.needs)

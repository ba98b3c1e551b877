"""The controllers that exist, by the names that kube-controller-manager gives them.

A controller's module is imported only when it is selected.
"""

from __future__ import annotations

from pilothouse.client.reconcile.entries import Entry, Program

#: Seconds after which those start that a new cluster needs for its first pods.
SOON = 0.03

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "serviceaccount-token-controller",
        "serviceaccount-token",
        "pilothouse.controllers.token:TokenController",
        "",  # the manager itself: it reads and writes the secrets of all accounts
        needs=("service_account_private_key",),
        start_after=SOON,
    ),
    Entry(
        "serviceaccount-controller",
        "serviceaccount",
        "pilothouse.controllers.serviceaccount:ServiceAccountController",
        "service-account-controller",
        start_after=0.0,
    ),
    Entry(
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
        "pilothouse.controllers.root_ca:RootCAPublisher",
        "root-ca-cert-publisher",
        needs=("root_ca",),
        start_after=0.0,
    ),
    Entry(
        "namespace-controller",
        "namespace",
        "pilothouse.controllers.namespace:NamespaceController",
        "namespace-controller",
        start_after=SOON,
    ),
    Entry(
        "garbage-collector-controller",
        "garbagecollector",
        "pilothouse.controllers.garbage_collector:GarbageCollector",
        "generic-garbage-collector",
        start_after=1.0,  # it lists everything
    ),
    Entry(
        "resourcequota-controller",
        "resourcequota",
        "pilothouse.controllers.resourcequota:ResourceQuotaController",
        "resourcequota-controller",
    ),
    Entry(
        "replicaset-controller",
        "replicaset",
        "pilothouse.controllers.replicaset:ReplicaSetController",
        "replicaset-controller",
        start_after=SOON,
    ),
    Entry(
        "replicationcontroller-controller",
        "replicationcontroller",
        "pilothouse.controllers.replicationcontroller:ReplicationControllerController",
        "replication-controller",
        component="replication-controller",
    ),
    Entry(
        "deployment-controller",
        "deployment",
        "pilothouse.controllers.deployment:DeploymentController",
        "deployment-controller",
        start_after=SOON,
    ),
    Entry(
        "statefulset-controller",
        "statefulset",
        "pilothouse.controllers.statefulset:StatefulSetController",
        "statefulset-controller",
    ),
    Entry("daemonset-controller", "daemonset", "pilothouse.controllers.daemonset:DaemonSetController", "daemon-set-controller"),
    Entry("job-controller", "job", "pilothouse.controllers.job:JobController", "job-controller"),
    Entry("cronjob-controller", "cronjob", "pilothouse.controllers.cronjob:CronJobController", "cronjob-controller"),
    Entry(
        "ttl-after-finished-controller",
        "ttl-after-finished",
        "pilothouse.controllers.ttl_after_finished:TTLAfterFinishedController",
        "ttl-after-finished-controller",
    ),
    Entry(
        "horizontal-pod-autoscaler-controller",
        "horizontalpodautoscaling",
        "pilothouse.controllers.hpa:HorizontalPodAutoscalerController",
        "horizontal-pod-autoscaler",
        component="horizontal-pod-autoscaler",
    ),
    Entry(
        "endpoints-controller",
        "endpoint",
        "pilothouse.controllers.endpoints:EndpointsController",
        "endpoint-controller",
        component="endpoint-controller",
        start_after=SOON,
    ),
    Entry(
        "endpointslice-controller",
        "endpointslice",
        "pilothouse.controllers.endpointslice:EndpointSliceController",
        "endpointslice-controller",
        component="endpoint-slice-controller",
        start_after=SOON,
    ),
    Entry(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring",
        "pilothouse.controllers.endpointslice_mirroring:EndpointSliceMirroringController",
        "endpointslicemirroring-controller",
    ),
    Entry(
        "disruption-controller",
        "disruption",
        "pilothouse.controllers.disruption:DisruptionController",
        "disruption-controller",
        component="controllermanager",
    ),
    Entry(
        "pod-garbage-collector-controller", "podgc", "pilothouse.controllers.pod_gc:PodGarbageCollector", "pod-garbage-collector"
    ),
    Entry(
        "node-lifecycle-controller",
        "nodelifecycle",
        "pilothouse.controllers.node_lifecycle:NodeLifecycleController",
        "node-controller",
        component="node-controller",
    ),
    Entry("taint-eviction-controller", "", "pilothouse.controllers.taint_eviction:TaintEvictionController", "node-controller"),
    Entry(
        "node-ipam-controller",
        "nodeipam",
        "pilothouse.controllers.node_ipam:NodeIPAMController",
        "node-controller",
        component="cidrAllocator",
        needs=("allocate_node_cidrs", "cluster_cidr"),
    ),
    Entry(
        "bootstrap-signer-controller",
        "bootstrapsigner",
        "pilothouse.controllers.bootstrap_signer:BootstrapSignerController",
        "bootstrap-signer",
        default=False,
    ),
    Entry(
        "token-cleaner-controller",
        "tokencleaner",
        "pilothouse.controllers.token_cleaner:TokenCleanerController",
        "token-cleaner",
        default=False,
    ),
    Entry("ttl-controller", "ttl", "pilothouse.controllers.ttl:TTLController", "ttl-controller"),
    Entry(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        "pilothouse.controllers.clusterrole_aggregation:ClusterRoleAggregationController",
        "clusterrole-aggregation-controller",
    ),
    Entry(
        "service-cidr-controller",
        "",
        "pilothouse.controllers.service_cidr:ServiceCIDRController",
        "service-cidrs-controller",
    ),
    Entry(
        "legacy-serviceaccount-token-cleaner-controller",
        "legacy-service-account-token-cleaner",
        "pilothouse.controllers.legacy_token_cleaner:LegacyTokenCleaner",
        "legacy-service-account-token-cleaner",
        start_after=1.0,
    ),
    Entry(
        "device-taint-eviction-controller",
        "",
        "pilothouse.controllers.device_taint_eviction:DeviceTaintEvictionController",
        "device-taint-eviction-controller",
    ),
    Entry(
        "certificatesigningrequest-approving-controller",
        "csrapproving",
        "pilothouse.controllers.csr_approving:CSRApprovingController",
        "certificate-controller",
        start_after=1.0,  # it needs the cryptographic library
    ),
    Entry(
        "certificatesigningrequest-signing-controller",
        "csrsigning",
        "pilothouse.controllers.csr_signing:CSRSigningController",
        "certificate-controller",
        start_after=1.0,
        needs=("cluster_signing_cert", "cluster_signing_key"),
    ),
    Entry(
        "certificatesigningrequest-cleaner-controller",
        "csrcleaner",
        "pilothouse.controllers.csr_cleaner:CSRCleanerController",
        "certificate-controller",
        start_after=1.0,
    ),
    Entry(
        "persistentvolume-binder-controller",
        "persistentvolume-binder",
        "pilothouse.controllers.pv_binder:PersistentVolumeBinder",
        "persistent-volume-binder",
        component="persistentvolume-controller",
    ),
    Entry(
        "persistentvolume-attach-detach-controller",
        "attachdetach",
        "pilothouse.controllers.attach_detach:AttachDetachController",
        "attachdetach-controller",
        component="attachdetach-controller",
    ),
    Entry(
        "persistentvolume-expander-controller",
        "persistentvolume-expander",
        "pilothouse.controllers.volume_expand:ExpandController",
        "expand-controller",
        component="volume_expand",
    ),
    Entry(
        "ephemeral-volume-controller",
        "ephemeral-volume",
        "pilothouse.controllers.ephemeral_volume:EphemeralVolumeController",
        "ephemeral-volume-controller",
        component="ephemeral_volume",
    ),
    Entry(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection",
        "pilothouse.controllers.pvc_protection:PVCProtectionController",
        "pvc-protection-controller",
    ),
    Entry(
        "persistentvolume-protection-controller",
        "pv-protection",
        "pilothouse.controllers.pv_protection:PVProtectionController",
        "pv-protection-controller",
    ),
    Entry(
        "volumeattributesclass-protection-controller",
        "",
        "pilothouse.controllers.vac_protection:VACProtectionController",
        "volumeattributesclass-protection-controller",
    ),
    Entry(
        "resourceclaim-controller",
        "resource-claim-controller",
        "pilothouse.controllers.resource_claim:ResourceClaimController",
        "resource-claim-controller",
        component="resource_claim",
    ),
    Entry(
        "validatingadmissionpolicy-status-controller",
        "validatingadmissionpolicy-status",
        "pilothouse.controllers.admission_policy_status:AdmissionPolicyStatusController",
        "validatingadmissionpolicy-status-controller",
    ),
)

#: The cloud's, which the cloud-controller-manager runs; `--controllers` still knows their names here.
ELSEWHERE = (
    Entry("service-lb-controller", "service"),
    Entry("node-route-controller", "route"),
    Entry("cloud-node-lifecycle-controller", "cloud-node-lifecycle"),
)

PROGRAM = Program("kube-controller-manager", (*ENTRIES, *ELSEWHERE))

"""Make the API's tables: schemas by package from `kubernetes-validate` (facts only, no prose), and the table of served resources.

Run by `make generate`. What the JSON schemas do not say is kept here by hand: which zero values survive a round trip through the
reference server (its pointers), and which fields it always writes. Output: src/pilothouse/api/_generated_schemas/*.json and
_generated_resources.json.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "pilothouse" / "api"
VERSION = "v1.36.0-local"

#: Optional numbers and booleans that are plain values in the reference server: zero is the same as absent.
PLAIN = {
    "active", "failed", "succeeded", "authenticated", "availableReplicas", "readyReplicas", "fullyLabeledReplicas", "unavailableReplicas",
    "updatedReplicas", "currentReplicas", "numberAvailable", "numberUnavailable", "updatedNumberScheduled", "chapAuthDiscovery",
    "chapAuthSession", "clusterScope", "code", "denied", "deprecated", "deprecatedCount", "exclusiveMaximum", "exclusiveMinimum",
    "generation", "globalDefault", "handSize", "queues", "queueLengthLimit", "healthCheckNodePort", "hostIPC", "hostNetwork", "hostPID",
    "hostPort", "initialDelaySeconds", "failureThreshold", "periodSeconds", "successThreshold", "insecureSkipTLSVerify",
    "matchingPrecedence", "minReadySeconds", "nodePort", "nullable", "number", "paused", "preserveUnknownFields", "publishNotReadyAddresses",
    "readOnly", "retryAfterSeconds", "signal", "sizeBytes", "sslEnabled", "stdin", "stdinOnce", "tty", "unschedulable", "uniqueItems",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "observedGeneration", "replicas", "count", "timeoutSeconds",
    "partition", "priority", "port",
}  # fmt: skip
#: Fields named in PLAIN that are pointers in these types after all.
POINTERS = {
    "io.k8s.api.apps.v1.RollingUpdateStatefulSetStrategy.partition", "io.k8s.api.core.v1.PodSpec.priority",
    "io.k8s.api.discovery.v1.EndpointPort.port", "io.k8s.api.core.v1.ClientIPConfig.timeoutSeconds",
    "io.k8s.api.admissionregistration.v1.MutatingWebhook.timeoutSeconds", "io.k8s.api.admissionregistration.v1.ValidatingWebhook.timeoutSeconds",
    "io.k8s.api.apps.v1.DeploymentSpec.replicas", "io.k8s.api.apps.v1.ReplicaSetSpec.replicas", "io.k8s.api.apps.v1.StatefulSetSpec.replicas",
    "io.k8s.api.core.v1.ReplicationControllerSpec.replicas", "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerStatus.observedGeneration",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus.observedGeneration", "io.k8s.api.storage.v1.VolumeNodeResources.count",
    "io.k8s.api.core.v1.AzureDiskVolumeSource.readOnly", "io.k8s.api.core.v1.CSIVolumeSource.readOnly", "io.k8s.api.admissionregistration.v1.ServiceReference.port",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference.port",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference.port",
}  # fmt: skip
#: Optional strings whose empty value is not the same as absent.
STRING_POINTERS = {
    "admissionregistration.v1": "MatchResources.matchPolicy MutatingWebhook.failurePolicy MutatingWebhook.matchPolicy "
    "MutatingWebhook.reinvocationPolicy MutatingWebhook.sideEffects ValidatingWebhook.failurePolicy ValidatingWebhook.matchPolicy "
    "ValidatingWebhook.sideEffects NamedRuleWithOperations.scope RuleWithOperations.scope ServiceReference.path WebhookClientConfig.url "
    "ParamRef.parameterNotFoundAction ValidatingAdmissionPolicySpec.failurePolicy MutatingAdmissionPolicySpec.failurePolicy Validation.reason",
    "apiextensions.v1": "ServiceReference.path WebhookClientConfig.url JSONSchemaProps.$ref JSONSchemaProps.x-kubernetes-list-type "
    "JSONSchemaProps.x-kubernetes-map-type CustomResourceDefinitionVersion.deprecationWarning CustomResourceSubresourceScale.labelSelectorPath "
    "ValidationRule.reason",
    "autoscaling.v2": "HPAScalingRules.selectPolicy",
    "batch.v1": "CronJobSpec.timeZone JobSpec.completionMode JobSpec.podReplacementPolicy JobSpec.managedBy SuccessPolicyRule.succeededIndexes "
    "PodFailurePolicyOnExitCodesRequirement.containerName JobStatus.failedIndexes",
    "coordination.v1": "LeaseSpec.holderIdentity LeaseSpec.preferredHolder LeaseSpec.strategy",
    "core.v1": "AppArmorProfile.localhostProfile AzureDiskVolumeSource.cachingMode AzureDiskVolumeSource.fsType AzureDiskVolumeSource.kind "
    "AzureFilePersistentVolumeSource.secretNamespace CSIVolumeSource.fsType ClusterTrustBundleProjection.name "
    "ClusterTrustBundleProjection.signerName Container.restartPolicy ContainerStatus.stopSignal EndpointAddress.nodeName "
    "EndpointPort.appProtocol EphemeralContainer.restartPolicy GRPCAction.service GlusterfsPersistentVolumeSource.endpointsNamespace HostPathVolumeSource.type ISCSIPersistentVolumeSource.initiatorName "
    "ISCSIVolumeSource.initiatorName Lifecycle.stopSignal LoadBalancerIngress.ipMode LocalVolumeSource.fsType "
    "PersistentVolumeClaimSpec.storageClassName PersistentVolumeClaimSpec.volumeAttributesClassName PersistentVolumeClaimSpec.volumeMode "
    "PersistentVolumeClaimStatus.currentVolumeAttributesClassName PersistentVolumeSpec.volumeAttributesClassName PersistentVolumeSpec.volumeMode "
    "PodDNSConfigOption.value PodResourceClaim.resourceClaimName PodResourceClaim.resourceClaimTemplateName PodResourceClaimStatus.resourceClaimName "
    "PodSchedulingGroup.podGroupName PodSecurityContext.fsGroupChangePolicy PodSecurityContext.seLinuxChangePolicy "
    "PodSecurityContext.supplementalGroupsPolicy PodSpec.hostnameOverride PodSpec.preemptionPolicy PodSpec.runtimeClassName PortStatus.error "
    "SeccompProfile.localhostProfile SecurityContext.procMount ServicePort.appProtocol ServiceSpec.internalTrafficPolicy "
    "ServiceSpec.ipFamilyPolicy ServiceSpec.loadBalancerClass ServiceSpec.trafficDistribution TopologySpreadConstraint.nodeAffinityPolicy "
    "TopologySpreadConstraint.nodeTaintsPolicy TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup TypedObjectReference.namespace "
    "VolumeMount.mountPropagation VolumeMount.recursiveReadOnly VolumeMountStatus.recursiveReadOnly WindowsSecurityContextOptions.gmsaCredentialSpec "
    "WindowsSecurityContextOptions.gmsaCredentialSpecName WindowsSecurityContextOptions.runAsUserName",
    "discovery.v1": "Endpoint.hostname Endpoint.nodeName Endpoint.zone EndpointPort.appProtocol EndpointPort.name EndpointPort.protocol",
    "meta.v1": "DeleteOptions.propagationPolicy Preconditions.resourceVersion Preconditions.uid",
    "networking.v1": "HTTPIngressPath.pathType IngressClassParametersReference.apiGroup IngressClassParametersReference.namespace "
    "IngressClassParametersReference.scope IngressPortStatus.error IngressSpec.ingressClassName NetworkPolicyPort.protocol",
    "policy.v1": "PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy",
    "resource.v1": "AllocatedDeviceStatus.shareID Device.nodeName DeviceAttribute.string DeviceAttribute.version DeviceClassSpec.extendedResourceName "
    "DeviceConstraint.distinctAttribute DeviceConstraint.matchAttribute DeviceRequestAllocationResult.shareID ResourceSliceSpec.nodeName",
    "scheduling.v1": "PriorityClass.preemptionPolicy",
    "storage.v1": "CSIDriverSpec.fsGroupPolicy StorageClass.reclaimPolicy StorageClass.volumeBindingMode VolumeAttachmentSource.persistentVolumeName",
}  # fmt: skip
STRING_POINTER_NAMES = {f"{package}.{field}" for package, fields in STRING_POINTERS.items() for field in fields.split()}
#: Lists that are defaulted where there are none, and refused where they are empty.
TOLD_EMPTY = {"autoscaling.v2.HPAScalingRules.policies"}
#: Fields that the reference server writes even when nobody set them, besides all required ones.
ALWAYS = {
    "apps.v1.DeploymentSpec.strategy", "apps.v1.ReplicaSetSpec.template", "apps.v1.StatefulSetSpec.serviceName", "apps.v1.StatefulSetSpec.updateStrategy",
    "apps.v1.DaemonSetSpec.updateStrategy", "apps.v1.StatefulSetStatus.availableReplicas", "authentication.v1.TokenRequestSpec.boundObjectRef",
    "authentication.v1.TokenReviewStatus.user", "autoscaling.v2.HorizontalPodAutoscalerStatus.currentMetrics", "batch.v1.JobTemplateSpec.metadata",
    "batch.v1.JobTemplateSpec.spec", "core.v1.Container.resources", "core.v1.EphemeralContainer.resources", "core.v1.ContainerStatus.lastState",
    "core.v1.ContainerStatus.state", "core.v1.ContainerStateRunning.startedAt", "core.v1.ContainerStateTerminated.startedAt",
    "core.v1.ContainerStateTerminated.finishedAt", "core.v1.Event.eventTime", "core.v1.Event.firstTimestamp", "core.v1.Event.lastTimestamp",
    "core.v1.Event.source", "core.v1.Event.reportingComponent", "core.v1.Event.reportingInstance", "core.v1.EventSeries.lastObservedTime",
    "core.v1.PodTemplateSpec.metadata", "core.v1.PodTemplateSpec.spec", "core.v1.PodTemplate.template", "core.v1.ServiceStatus.loadBalancer",
    "core.v1.TypedLocalObjectReference.apiGroup", "core.v1.TypedObjectReference.apiGroup", "core.v1.NodeStatus.daemonEndpoints",
    "core.v1.NodeStatus.nodeInfo", "core.v1.NodeDaemonEndpoints.kubeletEndpoint", "core.v1.PersistentVolumeClaimSpec.resources",
    "core.v1.PersistentVolumeClaimTemplate.spec", "core.v1.PersistentVolumeClaimTemplate.metadata", "core.v1.ResourceFieldSelector.divisor",
    "core.v1.NodeRuntimeHandler.name", "apps.v1.ControllerRevision.data", "apps.v1.StatefulSetOrdinals.start",
    "authentication.v1.SelfSubjectReviewStatus.userInfo", "authentication.v1.TokenRequestStatus.expirationTimestamp",
    "authentication.v1.TokenRequestStatus.token",
    "events.v1.Event.regarding", "flowcontrol.v1.LimitedPriorityLevelConfiguration.limitResponse", "networking.v1.IngressServiceBackend.port",
    "policy.v1.PodDisruptionBudgetStatus.currentHealthy", "policy.v1.PodDisruptionBudgetStatus.desiredHealthy",
    "policy.v1.PodDisruptionBudgetStatus.disruptionsAllowed", "policy.v1.PodDisruptionBudgetStatus.expectedPods",
    "resource.v1.AllocationResult.devices", "resource.v1.DeviceClaim.requests", "resource.v1.DeviceAllocationResult.results",
    "scheduling.v1.PriorityClass.value", "storage.v1.VolumeError.time",
    "discovery.v1.Endpoint.conditions", "discovery.v1.EndpointSlice.endpoints", "discovery.v1.EndpointSlice.ports",
    "events.v1.Event.deprecatedFirstTimestamp", "events.v1.Event.deprecatedLastTimestamp", "events.v1.Event.deprecatedSource",
    "events.v1.Event.eventTime", "networking.v1.IngressStatus.loadBalancer", "networking.v1.NetworkPolicySpec.podSelector",
    "rbac.v1.ClusterRole.rules", "rbac.v1.Role.rules", "resource.v1.ResourceClaimTemplateSpec.metadata",
    "storage.v1.CSINodeDriver.topologyKeys", "resource.v1.ResourceClaimSpec.devices", "resource.v1.ResourceClaimTemplateSpec.spec",
    "apiextensions.v1.CustomResourceDefinitionStatus.conditions", "apiextensions.v1.CustomResourceDefinitionStatus.acceptedNames",
    "apiextensions.v1.CustomResourceDefinitionStatus.storedVersions", "authorization.v1.SubjectAccessReviewStatus.allowed",
    "certificates.v1.CertificateSigningRequestCondition.lastUpdateTime",
}  # fmt: skip
#: Always written, and null when nobody set them.
NULL_ZERO = {
    "admissionregistration.v1.MutatingWebhook.sideEffects", "admissionregistration.v1.ValidatingWebhook.sideEffects",
    "apps.v1.DaemonSetSpec.selector", "apps.v1.DeploymentSpec.selector", "apps.v1.ReplicaSetSpec.selector", "apps.v1.StatefulSetSpec.selector",
    "authentication.v1.TokenRequestSpec.boundObjectRef", "core.v1.ScaleIOPersistentVolumeSource.secretRef", "core.v1.ScaleIOVolumeSource.secretRef",
    "core.v1.TypedLocalObjectReference.apiGroup", "core.v1.TypedObjectReference.apiGroup", "networking.v1.HTTPIngressPath.pathType",
}  # fmt: skip
#: Never written although the schema calls them required.
NOT_ALWAYS = {
    "apiextensions.v1.JSONSchemaProps", "networking.v1.IPAddressSpec.parentRef",
    "admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec.validationActions",
    "resource.v1.CapacityRequestPolicyRange.min",
}  # fmt: skip
#: Defaults of fields that tell list elements apart.
KEY_DEFAULTS = {
    "core.v1.ContainerPort": {"protocol": "TCP"}, "core.v1.ServicePort": {"protocol": "TCP"}, "core.v1.LocalObjectReference": {"name": ""},
}  # fmt: skip

GROUP_PRIORITY = [
    ("", 18000), ("apps", 17800), ("events.k8s.io", 17750), ("authentication.k8s.io", 17700), ("authorization.k8s.io", 17600),
    ("autoscaling", 17500), ("batch", 17400), ("certificates.k8s.io", 17300), ("networking.k8s.io", 17200), ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000), ("storage.k8s.io", 16800), ("apiextensions.k8s.io", 16700), ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600), ("coordination.k8s.io", 16500), ("node.k8s.io", 16300), ("discovery.k8s.io", 16200), ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100), ("apiregistration.k8s.io", 18000),
]  # fmt: skip
PREFIXES = {("", "nodes"): "minions", ("", "replicationcontrollers"): "controllers", ("", "services"): "services/specs",
            ("", "endpoints"): "services/endpoints", ("networking.k8s.io", "ingresses"): "ingress",
            ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
            ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices", ("events.k8s.io", "events"): "events"}  # fmt: skip
STORED = {("admissionregistration.k8s.io", "mutatingadmissionpolicies"): ("admissionregistration.k8s.io", "v1beta1"),
          ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): ("admissionregistration.k8s.io", "v1beta1"),
          ("apiextensions.k8s.io", "customresourcedefinitions"): ("apiextensions.k8s.io", "v1beta1"),
          ("autoscaling", "horizontalpodautoscalers"): ("autoscaling", "v2"), ("events.k8s.io", "events"): ("", "v1")}  # fmt: skip


def load_definitions() -> dict[str, Any]:
    base = resources.files("kubernetes_validate") / "kubernetes-json-schema" / VERSION / "_definitions.json"
    found: dict[str, Any] = json.loads(base.read_text())["$defs"]
    return found


def short(name: str) -> str:
    """io.k8s.api.core.v1.Pod -> core.v1.Pod, whatever the package."""
    return ".".join(name.split(".")[-3:])


def reference(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for part in schema.get("allOf", ()):
        if "$ref" in part:
            return str(part["$ref"]).rpartition("/")[2]
    return ""


SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstring",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time", "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Duration": "duration", "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
}  # fmt: skip
#: Free-form places where a JSON schema may stand.
EITHER = {
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "schema-or-bool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "schema-or-array",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "schema-or-strings",
}


def node(schema: dict[str, Any]) -> dict[str, Any]:
    """One schema as the compact form that api/tables.py reads."""
    ref = reference(schema)
    out: dict[str, Any] = {"t": SPECIAL[ref]} if ref in SPECIAL else {"r": ref} if ref else _plain(schema)
    if ref in EITHER:
        out["f"] = EITHER[ref]
    if out.get("t") == "any":
        out["mt"] = "atomic"  # free-form JSON is owned as a whole
    for long, key in (("x-kubernetes-list-type", "lt"), ("x-kubernetes-map-type", "mt"), ("x-kubernetes-patch-merge-key", "pk")):
        if schema.get(long):
            out[key] = schema[long]
    if schema.get("x-kubernetes-list-map-keys"):
        out["lk"] = schema["x-kubernetes-list-map-keys"]
    if schema.get("x-kubernetes-patch-strategy"):
        out["ps"] = schema["x-kubernetes-patch-strategy"].split(",")
    return out


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    types = schema.get("type", "object")
    kind = types if isinstance(types, str) else next(t for t in types if t != "null")
    if kind == "array":
        return {"t": "list", "i": node(schema["items"])}
    if kind == "object":
        values = schema.get("additionalProperties")
        return {"t": "map", "i": node(values)} if isinstance(values, dict) else {"t": "any"}
    if kind == "string":
        return {"t": {"byte": "bytes", "date-time": "time"}.get(schema.get("format", ""), "string")}
    out = {"t": kind}
    if schema.get("format") and kind in ("integer", "number"):
        out["f"] = schema["format"]
    return out


def keeps_zero(owner: str, field: str, kind: str) -> bool:
    if kind in ("integer", "number", "boolean"):
        return field not in PLAIN or f"{owner}.{field}" in POINTERS
    if kind == "string":
        return f"{short(owner)}.{field}" in STRING_POINTER_NAMES
    return f"{short(owner)}.{field}" in TOLD_EMPTY


def is_always(owner: str, field: str, schema: dict[str, Any], required: bool) -> bool:
    name = short(owner)
    if name in NOT_ALWAYS or f"{name}.{field}" in NOT_ALWAYS:
        return False
    if required or f"{name}.{field}" in ALWAYS:
        return True
    top = "x-kubernetes-group-version-kind" in schema
    if top and field in ("spec", "status", "metadata"):
        return True
    return owner.endswith("Condition") and field.startswith("last") and field.endswith(("Time", "time"))


def definition(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    fields = {}
    for field, sub in schema.get("properties", {}).items():
        out = node(sub)
        if keeps_zero(name, field, out.get("t", "")):
            out["z"] = 1
        if is_always(name, field, schema, field in required):
            out["a"] = 2 if f"{short(name)}.{field}" in NULL_ZERO else 1
        fields[field] = out
    made: dict[str, Any] = {"p": fields}
    if required:
        made["q"] = sorted(required)
    if schema.get("x-kubernetes-map-type"):
        made["mt"] = schema["x-kubernetes-map-type"]
    if short(name) in KEY_DEFAULTS:
        made["d"] = KEY_DEFAULTS[short(name)]
    kinds = schema.get("x-kubernetes-group-version-kind")
    if kinds and len(kinds) == 1:
        made["g"] = [kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]]
    return made


def package(name: str) -> str:
    return name.rpartition(".")[0]


def write_schemas(definitions: dict[str, Any]) -> dict[str, str]:
    """One file a package; returns group/version/kind -> definition name."""
    folder = OUT / "_generated_schemas"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json*"):
        old.unlink()
    packages: dict[str, dict[str, Any]] = {}
    kinds: dict[str, str] = {}
    for name, schema in sorted(definitions.items()):
        if name in SPECIAL or re.search(r"\.v\d+(alpha|beta)\d+\.", name):
            continue
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            if len(schema["x-kubernetes-group-version-kind"]) == 1 or gvk["group"] == "":
                kinds[f"{gvk['group']}/{gvk['version']}/{gvk['kind']}"] = name
        packages.setdefault(package(name), {})[name.rpartition(".")[2]] = definition(name, schema)
    for pkg, made in packages.items():
        (folder / f"{pkg}.json").write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")
    return kinds


def served(level: str, group_version: str) -> bool:
    return re.fullmatch(r"v\d+", level) is not None and group_version != ""


def write_resources(kinds: dict[str, str]) -> None:
    listed = json.loads((ROOT / "tools" / "resources_1.36.json").read_text())["resources"]
    rows = []
    for r in listed:
        group, _, version = r["groupVersion"].rpartition("/")
        if not served(version, r["groupVersion"]):
            continue
        key = (group, r["plural"])
        rows.append({**r, "group": group, "version": version, "prefix": PREFIXES.get(key, r["plural"]),
                     "storage": STORED.get(key, (group, version))})  # fmt: skip
        del rows[-1]["groupVersion"]
    made = {"resources": rows, "groups": GROUP_PRIORITY, "kinds": kinds}
    (OUT / "_generated_resources.json").write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{len(rows)} resources, {sum(len(r['subresources']) for r in rows)} subresources, {len(kinds)} kinds")


def main() -> int:
    kinds = write_schemas(load_definitions())
    write_resources(kinds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How a Kubernetes API server shows parts of a pod in its messages: under the names that it uses inside, with every unset field.

Some messages repeat a whole structure (a SecurityContext), and a forbidden update shows what differs between two. Those names are not
the API's: `HostNetwork` is inside `SecurityContext`, and an unset list is `null`. The table below says, for each structure, which fields
it has in which order, what they hold, and which field of the API they come from. A type in brackets is a list, one with a star may be
missing (null); `quantity` is always there. A name in lower case is left out when it is unset.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from pilothouse.api.errors import Obj

_TABLE = """
PodSpec: Volumes [Volume], InitContainers [Container], Containers [Container], EphemeralContainers [EphemeralContainer],
  RestartPolicy string, TerminationGracePeriodSeconds *int, ActiveDeadlineSeconds *int, DNSPolicy string, NodeSelector map,
  ServiceAccountName string, AutomountServiceAccountToken *bool, NodeName string, SecurityContext *PodSecurityContext,
  ImagePullSecrets [LocalObjectReference], Hostname string, Subdomain string, SetHostnameAsFQDN *bool, Affinity *Affinity,
  SchedulerName string, Tolerations [Toleration], HostAliases [HostAlias], PriorityClassName string, Priority *int,
  PreemptionPolicy *string, DNSConfig *PodDNSConfig, ReadinessGates [PodReadinessGate], RuntimeClassName *string, Overhead map,
  EnableServiceLinks *bool, TopologySpreadConstraints [TopologySpreadConstraint], OS *PodOS, SchedulingGates [PodSchedulingGate],
  ResourceClaims [PodResourceClaim], Resources *ResourceRequirements, HostnameOverride *string, SchedulingGroup *SchedulingGroup
PodSecurityContext: HostNetwork bool, HostPID bool, HostIPC bool, ShareProcessNamespace *bool, HostUsers *bool,
  SELinuxOptions *SELinuxOptions, WindowsOptions *WindowsOptions, RunAsUser *int, RunAsGroup *int, RunAsNonRoot *bool,
  SupplementalGroups [int], SupplementalGroupsPolicy *string, FSGroup *int, FSGroupChangePolicy *string, Sysctls [Sysctl],
  SeccompProfile *Profile, AppArmorProfile *Profile, SELinuxChangePolicy *string
SELinuxOptions: User string, Role string, Type string, Level string
WindowsOptions: GMSACredentialSpecName *string, GMSACredentialSpec *string, RunAsUserName *string, HostProcess *bool
Profile: Type string, LocalhostProfile *string
Sysctl: Name string, Value string
LocalObjectReference: Name string
SchedulingGroup: PodGroupName *string
Toleration: Key string, Operator string, Value string, Effect string, TolerationSeconds *int
HostAlias: IP string, Hostnames [string]
PodDNSConfig: Nameservers [string], Searches [string], Options [PodDNSConfigOption]
PodDNSConfigOption: Name string, Value *string
PodReadinessGate: ConditionType string
PodOS: Name string
PodSchedulingGate: Name string
PodResourceClaim: Name string, ResourceClaimName *string, ResourceClaimTemplateName *string
TopologySpreadConstraint: MaxSkew int, TopologyKey string, WhenUnsatisfiable string, LabelSelector *LabelSelector, MinDomains *int,
  NodeAffinityPolicy *string, NodeTaintsPolicy *string, MatchLabelKeys [string]
LabelSelector: matchLabels map, matchExpressions [LabelRequirement]
LabelRequirement: key! string, operator! string, values [string]
Affinity: NodeAffinity *NodeAffinity, PodAffinity *PodAffinity, PodAntiAffinity *PodAffinity
NodeAffinity: RequiredDuringSchedulingIgnoredDuringExecution *NodeSelector,
  PreferredDuringSchedulingIgnoredDuringExecution [PreferredSchedulingTerm]
NodeSelector: NodeSelectorTerms [NodeSelectorTerm]
NodeSelectorTerm: MatchExpressions [NodeSelectorRequirement], MatchFields [NodeSelectorRequirement]
NodeSelectorRequirement: Key string, Operator string, Values [string]
PreferredSchedulingTerm: Weight int, Preference NodeSelectorTerm
PodAffinity: RequiredDuringSchedulingIgnoredDuringExecution [PodAffinityTerm],
  PreferredDuringSchedulingIgnoredDuringExecution [WeightedPodAffinityTerm]
WeightedPodAffinityTerm: Weight int, PodAffinityTerm PodAffinityTerm
PodAffinityTerm: LabelSelector *LabelSelector, Namespaces [string], TopologyKey string, NamespaceSelector *LabelSelector,
  MatchLabelKeys [string], MismatchLabelKeys [string]
Container: Name string, Image string, Command [string], Args [string], WorkingDir string, Ports [ContainerPort], EnvFrom [EnvFromSource],
  Env [EnvVar], Resources ResourceRequirements, ResizePolicy [ContainerResizePolicy], RestartPolicy *string,
  RestartPolicyRules [RestartRule], VolumeMounts [VolumeMount], VolumeDevices [VolumeDevice], LivenessProbe *Probe, ReadinessProbe *Probe,
  StartupProbe *Probe, Lifecycle *Lifecycle, TerminationMessagePath string, TerminationMessagePolicy string, ImagePullPolicy string,
  SecurityContext *SecurityContext, Stdin bool, StdinOnce bool, TTY bool
EphemeralContainer: Name string, Image string, Command [string], Args [string], WorkingDir string, Ports [ContainerPort],
  EnvFrom [EnvFromSource], Env [EnvVar], Resources ResourceRequirements, ResizePolicy [ContainerResizePolicy], RestartPolicy *string,
  RestartPolicyRules [RestartRule], VolumeMounts [VolumeMount], VolumeDevices [VolumeDevice], LivenessProbe *Probe, ReadinessProbe *Probe,
  StartupProbe *Probe, Lifecycle *Lifecycle, TerminationMessagePath string, TerminationMessagePolicy string, ImagePullPolicy string,
  SecurityContext *SecurityContext, Stdin bool, StdinOnce bool, TTY bool, TargetContainerName string
ContainerPort: Name string, HostPort int, ContainerPort int, Protocol string, HostIP string
EnvFromSource: Prefix string, ConfigMapRef *OptionalReference, SecretRef *OptionalReference
OptionalReference: Name string, Optional *bool
EnvVar: Name string, Value string, ValueFrom *EnvVarSource
EnvVarSource: FieldRef *FieldSelector, ResourceFieldRef *ResourceFieldSelector, ConfigMapKeyRef *KeySelector, SecretKeyRef *KeySelector,
  FileKeyRef *FileKeySelector
FieldSelector: APIVersion string, FieldPath string
ResourceFieldSelector: ContainerName string, Resource string, Divisor quantity
KeySelector: Name string, Key string, Optional *bool
FileKeySelector: VolumeName string, Path string, Key string, Optional *bool
ResourceRequirements: Limits map, Requests map, Claims [ResourceClaim]
ResourceClaim: Name string, Request string
ContainerResizePolicy: ResourceName string, RestartPolicy string
RestartRule: Action string, ExitCodes *RestartExitCodes
RestartExitCodes: Operator string, Values [int]
VolumeMount: Name string, ReadOnly bool, RecursiveReadOnly *string, MountPath string, SubPath string, MountPropagation *string,
  SubPathExpr string
VolumeDevice: Name string, DevicePath string
Probe: Exec *ExecAction, HTTPGet *HTTPGetAction, TCPSocket *TCPSocketAction, GRPC *GRPCAction, InitialDelaySeconds int,
  TimeoutSeconds int, PeriodSeconds int, SuccessThreshold int, FailureThreshold int, TerminationGracePeriodSeconds *int
ExecAction: Command [string]
HTTPGetAction: Path string, Port int, Host string, Scheme string, HTTPHeaders [HTTPHeader]
HTTPHeader: Name string, Value string
TCPSocketAction: Port int, Host string
GRPCAction: Port int, Service *string
Lifecycle: PostStart *LifecycleHandler, PreStop *LifecycleHandler, StopSignal *string
LifecycleHandler: Exec *ExecAction, HTTPGet *HTTPGetAction, TCPSocket *TCPSocketAction, Sleep *SleepAction
SleepAction: Seconds int
SecurityContext: Capabilities *Capabilities, Privileged *bool, SELinuxOptions *SELinuxOptions, WindowsOptions *WindowsOptions,
  RunAsUser *int, RunAsGroup *int, RunAsNonRoot *bool, ReadOnlyRootFilesystem *bool, AllowPrivilegeEscalation *bool, ProcMount *string,
  SeccompProfile *Profile, AppArmorProfile *Profile
Capabilities: Add [string], Drop [string]
Volume: Name string, HostPath *HostPath, EmptyDir *EmptyDir, GCEPersistentDisk *GCEPersistentDisk,
  AWSElasticBlockStore *AWSElasticBlockStore, GitRepo *GitRepo, Secret *SecretVolume, NFS *NFS, ISCSI *ISCSI, Glusterfs *Glusterfs,
  PersistentVolumeClaim *PersistentVolumeClaim, RBD *RBD, Quobyte *Quobyte, FlexVolume *FlexVolume, Cinder *Cinder, CephFS=cephfs *CephFS,
  Flocker *Flocker, DownwardAPI *DownwardAPI, FC *FC, AzureFile *AzureFile, ConfigMap *ConfigMapVolume, VsphereVolume *VsphereVolume,
  AzureDisk *AzureDisk, PhotonPersistentDisk *PhotonPersistentDisk, Projected *Projected, PortworxVolume *PortworxVolume,
  ScaleIO *ScaleIO, StorageOS=storageos *StorageOS, CSI *CSI, Ephemeral *Ephemeral, Image *ImageVolume
HostPath: Path string, Type *string
EmptyDir: Medium string, SizeLimit *string
GCEPersistentDisk: PDName string, FSType string, Partition int, ReadOnly bool
AWSElasticBlockStore: VolumeID string, FSType string, Partition int, ReadOnly bool
GitRepo: Repository string, Revision string, Directory string
SecretVolume: SecretName string, Items [KeyToPath], DefaultMode *int, Optional *bool
ConfigMapVolume: Name string, Items [KeyToPath], DefaultMode *int, Optional *bool
KeyToPath: Key string, Path string, Mode *int
NFS: Server string, Path string, ReadOnly bool
ISCSI: TargetPortal string, IQN string, Lun int, ISCSIInterface string, FSType string, ReadOnly bool, Portals [string],
  DiscoveryCHAPAuth=chapAuthDiscovery bool, SessionCHAPAuth=chapAuthSession bool, SecretRef *LocalObjectReference, InitiatorName *string
Glusterfs: EndpointsName=endpoints string, Path string, ReadOnly bool
PersistentVolumeClaim: ClaimName string, ReadOnly bool
RBD: CephMonitors=monitors [string], RBDImage=image string, FSType string, RBDPool=pool string, RadosUser=user string, Keyring string,
  SecretRef *LocalObjectReference, ReadOnly bool
Quobyte: Registry string, Volume string, ReadOnly bool, User string, Group string, Tenant string
FlexVolume: Driver string, FSType string, SecretRef *LocalObjectReference, ReadOnly bool, Options map
Cinder: VolumeID string, FSType string, ReadOnly bool, SecretRef *LocalObjectReference
CephFS: Monitors [string], Path string, User string, SecretFile string, SecretRef *LocalObjectReference, ReadOnly bool
Flocker: DatasetName string, DatasetUUID string
DownwardAPI: Items [DownwardFile], DefaultMode *int
DownwardItems: Items [DownwardFile]
DownwardFile: Path string, FieldRef *FieldSelector, ResourceFieldRef *ResourceFieldSelector, Mode *int
FC: TargetWWNs [string], Lun *int, FSType string, ReadOnly bool, WWIDs=wwids [string]
AzureFile: SecretName string, ShareName string, ReadOnly bool
VsphereVolume: VolumePath string, FSType string, StoragePolicyName string, StoragePolicyID string
AzureDisk: DiskName string, DataDiskURI=diskURI string, CachingMode *string, FSType *string, ReadOnly *bool, Kind *string
PhotonPersistentDisk: PdID string, FSType string
Projected: Sources [Projection], DefaultMode *int
Projection: Secret *ObjectProjection, DownwardAPI *DownwardItems, ConfigMap *ObjectProjection, ServiceAccountToken *TokenProjection,
  ClusterTrustBundle *BundleProjection, PodCertificate *CertificateProjection
ObjectProjection: Name string, Items [KeyToPath], Optional *bool
TokenProjection: Audience string, ExpirationSeconds int, Path string
BundleProjection: Name *string, SignerName *string, LabelSelector *LabelSelector, Optional *bool, Path string
CertificateProjection: SignerName string, KeyType string, MaxExpirationSeconds *int, CredentialBundlePath string, KeyPath string,
  CertificateChainPath string, UserAnnotations map
PortworxVolume: VolumeID string, FSType string, ReadOnly bool
ScaleIO: Gateway string, System string, SecretRef *LocalObjectReference, SSLEnabled bool, ProtectionDomain string, StoragePool string,
  StorageMode string, VolumeName string, FSType string, ReadOnly bool
StorageOS: VolumeName string, VolumeNamespace string, FSType string, ReadOnly bool, SecretRef *LocalObjectReference
CSI: Driver string, ReadOnly *bool, FSType *string, VolumeAttributes map, NodePublishSecretRef *LocalObjectReference
Ephemeral: VolumeClaimTemplate *ClaimTemplate
ClaimTemplate: labels map, annotations map, Spec ClaimSpec
ClaimSpec: AccessModes [string], Selector *LabelSelector, Resources VolumeResources, VolumeName string, StorageClassName *string,
  VolumeMode *string, DataSource *TypedReference, DataSourceRef *TypedReference, VolumeAttributesClassName *string
VolumeResources: Limits map, Requests map
TypedReference: APIGroup *string, Kind string, Name string, Namespace *string
ImageVolume: Reference string, PullPolicy string
"""

_ZERO = {"string": "", "int": 0, "bool": False, "quantity": "0"}
#: Fields of the API's PodSpec that are inside the security context here.
_MOVED = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")

Shaper = Callable[[Any], Any]


@functools.cache
def _types() -> dict[str, str]:
    joined = re.sub(r",\n\s+", ", ", _TABLE.strip())
    return dict(line.split(": ", 1) for line in joined.splitlines())


def _api_name(name: str) -> str:
    """The API's name of a field: its first word in lower case."""
    head = re.match(r"[A-Z]+(?![a-z])|[A-Z]", name)
    return head[0].lower() + name[len(head[0]) :] if head else name


@functools.cache
def _fields(kind: str) -> list[tuple[str, str, Shaper, bool]]:
    """Name, API name, how its value is shown, whether it is left out when unset."""
    out = []
    for field in _types()[kind].split(", "):
        name, _, what = field.partition(" ")
        omit = name[0].islower() and not name.endswith("!")
        name, _, api = name.rstrip("!").partition("=")
        out.append((name, api or _api_name(name), _shaper(what), omit))
    return out


def _shaper(what: str) -> Shaper:
    if what.startswith("["):
        inner = _shaper(what[1:-1])
        return lambda value: None if value is None else [inner(item) for item in value]
    optional = what.startswith("*")
    what = what.lstrip("*")
    if what == "map":
        return lambda value: None if value is None else dict(sorted(value.items()))
    if what in _ZERO:
        zero = None if optional else _ZERO[what]
        return lambda value: zero if value is None else value
    if optional:
        return lambda value: None if value is None else shape(what, value)
    return lambda value: shape(what, value or {})


def shape(kind: str, obj: Obj) -> Obj:
    """One structure as messages show it."""
    if kind == "ClaimTemplate":  # its metadata is not a structure of its own
        obj = {**(obj.get("metadata") or {}), **obj}
    out = {}
    for name, api, show, omit in _fields(kind):
        value = show(obj.get(api))
        if value is not None or not omit:
            out[name] = value
    return out


def pod_spec(spec: Obj) -> Obj:
    """A PodSpec as messages show it."""
    moved = {k: spec[k] for k in _MOVED if k in spec}
    return shape("PodSpec", {**spec, "securityContext": {**(spec.get("securityContext") or {}), **moved}})


def difference(old: Obj, new: Obj) -> str:
    """What differs between two structures as they are shown, as a unified diff of their JSON."""
    before, after = (_lines(x) for x in (old, new))
    return "".join([*difflib.unified_diff(before, after, n=3)][2:])


def _lines(shown: Obj) -> list[str]:
    text = json.dumps(shown, indent=1, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return [line + "\n" for line in text.split("\n")]

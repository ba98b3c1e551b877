"""`controller-manager --config`: a KubeControllerManagerConfiguration file (kubecontrollermanager.config.k8s.io/v1alpha1).

What is read is in `_SETTINGS` and `_WORKERS`. Anything else is an error: a setting is never ignored in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

API_VERSION = "kubecontrollermanager.config.k8s.io/v1alpha1"
KIND = "KubeControllerManagerConfiguration"

#: Where the file speaks of a controller's workers, and the controller's name.
_WORKERS = {
    "deploymentController.concurrentDeploymentSyncs": "deployment-controller",
    "replicaSetController.concurrentRSSyncs": "replicaset-controller",
    "replicationController.concurrentRCSyncs": "replicationcontroller-controller",
    "endpointController.concurrentEndpointSyncs": "endpoints-controller",
    "endpointSliceController.concurrentServiceEndpointSyncs": "endpointslice-controller",
    "namespaceController.concurrentNamespaceSyncs": "namespace-controller",
    "saController.concurrentSATokenSyncs": "serviceaccount-token-controller",
    "garbageCollectorController.concurrentGCSyncs": "garbage-collector-controller",
    "statefulSetController.concurrentStatefulSetSyncs": "statefulset-controller",
    "daemonSetController.concurrentDaemonSetSyncs": "daemonset-controller",
    "jobController.concurrentJobSyncs": "job-controller",
    "cronJobController.concurrentCronJobSyncs": "cronjob-controller",
    "ttlAfterFinishedController.concurrentTTLSyncs": "ttl-after-finished-controller",
    "hpaController.concurrentHorizontalPodAutoscalerSyncs": "horizontal-pod-autoscaler-controller",
    "resourceQuotaController.concurrentResourceQuotaSyncs": "resourcequota-controller",
}
_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "generic.controllers": list,
    "generic.leaderElection.leaderElect": bool,
    "generic.clientConnection.kubeconfig": str,
    "kubeCloudShared.useServiceAccountCredentials": bool,
    "saController.serviceAccountKeyFile": str,
    "saController.rootCAFile": str,
}


@dataclass(slots=True)
class FileConfig:
    """What a file says; None: nothing, so the flag's value stands."""

    controllers: tuple[str, ...] | None = None
    leader_elect: bool | None = None
    kubeconfig: str | None = None
    use_service_account_credentials: bool | None = None
    service_account_key_file: str | None = None
    root_ca_file: str | None = None
    concurrency: dict[str, int] = field(default_factory=dict)


def parse_config(document: object) -> FileConfig:
    """The settings of a decoded file. ValueError, in one line, for another kind, an unknown setting or a value of the wrong type."""
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("apiVersion") != API_VERSION:
        raise ValueError(f"--config: expected a {KIND} of {API_VERSION}")
    out = FileConfig()
    for path, value in _leaves({k: v for k, v in document.items() if k not in ("kind", "apiVersion")}):
        if path in _WORKERS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"--config: {path} must be a number of at least 1")
            out.concurrency[_WORKERS[path]] = value
            continue
        wanted = _SETTINGS.get(path)
        if wanted is None:
            raise ValueError(f"--config: the setting {path} is not supported")
        if not isinstance(value, wanted):
            raise ValueError(f"--config: {path} has a value of the wrong type")
        _set(out, path, value)
    return out


def _leaves(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in node.items():
        if isinstance(value, dict):
            out += _leaves(value, f"{prefix}{key}.")
        else:
            out.append((f"{prefix}{key}", value))
    return out


def _set(out: FileConfig, path: str, value: Any) -> None:
    match path:
        case "generic.controllers":
            out.controllers = tuple(str(name) for name in value)
        case "generic.leaderElection.leaderElect":
            out.leader_elect = value
        case "generic.clientConnection.kubeconfig":
            out.kubeconfig = value
        case "kubeCloudShared.useServiceAccountCredentials":
            out.use_service_account_credentials = value
        case "saController.serviceAccountKeyFile":
            out.service_account_key_file = value
        case "saController.rootCAFile":
            out.root_ca_file = value

"""StorageObjectInUseProtection: volumes, claims and attribute classes stay while somebody uses them."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_FINALIZERS = {
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
    ("storage.k8s.io", "volumeattributesclasses"): "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(AdmissionPlugin):
    name = "StorageObjectInUseProtection"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource in _FINALIZERS and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        finalizer = _FINALIZERS[request.resource.group_resource]
        metadata = request.obj["metadata"]
        present = metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]

"""DefaultStorageClass: a claim that names no class gets the default one, where there is one."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.defaults import default_class
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass(AdmissionPlugin):
    name = "DefaultStorageClass"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource == ("", "persistentvolumeclaims") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj.get("spec") or {}
        annotations = request.obj["metadata"].get("annotations") or {}
        if spec.get("storageClassName") is not None or _CLASS_ANNOTATION in annotations:
            return
        found = default_class(self.hub, "storage.k8s.io", "storageclasses", _DEFAULT)
        if found is not None:
            spec["storageClassName"] = found["metadata"]["name"]

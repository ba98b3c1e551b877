"""PersistentVolumeClaimResize: claims grow only if they are bound and their class lets them."""

from __future__ import annotations

from pilothouse.api import quantity
from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class PersistentVolumeClaimResize(AdmissionPlugin):
    name = "PersistentVolumeClaimResize"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "UPDATE" and resource.group_resource == ("", "persistentvolumeclaims") and not subresource

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.obj is not None and request.old is not None
        if quantity.compare(_storage(request.obj), _storage(request.old)) <= 0:
            return
        if (request.old.get("status") or {}).get("phase") != "Bound":
            raise refuse(request, "Only bound persistent volume claims can be expanded")
        if not self._expandable(request.obj):
            why = (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
            )
            raise refuse(request, why)

    def _expandable(self, claim: Obj) -> bool:
        annotated = (claim["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
        name = annotated or claim["spec"].get("storageClassName")
        entry = self.hub.cache("storage.k8s.io", "storageclasses").get("", name) if name else None
        return entry is not None and bool(entry.obj.get("allowVolumeExpansion"))


def _storage(claim: Obj) -> str:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", "0"))

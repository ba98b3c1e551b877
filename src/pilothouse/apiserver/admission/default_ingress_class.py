"""DefaultIngressClass: an ingress that names no class gets the default one, where there is one."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.defaults import default_class
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_DEFAULT = ("ingressclass.kubernetes.io/is-default-class",)
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass(AdmissionPlugin):
    name = "DefaultIngressClass"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource == ("networking.k8s.io", "ingresses") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj.setdefault("spec", {})
        annotations = request.obj["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or _CLASS_ANNOTATION in annotations:
            return
        found = default_class(self.hub, "networking.k8s.io", "ingressclasses", _DEFAULT)
        if found is not None:
            spec["ingressClassName"] = found["metadata"]["name"]

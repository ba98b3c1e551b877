"""NamespaceLifecycle: nothing new in namespaces that do not exist or are going away; three namespaces never go away."""

from __future__ import annotations

from pilothouse.api.errors import StatusError, not_found_error
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
#: Asking whether somebody may do something needs no namespace.
_REVIEWS = frozenset(("localsubjectaccessreviews",))


class NamespaceLifecycle(AdmissionPlugin):
    name = "NamespaceLifecycle"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.group_resource == ("", "namespaces"):
            return operation == "DELETE"
        return resource.namespaced and operation in ("CREATE", "UPDATE") and resource.plural not in _REVIEWS

    async def admit(self, request: AdmissionRequest) -> None:
        if request.operation == "DELETE":
            if request.name in _IMMORTAL:
                raise refuse(request, "this namespace may not be deleted")
            return
        entry = self.hub.cache("", "namespaces").get("", request.namespace)
        if entry is None:
            raise not_found_error("", "namespaces", request.namespace)
        if request.operation == "CREATE" and (entry.obj.get("status") or {}).get("phase") == "Terminating":
            raise self._terminating(request)

    def _terminating(self, request: AdmissionRequest) -> StatusError:
        namespace = request.namespace
        error = refuse(request, f"unable to create new content in namespace {namespace} because it is being terminated")
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        error.details = {**(error.details or {}), "causes": [cause]}
        return error

"""NamespaceAutoProvision and NamespaceExists: what happens to requests in namespaces that are not there, made or refused."""

from __future__ import annotations

from pilothouse.api.errors import StatusError, not_found_error
from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest


class NamespaceAutoProvision(AdmissionPlugin):
    name = "NamespaceAutoProvision"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.namespaced

    async def admit(self, request: AdmissionRequest) -> None:
        if self.hub.cache("", "namespaces").get("", request.namespace) is not None:
            return
        try:
            await self.hub.create("", "namespaces", {"metadata": {"name": request.namespace}}, dry_run=request.dry_run)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise


class NamespaceExists(AdmissionPlugin):
    name = "NamespaceExists"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE", "DELETE") and resource.namespaced

    async def validate(self, request: AdmissionRequest) -> None:
        if self.hub.cache("", "namespaces").get("", request.namespace) is None:
            raise not_found_error("", "namespaces", request.namespace)

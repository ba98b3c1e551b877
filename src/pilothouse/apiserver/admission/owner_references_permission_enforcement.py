"""OwnerReferencesPermissionEnforcement: only who may delete an object says whose it is, and only who may set the finalizers of an owner
makes its deletion wait (blockOwnerDeletion)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Attributes, Verdict

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_CANNOT_DELETE = "cannot set an ownerRef on a resource you can't delete: {}, <nil>"
_CANNOT_FINALIZE = (
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>"
)
_UNKNOWN = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}"


class OwnerReferencesPermissionEnforcement(AdmissionPlugin):
    name = "OwnerReferencesPermissionEnforcement"
    hub: ApiServer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and (resource.group_resource, subresource) != (("", "pods"), "status")

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = _owners(request.obj), _owners(request.old)
        if new == old:
            return
        resource = request.resource
        about = Attributes(
            request.user,
            "delete",
            resource.group,
            resource.version,
            resource.plural,
            request.subresource,
            request.namespace,
            request.name,
        )
        verdict, reason = self.hub.authorize(about)
        if verdict is not Verdict.ALLOW:
            raise refuse(request, _CANNOT_DELETE.format(reason))
        for owner in _newly_blocking(new, old):
            self._may_finalize(request, owner)

    def _may_finalize(self, request: AdmissionRequest, owner: Obj) -> None:
        found = self._resource(owner.get("apiVersion", ""), owner.get("kind", ""))
        if found is None:
            raise refuse(request, _UNKNOWN.format(owner.get("apiVersion", ""), owner.get("kind", "")))
        namespace = request.namespace if found.namespaced else ""
        about = Attributes(
            request.user, "update", found.group, found.version, found.plural, "finalizers", namespace, owner.get("name", "")
        )
        verdict, reason = self.hub.authorize(about)
        if verdict is not Verdict.ALLOW:
            raise refuse(request, _CANNOT_FINALIZE.format(reason))

    def _resource(self, api_version: str, kind: str) -> Resource | None:
        """What a kind is served as."""
        return next(
            (r for r in self.hub.registry.resources() if (r.api_version, r.kind) == (api_version, kind) and r.prefix), None
        )


def _owners(obj: Obj | None) -> list[Obj]:
    return list(((obj or {}).get("metadata") or {}).get("ownerReferences") or ())


def _newly_blocking(new: Iterable[Obj], old: Iterable[Obj]) -> list[Obj]:
    """The owners whose deletion waits for the object from now on."""
    before = {o.get("uid") for o in old if o.get("blockOwnerDeletion")}
    return [o for o in new if o.get("blockOwnerDeletion") and o.get("uid") not in before]

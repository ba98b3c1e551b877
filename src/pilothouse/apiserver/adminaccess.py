"""Admin access to devices that others use: only in namespaces that are labelled for it.

KEP-5018 ("DRA: AdminAccess for ResourceClaims and ResourceClaimTemplates"). Only new claims and templates are looked at: what they ask
for never changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api.errors import FieldError, Obj, forbidden, invalid_object
from pilothouse.apiserver.interface import Finish, Hub, WriteHook

LABEL = "resource.kubernetes.io/admin-access"
_GROUP = "resource.k8s.io"
_TOLD = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"


def admin_access_hooks(hub: Hub) -> Mapping[tuple[str, str], WriteHook]:
    """The hooks by (group, plural)."""
    return {
        (_GROUP, "resourceclaims"): AdminAccess(hub, "ResourceClaim", "spec"),
        (_GROUP, "resourceclaimtemplates"): AdminAccess(hub, "ResourceClaimTemplate", "spec.spec"),
    }


class AdminAccess(WriteHook):
    """Refuses new objects of a kind whose requests, below `path`, want admin access where nobody may have it."""

    def __init__(self, hub: Hub, kind: str, path: str) -> None:
        super().__init__(hub)
        self._kind = kind
        self._path = path

    async def begin_create(self, obj: Obj, dry_run: bool) -> Finish | None:
        asked = self._asked(obj)
        if asked and not self._allowed(obj["metadata"].get("namespace", "")):
            raise invalid_object(_GROUP, self._kind, obj["metadata"].get("name", ""), asked)
        return None

    def _asked(self, obj: Obj) -> list[FieldError]:
        spec = obj
        for part in self._path.split("."):
            spec = spec.get(part) or {}
        requests = (spec.get("devices") or {}).get("requests") or ()
        wanting = [n for n, request in enumerate(requests) if (request.get("exactly") or {}).get("adminAccess")]
        return [forbidden(f"{self._path}.devices.requests[{n}].adminAccess", _TOLD) for n in wanting]

    def _allowed(self, namespace: str) -> bool:
        entry = self.hub.cache("", "namespaces").get("", namespace)
        return entry is not None and (entry.obj["metadata"].get("labels") or {}).get(LABEL) == "true"

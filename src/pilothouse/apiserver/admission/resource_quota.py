"""ResourceQuota: what a namespace's objects use in sum is bounded; each write reserves its share before it is stored.

A reservation is an update of the quota's status.used under its resourceVersion, so that two writers cannot take the same share; the
quota controller puts right later what a failed write leaves behind. Quotas whose status says nothing yet bound nothing.

Configuration (ResourceQuotaConfiguration): `limitedResources` names what may be used only where a quota bounds it, by `apiGroup`,
`resource`, parts of names of what is used (`matchContains`) and scopes (`matchScopes`).
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import quantity
from pilothouse.api import quota_usage as usage
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub

_TRIES = 20
#: Kinds whose updates can use more than before.
_UPDATED = {("", "services"): "", ("", "persistentvolumeclaims"): "", ("", "pods"): "resize"}


class ResourceQuota(AdmissionPlugin):
    name = "ResourceQuota"

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._limited: dict[tuple[str, str], list[Obj]] = {}

    def configure(self, config: Obj) -> None:
        """ValueError for a configuration that makes no sense."""
        if config.get("kind") != "ResourceQuotaConfiguration":
            raise ValueError("ResourceQuota: want a ResourceQuotaConfiguration")
        for entry in config.get("limitedResources") or ():
            if not isinstance(entry, dict) or not entry.get("resource"):
                raise ValueError("ResourceQuota: limitedResources: resource: Required value")
            self._limited.setdefault((entry.get("apiGroup") or "", entry["resource"]), []).append(entry)

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if not resource.namespaced or not resource.prefix:
            return False
        if operation == "CREATE":
            return not subresource
        return operation == "UPDATE" and _UPDATED.get(resource.group_resource) == subresource

    async def validate(self, request: AdmissionRequest) -> None:
        for _ in range(_TRIES):
            quotas = self._quotas(request)
            if request.resource.group_resource in self._limited:
                self._check_bounded(request, quotas)
            changed = [self._check(request, quota) for quota in quotas]
            if request.dry_run or await self._reserve([q for q in changed if q is not None]):
                return
        raise refuse(request, "the namespace's quotas are changing too fast; try again")

    def _quotas(self, request: AdmissionRequest) -> list[Obj]:
        """The quotas that bound this object, by name."""
        found = [entry.obj for entry in self.hub.cache("", "resourcequotas").list(request.namespace)]
        matching = [q for q in found if usage.matches(q, request.resource, request.obj or {})]
        return sorted(matching, key=lambda q: q["metadata"]["name"])

    def _check(self, request: AdmissionRequest, quota: Obj) -> Obj | None:
        """The quota with this write's share taken; None if the write uses nothing of it. 403 if it uses too much."""
        name, status = quota["metadata"]["name"], quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        bounded = sorted(k for k in hard if usage.concerns(k, request.resource))
        if not bounded:
            return None
        missing = usage.unspecified(bounded, request.resource, request.obj or {})
        if missing:
            raise refuse(request, f"failed quota: {name}: must specify {missing}")
        unknown = [k for k in bounded if k not in used]
        if unknown:
            raise refuse(request, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
        delta = _delta(request, bounded)
        if not delta:
            return None
        after = {k: quantity.add(used[k], v) for k, v in delta.items()}
        exceeded = [k for k in sorted(delta) if quantity.sign(delta[k]) > 0 and quantity.compare(after[k], hard[k]) > 0]
        if exceeded:
            requested, had, limited = (_list(amounts, exceeded) for amounts in (delta, used, hard))
            raise refuse(request, f"exceeded quota: {name}, requested: {requested}, used: {had}, limited: {limited}")
        return {**quota, "status": {**status, "used": {**used, **after}}}

    def _check_bounded(self, request: AdmissionRequest, quotas: list[Obj]) -> None:
        """403 for a write that uses what only a quota allows, and no quota bounds it."""
        entries = self._limited[request.resource.group_resource]
        delta = _delta(request, None)
        more = {name for name, amount in delta.items() if quantity.sign(amount) > 0}
        wanted = {name for e in entries for part in e.get("matchContains") or () for name in more if part in name}
        bounded = {name for q in quotas for name in (q.get("status") or {}).get("hard") or {}}
        if wanted - bounded:
            raise refuse(request, f"insufficient quota to consume: {','.join(sorted(wanted - bounded))}")
        scopes = [
            s for e in entries for s in e.get("matchScopes") or () if usage.in_scope(s, request.resource, request.obj or {})
        ]
        known = {s["scopeName"] for q in quotas for s in usage.scopes(q)}
        open_scopes = [s for s in scopes if s.get("scopeName") not in known]
        if open_scopes and delta:
            raise refuse(request, f"insufficient quota to match these scopes: [{' '.join(map(_shown, open_scopes))}]")

    async def _reserve(self, quotas: list[Obj]) -> bool:
        """Store the reservations; False if one has changed meanwhile and all must be looked at again."""
        for quota in quotas:
            try:
                await self.hub.update("", "resourcequotas", quota, subresource="status")
            except StatusError as error:
                if error.reason not in ("Conflict", "NotFound"):
                    raise
                return False
        return True


def _delta(request: AdmissionRequest, bounded: list[str] | None) -> dict[str, str]:
    """What the write uses of the bounded resources (None: of all), more (or less) than before."""
    new = usage.of(request.resource, request.obj or {})
    old = usage.of(request.resource, request.old) if request.old is not None else {}
    out = {
        k: quantity.sub(new.get(k, "0"), old[k]) if k in old else new[k] for k in {*new, *old} if bounded is None or k in bounded
    }
    return {k: v for k, v in out.items() if quantity.sign(v) != 0}


def _shown(scope: Obj) -> str:
    return f"{{{scope.get('scopeName', '')} {scope.get('operator', '')} [{' '.join(scope.get('values') or ())}]}}"


def _list(amounts: Mapping[str, str], names: list[str]) -> str:
    return ",".join(f"{n}={quantity.canonical(amounts[n])}" for n in names)

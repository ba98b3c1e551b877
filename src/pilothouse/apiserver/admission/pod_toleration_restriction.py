"""PodTolerationRestriction: namespaces say which taints their pods tolerate by default, and which they may tolerate at all.

By annotations of the namespace (lists of tolerations, as JSON) or, where it has none, by the configuration's `default` and `whitelist`.
"""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.errors import Obj
from pilothouse.api.podspec.qos import qos_class
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub

_DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
_ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
_NOT_ALLOWED = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"
#: Pods that were promised resources are not sent away from a node that is short of memory.
_MEMORY: Obj = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}


class PodTolerationRestriction(AdmissionPlugin):
    name = "PodTolerationRestriction"

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._default: list[Obj] = []
        self._allowed: list[Obj] = []

    def configure(self, config: Obj) -> None:
        self._default, self._allowed = list(config.get("default") or ()), list(config.get("whitelist") or ())

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.group_resource == ("", "pods") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj["spec"]
        tolerations = list(spec.get("tolerations") or ())
        if request.operation == "CREATE":
            tolerations = merged(self._said(request, _DEFAULTS, self._default), tolerations)
        if qos_class(spec) != "BestEffort":
            tolerations = merged(tolerations, [_MEMORY])
        if tolerations:
            spec["tolerations"] = tolerations

    async def validate(self, request: AdmissionRequest) -> None:
        allowed = self._said(request, _ALLOWED, self._allowed)
        tolerations = ((request.obj or {}).get("spec") or {}).get("tolerations") or ()
        if allowed and any(not any(covers(a, t) for a in allowed) for t in tolerations):
            raise refuse(request, _NOT_ALLOWED)

    def _said(self, request: AdmissionRequest, annotation: str, otherwise: list[Obj]) -> list[Obj]:
        entry = self.hub.cache("", "namespaces").get("", request.namespace)
        text = ((entry.obj["metadata"].get("annotations") or {}) if entry is not None else {}).get(annotation)
        if text is None:
            return otherwise
        try:
            found: Any = orjson.loads(text or "[]")
        except orjson.JSONDecodeError as error:
            raise refuse(request, f"annotation {annotation}: {error}") from None
        return found if isinstance(found, list) and all(isinstance(t, dict) for t in found) else []


def merged(first: list[Obj], second: list[Obj]) -> list[Obj]:
    """All tolerations of both, without those that another one covers; of equal ones the first."""
    every = [*first, *second]
    return [t for n, t in enumerate(every) if not _covered(t, every[:n], every[n + 1 :])]


def _covered(one: Obj, before: list[Obj], after: list[Obj]) -> bool:
    return any(covers(t, one) for t in before) or any(covers(t, one) and not covers(one, t) for t in after)


def covers(wide: Obj, narrow: Obj) -> bool:
    """Whether one toleration tolerates all that the other one does, for as long."""
    key, effect = wide.get("key") or "", wide.get("effect") or ""
    if key and key != (narrow.get("key") or ""):
        return False
    if effect and effect != (narrow.get("effect") or ""):
        return False
    if effect == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or wide["tolerationSeconds"] < seconds:
            return False
    if (wide.get("operator") or "Equal") == "Exists":
        return True
    same = (wide.get("value") or "") == (narrow.get("value") or "")
    return same and (narrow.get("operator") or "Equal") == "Equal"

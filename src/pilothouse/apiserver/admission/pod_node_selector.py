"""PodNodeSelector: a namespace's pods run on the nodes that its annotation, or the configuration, selects.

Configuration: `podNodeSelectorPluginConfig` with `clusterDefaultNodeSelector`, for namespaces without an annotation, and by namespace the
labels that its pods may select nodes by.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub

_ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
_DEFAULT = "clusterDefaultNodeSelector"
_CONFLICT = "pod node label selector conflicts with its namespace node label selector"
_NOT_ALLOWED = "pod node label selector labels conflict with its namespace whitelist"
Labels = dict[str, str]


class PodNodeSelector(AdmissionPlugin):
    name = "PodNodeSelector"

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._known: dict[str, Labels] = {}

    def configure(self, config: Obj) -> None:
        """ValueError for a selector that is none."""
        selectors = config.get("podNodeSelectorPluginConfig") or {}
        self._known = {name: labels_of(str(text)) for name, text in selectors.items()}

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource == ("", "pods") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec, wanted = request.obj["spec"], self._wanted(request)
        if _conflicting(wanted, spec.get("nodeSelector") or {}):
            raise refuse(request, _CONFLICT)
        if wanted:
            spec["nodeSelector"] = {**wanted, **(spec.get("nodeSelector") or {})}

    async def validate(self, request: AdmissionRequest) -> None:
        selector = ((request.obj or {}).get("spec") or {}).get("nodeSelector") or {}
        if _conflicting(self._wanted(request), selector):
            raise refuse(request, _CONFLICT)
        allowed = self._known.get(request.namespace)
        if allowed and any(allowed.get(key) != value for key, value in selector.items()):
            raise refuse(request, _NOT_ALLOWED)

    def _wanted(self, request: AdmissionRequest) -> Labels:
        """What the namespace says, else the default."""
        entry = self.hub.cache("", "namespaces").get("", request.namespace)
        annotations = (entry.obj["metadata"].get("annotations") or {}) if entry is not None else {}
        if _ANNOTATION not in annotations:
            return self._known.get(_DEFAULT, {})
        try:
            return labels_of(annotations[_ANNOTATION])
        except ValueError as error:
            raise refuse(request, str(error)) from None


def labels_of(text: str) -> Labels:
    """`a=b,c=d` as labels. ValueError for anything else."""
    out: Labels = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign:
            raise ValueError(f"invalid selector: [{part}]")
        out[key.strip()] = value.removeprefix("=").strip()
    return out


def _conflicting(one: Labels, other: Labels) -> bool:
    return any(other.get(key, value) != value for key, value in one.items())

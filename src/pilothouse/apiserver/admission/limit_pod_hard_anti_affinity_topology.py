"""LimitPodHardAntiAffinityTopology: pods may keep others off their node, not off a whole zone."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_ALLOWED = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology(AdmissionPlugin):
    name = "LimitPodHardAntiAffinityTopology"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.group_resource == ("", "pods") and not subresource

    async def validate(self, request: AdmissionRequest) -> None:
        spec = (request.obj or {}).get("spec") or {}
        terms = ((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        for term in terms or ():
            key = term.get("topologyKey", "")
            if key != _ALLOWED:
                told = (
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {_ALLOWED} is allowed"
                )
                raise refuse(request, told)

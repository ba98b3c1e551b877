"""PodTopologyLabels: a pod that is bound to a node learns the node's zone and region, as labels."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(AdmissionPlugin):
    name = "PodTopologyLabels"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if operation != "CREATE":
            return False
        is_pod = resource.group_resource == ("", "pods")
        return (is_pod and subresource in ("", "binding")) or resource.group_resource == ("", "bindings")

    async def admit(self, request: AdmissionRequest) -> None:
        obj = request.obj or {}
        created = request.resource.plural == "pods" and not request.subresource
        node = obj["spec"].get("nodeName") if created else (obj.get("target") or {}).get("name")
        entry = self.hub.cache("", "nodes").get("", node) if node else None
        if entry is None:
            return
        labels = entry.obj["metadata"].get("labels") or {}
        found = {k: labels[k] for k in LABELS if k in labels}
        if found:
            metadata = obj.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **found}

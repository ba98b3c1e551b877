"""AlwaysPullImages: nobody runs another's private image because it happens to be on the node. Image volumes count as well."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api.errors import Obj, not_supported
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_ALWAYS = "Always"


class AlwaysPullImages(AdmissionPlugin):
    name = "AlwaysPullImages"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.group_resource == ("", "pods") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        for _, holder, key in _pulls(request):
            holder[key] = _ALWAYS

    async def validate(self, request: AdmissionRequest) -> None:
        wrong = [
            not_supported(path, holder.get(key), (_ALWAYS,))
            for path, holder, key in _pulls(request)
            if holder.get(key) != _ALWAYS
        ]
        if wrong:
            raise refuse(request, ", ".join(map(str, wrong)))


def _pulls(request: AdmissionRequest) -> Iterator[tuple[str, Obj, str]]:
    """Everything that pulls an image: where it is said, what says it, and in which field. Of an update, only what brings a new image."""
    spec: Obj = (request.obj or {}).get("spec") or {}
    if request.old is not None and _images(spec) <= _images(request.old.get("spec") or {}):
        return
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(spec.get(key) or ()):
            yield f"spec.{key}[{n}].imagePullPolicy", container, "imagePullPolicy"
    for n, volume in enumerate(spec.get("volumes") or ()):
        image = volume.get("image")
        if image is not None and image.get("reference"):
            yield f"spec.volumes[{n}].image.pullPolicy", image, "pullPolicy"


def _images(spec: Obj) -> set[str]:
    found = {c.get("image", "") for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key) or ()}
    return found | {(v.get("image") or {}).get("reference", "") for v in spec.get("volumes") or ()}

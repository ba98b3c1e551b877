"""pods/binding: the scheduler's word that a pod goes to a node. It can be given once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.api.errors import FieldError, Obj, bad_request, conflict, invalid_object, not_supported, required
from pilothouse.apiserver import metadata as md
from pilothouse.apiserver.interface import SpecialRequest, SpecialResult
from pilothouse.apiserver.special.body import body_of, in_namespace, success
from pilothouse.apiserver.special.podwrite import change
from pilothouse.clock import rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_RESOURCE = "pods/binding"


class Bind:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        metadata, body = in_namespace(request), body_of(request)
        name = request.name or metadata.get("name", "")
        if request.name and metadata.get("name", request.name) != request.name:
            raise bad_request("name in URL does not match name in Binding object")
        errors = _check_target(body.get("target") or {})
        if errors:
            raise invalid_object("", "Binding", name, errors)
        await self._assign(request, name, body)
        return SpecialResult(201, success())

    async def _assign(self, request: SpecialRequest, name: str, binding: Obj) -> None:
        served = self._server.registry.of("", "pods")
        wanted = binding["metadata"].get("uid")

        def apply(pod: Obj) -> None:
            found = pod["metadata"].get("uid", "")
            if wanted and wanted != found:
                raise md.wrong_uid(served, name, served.key(request.namespace, name), 0, wanted, found)
            self._bind(pod, name, binding)

        await change(self._server, request.namespace, name, apply, request.dry_run)

    def _bind(self, pod: Obj, name: str, binding: Obj) -> None:
        spec, metadata = pod["spec"], pod["metadata"]
        if metadata.get("deletionTimestamp"):
            raise conflict("", _RESOURCE, name, f"pod {name} is being deleted, cannot be assigned to a host")
        if spec.get("nodeName"):
            raise conflict("", _RESOURCE, name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
        if spec.get("schedulingGates"):
            raise conflict("", _RESOURCE, name, f"pod {name} has non-empty .spec.schedulingGates")
        spec["nodeName"] = binding["target"]["name"]
        for key in ("annotations", "labels"):
            more = binding["metadata"].get(key)
            if more:
                metadata[key] = {**(metadata.get(key) or {}), **more}
        (pod.get("status") or {}).pop("nominatedNodeName", None)  # it has its node now (KEP-5278)
        _set_scheduled(pod, rfc3339(self._server.clock.now()))


def _check_target(target: Obj) -> list[FieldError]:
    errors = []
    if target.get("kind", "") not in ("", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        errors.append(required("target.name"))
    return errors


def _set_scheduled(pod: Obj, now: str) -> None:
    """The condition PodScheduled, whatever the scheduler had said before."""
    conditions = [c for c in pod.setdefault("status", {}).get("conditions") or [] if c.get("type") != "PodScheduled"]
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    pod["status"]["conditions"] = [*conditions, condition]

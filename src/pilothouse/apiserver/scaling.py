"""The scale subresource: how many, of any kind that runs pods, without knowing the kind.

A Scale is a view of its object. A write through it (PUT, or any patch type) is made on the view, checked there, and carried back as an
update of the object's replicas; who owns them is tracked in the view's terms (api/apply/scale.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pilothouse.api import apply as ssa
from pilothouse.api import tables
from pilothouse.api.apply import scale as ownership
from pilothouse.api.errors import Obj, conflict, internal, invalid, invalid_object, not_found_error
from pilothouse.api.kinds.scale import ScaleStrategy
from pilothouse.api.resource import Resource
from pilothouse.api.selectors import selector_text
from pilothouse.apiserver import metadata as md
from pilothouse.apiserver import patching
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.messages import Response
from pilothouse.apiserver.query import write_params
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.render import object_response
from pilothouse.apiserver.writes import Call

if TYPE_CHECKING:
    from pilothouse.apiserver.handlers import Ask, Handlers

_RESOURCE = Resource("autoscaling", "v1", "scales", "Scale", "scale", True, ())
_KIND = ("autoscaling", "v1", "Scale")


def scale_of(obj: Obj, served: Served | None = None) -> Obj:
    """The Scale of an object; where a custom resource keeps its numbers, its definition says."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    replicas = spec.get("replicas", 0)
    paths = served.strategy.scale if served is not None else None
    if paths is None:
        shown: Obj = {"replicas": status.get("replicas", 0)}
        told = _selector(spec.get("selector"))
    else:
        replicas = _at(obj, paths["specReplicasPath"])
        if replicas is None:
            raise internal(f'the spec replicas field "{paths["specReplicasPath"]}" does not exist')
        shown = {"replicas": _at(obj, paths["statusReplicasPath"]) or 0}
        told = _at(obj, paths.get("labelSelectorPath") or ".") or ""
    if told:
        shown["selector"] = told
    keep = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: metadata[k] for k in keep if k in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": shown,
    }


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.split(".") if step)


def _at(obj: Obj, path: str) -> Any:
    """What is at a path of plain names; None for nothing, and for no path."""
    steps = _steps(path)
    found: Any = obj if steps else None
    for step in steps:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _put(obj: Obj, steps: tuple[str, ...], value: Any) -> None:
    for step in steps[:-1]:
        obj = obj.setdefault(step, {})
    obj[steps[-1]] = value


def _selector(selector: Any) -> str:
    """A LabelSelector, or (replication controllers) a plain map, as text."""
    if not selector:
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return selector_text(selector)
    return ",".join(f"{k}={v}" for k, v in sorted(selector.items()))


class Scaling:
    """The verbs of the scale subresource."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._view = Served(_RESOURCE, None, ScaleStrategy, tables.schema_for, "Scale")

    async def get(self, ask: Ask) -> Response:
        handlers = self._handlers
        wish = handlers.wish(ask)
        entry = ask.served.cache.get(ask.namespace, ask.route.name)
        if entry is None:
            raise not_found_error(ask.served.resource.group, ask.served.resource.plural, ask.route.name)
        served = await ask.served.ready((entry,))
        return self._answer(ask, scale_of(served.obj(entry), served), wish)

    async def update(self, ask: Ask) -> Response:
        params = write_params(ask.route, "UpdateOptions")
        call = self._handlers.call(ask, params, "UpdateOptions")

        def change(scale: Obj) -> Obj:
            new = self._handlers.decoded(ask, params, self._view.schema, _KIND)
            new["status"] = scale["status"]
            return new

        return await self._write(ask, call, change)

    async def patch(self, ask: Ask) -> Response:
        handlers = self._handlers
        media, params = handlers.patch_options(ask)
        call = handlers.call(ask, params, "PatchOptions")
        kind = patching.Kind(self._view.schema, _KIND)
        body = handlers.body(ask)
        if media == patching.APPLY_PATCH:
            call.apply_manager = params.field_manager
            return await self._write(ask, call, lambda scale: patching.apply(scale, body, kind, call, handlers.clock, "scale"))
        if media == patching.STRATEGIC_PATCH:
            return await self._write(ask, call, lambda scale: patching.patch(patching.MERGE_PATCH, scale, body, kind, call))
        return await self._write(ask, call, lambda scale: patching.patch(media, scale, body, kind, call))

    async def _write(self, ask: Ask, call: Call, change: Callable[[Obj], Obj]) -> Response:
        wish = self._handlers.wish(ask)
        tracking = call.apply_manager is None
        call.tracked = False
        call.endpoint = ""
        paths = ask.served.strategy.scale
        replicas = ("spec", "replicas") if paths is None else _steps(paths["specReplicasPath"])
        call.shown = lambda obj: scale_of(obj, ask.served)
        call.taken = lambda obj, scale: _put(obj, replicas, (scale.get("spec") or {}).get("replicas", 0))

        async def transform(entry: Entry | None) -> Obj:
            assert entry is not None
            obj = call.served.fresh(entry)
            old = scale_of(obj, ask.served)
            ownership.to_scale(obj, old, replicas)
            new = change(_copy(old))
            self._check(call, old, new)
            if tracking:
                ssa.track_update(new, old, self._view.schema, call.manager, api_version="autoscaling/v1", now=self._handlers.clock.now(),
                                 subresource="scale")  # fmt: skip
            _put(obj, replicas, (new.get("spec") or {}).get("replicas", 0))
            ownership.to_object(obj, new, replicas, api_version=ask.served.resource.api_version)
            obj["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
            return obj

        written = await self._handlers.writer.update(call, transform)
        return self._answer(ask, scale_of(written.view, ask.served), wish)

    def _check(self, call: Call, old: Obj, new: Obj) -> None:
        """The Scale is that of the URL's object, and asks for something possible."""
        metadata = md.metadata_of(new)
        md.check_name(metadata, call.name)
        md.check_namespace(call.served, metadata, call.namespace)
        resource = call.served.resource
        wanted, found = metadata.get("uid"), old["metadata"].get("uid", "")
        if wanted and wanted != found:
            why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
            raise conflict(resource.group, f"{resource.plural}/scale", call.name, why)
        replicas = (new.get("spec") or {}).get("replicas", 0)
        if replicas < 0 and call.served.strategy.scale is not None:
            error = invalid(".spec.replicas", replicas, "should be a non-negative integer")
            raise invalid_object(resource.group, resource.kind, call.name, [error])
        if replicas < 0:
            error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid_object("autoscaling", "Scale", call.name, [error])

    def _answer(self, ask: Ask, scale: Obj, wish: Any) -> Response:
        if ask.request.native:
            response = Response(200)
            response.native = scale
            return response
        return object_response(self._view, scale, wish)


def _copy(scale: Obj) -> Obj:
    return {k: dict(v) if isinstance(v, dict) else v for k, v in scale.items()}

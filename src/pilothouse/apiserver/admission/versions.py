"""A request as another version of its resource would show it: what `matchPolicy: Equivalent` needs.

Resources are equivalent that are stored in one place: all versions of a resource, and events of both groups. A rule that names one
of them is for requests to any of them, and whoever the rule belongs to sees the objects in the version that it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.registry import Registry, Served


@dataclass(frozen=True, slots=True)
class View:
    """A request's resource and objects in one version. The objects belong to the request or to caches: nobody changes them."""

    resource: Resource
    kind: tuple[str, str, str]
    obj: Obj | None
    old: Obj | None


async def view(registry: Registry, request: AdmissionRequest, resource: Resource) -> View:
    """The request as `resource`, which is its own or an equivalent one."""
    own = request.resource
    if resource.api_version == own.api_version:
        return View(own, request.kind, request.obj, request.old)
    if request.kind != (own.group, own.version, own.kind):  # the body of a subresource is the same in all versions
        return View(resource, request.kind, request.obj, request.old)
    kind = (resource.group, resource.version, resource.kind)
    return View(
        resource,
        kind,
        await convert(registry, request.obj, own, resource),
        await convert(registry, request.old, own, resource),
    )


async def convert(registry: Registry, obj: Obj | None, source: Resource, target: Resource) -> Obj | None:
    """A copy of an object in another version."""
    if obj is None:
        return None
    copy: Obj = orjson.loads(orjson.dumps(obj))
    return await _served(registry, source).converted(copy, _served(registry, target))


def _served(registry: Registry, resource: Resource) -> Served:
    return registry.of(resource.group, resource.plural, resource.version)

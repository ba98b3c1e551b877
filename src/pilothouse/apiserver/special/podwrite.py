"""Changes that an endpoint makes to a pod by itself: no client's fields, so nobody owns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pilothouse.api.errors import Obj, not_found_error
from pilothouse.apiserver.storage import Conflict

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer


async def change(server: ApiServer, namespace: str, name: str, apply: Callable[[Obj], None], dry_run: bool = False) -> Obj:
    """Apply a change to the newest state of a pod and store it; what `apply` raises ends it. The pod as it is then."""
    served = server.registry.of("", "pods")
    entry = served.cache.get(namespace, name)
    while True:
        if entry is None:
            raise not_found_error("", "pods", name)
        pod = served.fresh(entry)
        apply(pod)
        if dry_run:
            return pod
        pod["metadata"].pop("resourceVersion", None)
        try:
            written = await server.storage.replace(served, entry, served.to_stored(pod))
        except Conflict as lost:
            entry = lost.current
            continue
        return written.obj

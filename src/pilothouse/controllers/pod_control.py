"""Creating and deleting an owner's pods: in growing batches, with expectations, and with an Event about each.

The batches start slowly, so that a refusal (a quota, say) costs one request and not hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import PODS, Kind
from pilothouse.client.reconcile.kit import Context, gather, is_conflict, is_not_found, namespace_is_terminating
from pilothouse.client.reconcile.objects import Obj, controller_reference, uid
from pilothouse.controllers.expectations import Expectations


def batches(count: int) -> list[int]:
    """Slow start: 1, 2, 4, ..."""
    out, size = [], 1
    while count > 0:
        step = min(size, count)
        out.append(step)
        count -= step
        size *= 2
    return out


def pod_of(owner: Obj, kind: Kind, template: Obj) -> Obj:
    """The pod to create from a template."""
    meta, of = template.get("metadata") or {}, owner["metadata"]
    kept = {k: meta[k] for k in ("labels", "annotations", "finalizers") if meta.get(k)}
    reference = controller_reference(owner, kind.api_version, kind.kind)
    metadata = {"generateName": f"{of['name']}-", "namespace": of["namespace"], **kept, "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


class PodControl:
    """The requests of one controller about pods of owners of one kind."""

    def __init__(self, context: Context, kind: Kind, expectations: Expectations) -> None:
        self._context = context
        self._api = context.api
        self._kind = kind
        self._expectations = expectations

    async def create(self, owner: Obj, bodies: Sequence[Obj]) -> BaseException | None:
        """Create pods. The first error, and no more batches, if one failed; None also where the namespace is going."""
        self._expectations.expect_creations(uid(owner), len(bodies))
        done = 0
        for size in batches(len(bodies)):
            failed = await gather(*(self._create(owner, body) for body in bodies[done : done + size]))
            done += size
            if failed:
                self._expectations.creation_seen(uid(owner), len(failed) + len(bodies) - done)
                return None if namespace_is_terminating(failed[0]) else failed[0]
        return None

    async def _create(self, owner: Obj, body: Obj) -> None:
        try:
            made = await self._api.create(PODS, body)
        except (StatusError, OSError) as error:
            if not namespace_is_terminating(error):
                self._context.event(owner, self._kind, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self._context.event(owner, self._kind, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    async def delete(self, owner: Obj, doomed: Sequence[Obj]) -> BaseException | None:
        """Delete pods; the first error, if any. Pods that are gone already are no error."""
        self._expectations.expect_deletions(uid(owner), map(uid, doomed))
        failed = await gather(*(self._delete(owner, pod) for pod in doomed))
        return failed[0] if failed else None

    async def _delete(self, owner: Obj, pod: Obj) -> None:
        meta = pod["metadata"]
        try:
            await self._api.delete(PODS, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except (StatusError, OSError) as error:
            self._expectations.deletion_seen(uid(owner), meta["uid"])
            if is_not_found(error):
                return
            if not is_conflict(error):  # the name has passed to another pod, which the cache will show
                self._context.event(owner, self._kind, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        self._context.event(owner, self._kind, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}")

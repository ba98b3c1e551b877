"""Writing EndpointSlices, and remembering what was written: a cache that does not show it all yet must not be believed.

Otherwise a Service whose new slice is still on its way through the watch would get a second one.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES
from pilothouse.client.reconcile.kit import Api, gather, is_not_found
from pilothouse.client.reconcile.objects import Obj, uid


class SliceWriter:
    """Carries out plans. The owner is the key of the Service (or Endpoints) that the slices belong to."""

    def __init__(self, api: Api) -> None:
        self._api = api
        #: By owner and uid of the slice: the version written last, -1 for a deletion.
        self._written: dict[str, dict[str, int]] = {}

    async def carry_out(self, owner: str, create: Iterable[Obj], update: Iterable[Obj], delete: Iterable[Obj]) -> None:
        failed = await gather(
            *(self._create(owner, body) for body in create),
            *(self._update(owner, body) for body in update),
            *(self._delete(owner, each) for each in delete),
        )
        if failed:
            raise failed[0]

    async def _create(self, owner: str, body: Obj) -> None:
        self._note(owner, await self._api.create(ENDPOINT_SLICES, body))

    async def _update(self, owner: str, body: Obj) -> None:
        self._note(owner, await self._api.update(ENDPOINT_SLICES, body))

    async def _delete(self, owner: str, each: Obj) -> None:
        meta = each["metadata"]
        self._written.setdefault(owner, {})[uid(each)] = -1
        try:
            await self._api.delete(ENDPOINT_SLICES, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except StatusError as error:
            if not is_not_found(error):
                self._note(owner, each)
                raise

    def _note(self, owner: str, each: Obj) -> None:
        self._written.setdefault(owner, {})[uid(each)] = _version(each)

    def is_stale(self, owner: str, slices: Iterable[Obj]) -> bool:
        written = self._written.get(owner)
        if not written:
            return False
        shown = {uid(s): _version(s) for s in slices}
        for each, version in list(written.items()):
            if version < 0 and each not in shown:
                del written[each]
            elif version < 0 or shown.get(each, 0) < version:
                return True
        return False

    def is_expected(self, owner: str, each: Obj, gone: bool) -> bool:
        """Whether an event is the echo of a write of ours. A slice that others deleted is not waited for any more."""
        written = self._written.get(owner, {})
        version = written.get(uid(each))
        if gone:
            written.pop(uid(each), None)
            return version is None or version < 0
        return version is not None and (version < 0 or _version(each) <= version)

    def forget(self, owner: str) -> None:
        self._written.pop(owner, None)


def _version(obj: Obj) -> int:
    """Resource versions of one kind are ordered."""
    text = obj["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdecimal() else 0

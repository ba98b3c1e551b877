"""Carrying out adoptions and releases. What to adopt and what to release is decided in `ownership`."""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Api, gather, is_not_found
from pilothouse.client.reconcile.objects import Obj, controller_reference, is_deleting, uid
from pilothouse.controllers import ownership


async def settle(api: Api, owner: Obj, owner_kind: Kind, claim: ownership.Claim, kind: Kind, finalizer: str = "") -> list[Obj]:
    """Ask for the claim's adoptions and releases of objects of `kind`; everything that is the owner's afterwards.

    `finalizer` is given to what is adopted and taken from what is released.
    """
    adopted: list[Obj] = []
    if claim.adopt:
        await _check(api, owner, owner_kind)

    async def adopt(obj: Obj) -> None:
        reference = controller_reference(owner, owner_kind.api_version, owner_kind.kind)
        try:
            adopted.append(await _patch(api, kind, obj, ownership.adoption_patch(obj, reference, finalizer)))
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def release(obj: Obj) -> None:
        try:
            await _patch(api, kind, obj, ownership.release_patch(obj, uid(owner), finalizer))
        except StatusError as error:
            if error.code not in (404, 422):  # gone, or another object by now: either way no longer ours
                raise

    failed = await gather(*map(adopt, claim.adopt), *map(release, claim.release))
    if failed:
        raise failed[0]
    return claim.owned + adopted


async def _check(api: Api, owner: Obj, owner_kind: Kind) -> None:
    """An owner that is gone or going must not adopt, whatever the cache says."""
    meta = owner["metadata"]
    live = await api.get(owner_kind, meta["namespace"], meta["name"])
    if uid(live) != uid(owner) or is_deleting(live):
        raise StatusError(404, "NotFound", f"{owner_kind.kind} {meta['namespace']}/{meta['name']} is being replaced or deleted")


async def _patch(api: Api, kind: Kind, obj: Obj, patch: Obj) -> Obj:
    meta = obj["metadata"]
    return await api.patch(kind, meta["namespace"], meta["name"], patch, "strategic")

"""ControllerRevisions: the past templates of a StatefulSet or DaemonSet, numbered, for rolling updates and `rollout undo`.

A revision keeps the template as a patch of the owner's spec. A template that was there before finds its old revision again, which then
gets the highest number. The pure part is here, `Revisions` carries it out. Reference: ControllerRevision (apps/v1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import CONTROLLER_REVISIONS, Kind
from pilothouse.client.reconcile.kit import Api, Cache, is_not_found
from pilothouse.client.reconcile.objects import Obj, controller_reference, created_at, labels_of, uid
from pilothouse.clock import NAME_ALPHABET
from pilothouse.controllers import adoption, ownership


def data_of(template: Obj) -> Obj:
    """What a revision keeps of a template."""
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def template_of(revision: Obj) -> Obj:
    """The template that a revision keeps."""
    template = revision["data"]["spec"]["template"]
    return {k: v for k, v in template.items() if k != "$patch"}


def same(one: Obj, other: Obj) -> bool:
    """Whether two revisions' data mean the same; members that are null, as older servers wrote them, do not count."""
    return _bare(one) == _bare(other)


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v is not None}
    return [_bare(v) for v in value] if isinstance(value, list) else value


def digest(data: Obj, collisions: int) -> str:
    """Ten letters that tell templates apart."""
    text = orjson.dumps([data, collisions], option=orjson.OPT_SORT_KEYS)
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
    return "".join(NAME_ALPHABET[number // len(NAME_ALPHABET) ** i % len(NAME_ALPHABET)] for i in range(10))


def by_number(revisions: Iterable[Obj]) -> list[Obj]:
    """Oldest first."""
    return sorted(revisions, key=lambda r: (r["revision"], created_at(r), r["metadata"]["name"]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The revision of the present template: one that exists (to be numbered anew if `number` is set), or none yet."""

    found: Obj | None
    number: int = 0
    #: Others of the same template, which nobody needs.
    duplicates: tuple[Obj, ...] = ()


def decide(revisions: Iterable[Obj], data: Obj) -> Wanted:
    ordered = by_number(revisions)
    equal = [r for r in ordered if same(r["data"], data)]
    others = [r for r in ordered if not same(r["data"], data)]
    number = max((r["revision"] for r in others), default=0) + 1
    if not equal:
        return Wanted(None, number)
    found = equal[-1]
    return Wanted(found, 0 if found["revision"] >= number else number, tuple(equal[:-1]))


def superfluous(revisions: Iterable[Obj], current: Obj, live: Callable[[Obj], bool], limit: int, count_live: bool) -> list[Obj]:
    """The oldest revisions beyond the limit that no pod is of. `count_live`: those that pods are of count against the limit too."""
    old = [r for r in by_number(revisions) if uid(r) != uid(current)]
    idle = [r for r in old if not live(r)]
    excess = (len(old) if count_live else len(idle)) - limit
    return idle[: max(0, excess)]


class Revisions:
    """The revisions of owners of one kind. `hash_label` is the label that bears a revision's hash."""

    def __init__(self, api: Api, cache: Cache, kind: Kind, hash_label: str) -> None:
        self._api = api
        self._cache = cache
        self._kind = kind
        self._label = hash_label

    async def of(self, owner: Obj, matches: Callable[[dict[str, str]], bool]) -> list[Obj]:
        """The owner's revisions, oldest first, after adoptions."""
        owned = self._cache.indexed("controller", uid(owner))
        orphans = self._cache.indexed("orphans", owner["metadata"]["namespace"])
        claim = ownership.claim(owner, [*owned, *orphans], matches)
        kept = ownership.Claim([*claim.owned, *claim.release], claim.adopt, [])
        return by_number(await adoption.settle(self._api, owner, self._kind, kept, CONTROLLER_REVISIONS))

    async def present(self, owner: Obj, known: Sequence[Obj], notes: dict[str, str]) -> Obj | None:
        """The revision of the owner's present template, made or renumbered if need be. None if its name belongs to another template."""
        data = data_of(owner["spec"]["template"])
        wanted = decide(known, data)
        if wanted.found is None:
            return await self._create(owner, data, wanted.number, notes)
        if wanted.number:
            return await self._api.update(CONTROLLER_REVISIONS, {**wanted.found, "revision": wanted.number})
        return wanted.found

    async def _create(self, owner: Obj, data: Obj, number: int, notes: dict[str, str]) -> Obj | None:
        meta = owner["metadata"]
        mark = digest(data, (owner.get("status") or {}).get("collisionCount") or 0)
        labels = {**labels_of(owner["spec"]["template"]), self._label: mark}
        body: Obj = {
            "metadata": {
                "name": f"{meta['name']}-{mark}",
                "namespace": meta["namespace"],
                "labels": labels,
                "ownerReferences": [controller_reference(owner, self._kind.api_version, self._kind.kind)],
            },
            "data": data,
            "revision": number,
        }
        if notes:
            body["metadata"]["annotations"] = notes
        try:
            return await self._api.create(CONTROLLER_REVISIONS, body)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        found = await self._api.get(CONTROLLER_REVISIONS, meta["namespace"], body["metadata"]["name"])
        return found if same(found["data"], data) else None  # one that is not (or not yet) the owner's own is adopted later

    async def forget(self, revisions: Iterable[Obj]) -> None:
        for each in revisions:
            meta = each["metadata"]
            try:
                options = {"preconditions": {"uid": meta["uid"]}}
                await self._api.delete(CONTROLLER_REVISIONS, meta["namespace"], meta["name"], options)
            except StatusError as error:
                if not is_not_found(error):
                    raise

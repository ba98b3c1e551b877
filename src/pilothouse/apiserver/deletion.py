"""DELETE: at once, gracefully, or when the last finalizer is gone.

Facts 5.5. Pods get a grace period in which their node stops them; every kind may be kept by finalizers, among them those with which
the garbage collector is told what to do about dependents (`orphan`, `foregroundDeletion`). A deletion that cannot be carried out at
once marks the object (deletionTimestamp) and answers with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pilothouse.api.errors import Obj, StatusError, conflict, forbidden_error, not_found_error
from pilothouse.apiserver.admit import Chain
from pilothouse.apiserver.deleteoptions import DeleteOptions
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.interface import AdmissionRequest, User
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.storage import Conflict, Storage
from pilothouse.clock import Clock, parse_rfc3339, rfc3339

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_TRIES = 100


@dataclass(slots=True)
class Deletion:
    """One deletion in progress."""

    served: Served
    namespace: str
    name: str
    user: User
    options: DeleteOptions
    warnings: list[str]
    #: One of many: admission is asked about the collection, whose members have no name there.
    collection: bool = False
    #: Admission has been asked, about what led to this (an eviction).
    admitted: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome: `gone` and the object's last state, or the marked object that is still there."""

    served: Served
    gone: bool
    obj: Obj

    def answer(self) -> tuple[bool, Obj]:
        """What the client gets: (True, object) or (False, Status)."""
        if not self.gone or self.served.strategy.delete_returns_object:
            return True, self.obj
        metadata, resource = self.obj["metadata"], self.served.resource
        details = {"name": metadata["name"], "group": resource.group, "kind": resource.plural, "uid": metadata.get("uid", "")}
        details = {k: v for k, v in details.items() if v}
        return False, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


class Deleter:
    """Deletes."""

    def __init__(self, storage: Storage, chain: Chain, clock: Clock) -> None:
        self.storage = storage
        self.chain = chain
        self.clock = clock

    async def delete(self, deletion: Deletion) -> Deleted:
        """Delete one object, or mark it. StatusError 404, 409 (preconditions), or what admission says."""
        served = deletion.served
        refusal = served.strategy.undeletable(deletion.name)
        if refusal:
            raise forbidden_error(served.resource.group, served.resource.plural, deletion.name, refusal)
        entry = served.cache.get(deletion.namespace, deletion.name)
        admitted = deletion.admitted
        for _ in range(_TRIES):
            if entry is None:
                raise not_found_error(served.resource.group, served.resource.plural, deletion.name)
            if served.converting:
                served = deletion.served = await served.ready((entry,))
            check_preconditions(served, deletion.options, served.obj(entry))
            if not admitted:
                await self._admit(deletion, served.obj(entry))
                admitted = True
            try:
                return await self._attempt(deletion, entry)
            except Conflict as lost:
                entry = lost.current
        raise conflict(served.resource.group, served.resource.plural, deletion.name, "it is being changed all the time")

    async def _admit(self, deletion: Deletion, old: Obj) -> None:
        options = deletion.options
        request = AdmissionRequest(
            "DELETE", deletion.served.resource, "", deletion.namespace, "" if deletion.collection else deletion.name, None, old, deletion.user,
            options.shown, options.dry, deletion.warnings,
        )  # fmt: skip
        await self.chain.admit(request)
        await self.chain.validate(request)

    async def _attempt(self, deletion: Deletion, entry: Entry) -> Deleted:
        served, options = deletion.served, deletion.options
        obj = served.fresh(entry)
        metadata = obj["metadata"]
        if served.strategy.terminates:
            return await self._terminate(deletion, entry, obj)
        graceful, pending = self._grace(served, obj, options)
        if pending:
            return Deleted(served, False, obj)
        changed = set_gc_finalizers(
            metadata, served.strategy.default_propagation if served.strategy.garbage_collected else "", options
        )
        if not graceful and metadata.get("finalizers"):
            changed |= mark_as_deleting(metadata, self.clock.now())
        if graceful or changed:
            entry, obj = await self._update(deletion, entry, obj)
        kept = metadata.get("finalizers") or (graceful and metadata.get("deletionGracePeriodSeconds"))
        if kept:
            return Deleted(served, False, obj)
        return await self._remove(deletion, entry, obj)

    def _grace(self, served: Served, obj: Obj, options: DeleteOptions) -> tuple[bool, bool]:
        """Begin or shorten a grace period: (marked with one, one is running already and nothing changes)."""
        wanted = 1 if options.grace is not None and options.grace < 0 else options.grace
        period = served.strategy.grace_period(obj, wanted)
        if period is None:
            return False, False
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp"):
            _set_grace(metadata, self.clock.now() + period, period)
            if metadata.get("generation"):
                metadata["generation"] += 1
            return True, False
        running = metadata.get("deletionGracePeriodSeconds") or 0
        if running == 0:
            return False, False
        if wanted is None or wanted >= running:
            return False, True
        deadline = parse_rfc3339(metadata["deletionTimestamp"]) - running + wanted
        if deadline < self.clock.now() and wanted:
            # The deadline does not move into the past; whoever is to stop the object is still given the shortest time there is.
            deadline, wanted = self.clock.now(), 1
        _set_grace(metadata, deadline, wanted)
        return True, False

    async def _terminate(self, deletion: Deletion, entry: Entry, obj: Obj) -> Deleted:
        """A namespace: marked and Terminating until its contents and its spec.finalizers are gone."""
        served, metadata = deletion.served, obj["metadata"]
        if not metadata.get("deletionTimestamp"):
            metadata["deletionTimestamp"] = rfc3339(self.clock.now())
            served.strategy.terminate(obj, rfc3339(self.clock.now()))
            set_gc_finalizers(metadata, served.strategy.default_propagation, deletion.options)
            _, obj = await self._update(deletion, entry, obj)
            return Deleted(served, False, obj)
        if metadata.get("finalizers") or (obj.get("spec") or {}).get("finalizers"):
            return Deleted(served, False, obj)
        return await self._remove(deletion, entry, obj)

    async def _update(self, deletion: Deletion, entry: Entry, obj: Obj) -> tuple[Entry, Obj]:
        served = deletion.served
        if deletion.options.dry or obj == served.obj(entry):
            return entry, obj
        new = await self.storage.replace(
            served, entry, await served.to_store(obj) if served.converting else served.to_stored(obj)
        )
        if served.converting:
            served = deletion.served = await served.ready((new,))
        return new, served.obj(new)

    async def _remove(self, deletion: Deletion, entry: Entry, obj: Obj) -> Deleted:
        served = deletion.served
        if deletion.options.dry:
            return Deleted(served, True, obj)
        last = await self.storage.delete(served, entry)
        if served.converting and not served.strategy.delete_returns_object:
            served = await served.ready((last,))
        if served.hook is not None:
            await served.hook.after_delete(obj)
        return Deleted(served, True, obj if served.strategy.delete_returns_object else served.obj(last))


def check_preconditions(served: Served, options: DeleteOptions, obj: Obj) -> None:
    """409 unless the object is the one that the client means."""
    metadata = obj["metadata"]
    if options.uid is not None and options.uid != metadata.get("uid"):
        raise _mismatch(served, metadata, "UID", options.uid, metadata.get("uid", ""), "deleted and then recreated")
    if options.revision is not None and options.revision != metadata.get("resourceVersion"):
        raise _mismatch(served, metadata, "ResourceVersion", options.revision, metadata.get("resourceVersion", ""), "modified")


def _mismatch(served: Served, metadata: Obj, what: str, wanted: str, found: str, how: str) -> StatusError:
    if served.strategy.terminates:
        told = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
        return conflict(served.resource.group, served.resource.plural, metadata["name"], told)
    why = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {how}"
    return conflict(served.strategy.group_in_errors, served.resource.kind, metadata["name"], why)


def _set_grace(metadata: Obj, deadline: float, period: int) -> None:
    metadata["deletionTimestamp"] = rfc3339(deadline)
    metadata["deletionGracePeriodSeconds"] = period


def mark_as_deleting(metadata: Obj, now: float) -> bool:
    """Marked, with no grace left: what is kept by finalizers. True if that is a change."""
    before = (metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds"))
    if not metadata.get("deletionTimestamp"):
        if metadata.get("generation"):
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = rfc3339(now)
    elif parse_rfc3339(metadata["deletionTimestamp"]) > now:
        metadata["deletionTimestamp"] = rfc3339(now)
    metadata["deletionGracePeriodSeconds"] = 0
    return before != (metadata["deletionTimestamp"], 0)


def set_gc_finalizers(metadata: Obj, default: str, options: DeleteOptions) -> bool:
    """The garbage collector's finalizers as the client, the object or the kind's default wants them. True if that is a change.

    `default` is the kind's propagation policy; "" for kinds whose dependents are not collected.
    """
    if not default:
        return False
    old = metadata.get("finalizers") or []
    new = [f for f in old if f not in (ORPHAN, FOREGROUND)]
    wanted = _gc_finalizer(old, default, options)
    if wanted:
        new.append(wanted)
    if set(new) == set(old):
        return False
    if new:
        metadata["finalizers"] = new
    else:
        metadata.pop("finalizers", None)
    return True


def _gc_finalizer(finalizers: list[str], default: str, options: DeleteOptions) -> str:
    if options.orphan is not None:
        return ORPHAN if options.orphan else ""
    if options.policy is not None:
        return {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(options.policy, "")
    for finalizer in finalizers:
        if finalizer in (ORPHAN, FOREGROUND):
            return finalizer
    return ORPHAN if default == "Orphan" else ""

"""CREATE and UPDATE: the one path that every write of every kind takes.

The order is the reference server's. Create: defaults, field ownership, mutating admission, names and system metadata, the kind's
preparation, validation, validating admission, compare-and-swap with nothing. Update: the same around `transform`, which makes the
new object from the old one, so that PUT, the patches and internal writers share one loop; a lost race runs the loop again unless the
client named a resourceVersion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pilothouse.api import empties, meta
from pilothouse.api.apply import keep_times_if_unchanged
from pilothouse.api.errors import FieldError, Obj, StatusError, already_exists, conflict, invalid, invalid_object, not_found_error
from pilothouse.api.normalize import Emptied
from pilothouse.api.strategy import Context, Strategy
from pilothouse.apiserver import metadata as md
from pilothouse.apiserver import ownership
from pilothouse.apiserver.admit import Chain
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.interface import AdmissionRequest, Finish, User
from pilothouse.apiserver.plans import bad_name
from pilothouse.apiserver.query import WriteParams
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.storage import Conflict, Storage
from pilothouse.clock import Clock

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_GENERATE_TRIES = 8
#: How often an update without a resourceVersion is tried again after a lost race.
_UPDATE_TRIES = 100


@dataclass(slots=True)
class Call:
    """One write in progress: what, where, by whom, how."""

    served: Served
    namespace: str
    name: str
    user: User
    params: WriteParams
    manager: str = "unknown"
    subresource: str = ""
    warnings: list[str] = field(default_factory=list)
    options: Obj = field(default_factory=dict)
    #: The field owner of server-side apply; None for all other writes.
    apply_manager: str | None = None
    versions: ownership.Versions | None = None
    #: Field ownership is tracked by the write path (and not by who makes the new object).
    tracked: bool = True
    #: How admission sees the object, where that is a part of it (scale): what to show, and how to take over what was changed of that.
    shown: Callable[[Obj], Obj] | None = None
    taken: Callable[[Obj, Obj], None] | None = None
    #: Empty lists and maps of the body that decoding dropped.
    emptied: Emptied = field(default_factory=list)
    #: Whose rules a write follows: "" the whole object's, else a subresource's; None: those of `subresource`.
    endpoint: str | None = None

    @property
    def part(self) -> str:
        return self.subresource if self.endpoint is None else self.endpoint

    @property
    def key(self) -> str:
        return self.served.key(self.namespace, self.name)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a write: the stored entry, or (dry run, deletion) the object that would be or was."""

    served: Served
    entry: Entry | None
    obj: Obj | None = None
    created: bool = False
    deleted: bool = False

    @property
    def view(self) -> Obj:
        """The object in the call's version."""
        if self.entry is not None:
            return self.served.obj(self.entry)
        assert self.obj is not None
        return self.obj


#: Makes the new object from the old entry (None: there is none). What it returns is the write's own, made anew at each call.
Transform = Callable[[Entry | None], Awaitable[Obj]]


class Writer:
    """Creates and updates."""

    def __init__(self, storage: Storage, chain: Chain, clock: Clock) -> None:
        self.storage = storage
        self.chain = chain
        self.clock = clock

    def context(self, call: Call) -> Context:
        return Context(self.clock.now(), call.served.resource.api_version, call.warn)

    # --- create ---------------------------------------------------------------------------------------------------------------

    async def create(self, call: Call, obj: Obj) -> Written:
        """Create from a decoded object, which becomes the write's own."""
        self.prepare(call, obj)
        return await self.create_prepared(call, obj)

    def prepare(self, call: Call, obj: Obj) -> None:
        """The part of a create that depends on nothing but the object (and the time): namespace, defaults, field ownership."""
        served = call.served
        metadata = md.metadata_of(obj)
        md.check_namespace(served, metadata, call.namespace)
        if metadata.get("resourceVersion"):
            raise StatusError(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        md.wipe(metadata)
        self._begin(call, obj)

    def _begin(self, call: Call, obj: Obj) -> None:
        """Defaults and field ownership of an object that is not there yet."""
        call.served.strategy.default(obj)
        ownership.track(call, obj, None, self.clock.now())

    async def create_prepared(self, call: Call, obj: Obj) -> Written:
        """The rest of a create: admission, validation, the store."""
        request = self._request(call, "CREATE", obj, None)
        await self.chain.admit(request)
        md.dedup_owners(md.metadata_of(obj), call.warn)
        return await self.insert(call, obj, request)

    async def insert(self, call: Call, obj: Obj, request: AdmissionRequest) -> Written:
        """The part of a create after mutating admission: also how an update or apply creates what is not there."""
        served = call.served
        metadata = md.metadata_of(obj)
        tries = _GENERATE_TRIES if metadata.get("generateName") and not metadata.get("name") else 1
        while True:
            tries -= 1
            md.begin_life(metadata, self.clock)
            generated = md.generate_name(metadata, self.clock)
            try:
                return await self._insert(call, obj, request)
            except Conflict as lost:
                if generated and tries:
                    del metadata["name"]
                    continue
                raise self._exists(served, metadata.get("name", ""), lost) from None

    async def _insert(self, call: Call, obj: Obj, request: AdmissionRequest) -> Written:
        served, metadata = call.served, obj["metadata"]
        strategy = served.strategy
        finish = await served.hook.begin_create(obj, call.params.dry_run) if served.hook is not None else None
        stored = False
        try:
            strategy.prepare_create(obj, self.context(call))
            self._validate_new(call, obj)
            request.name = metadata.get("name", "")
            await self.chain.validate(request)
            empties.to_null(obj, served.schema)
            if strategy.defaulted_when_read:
                strategy.default(obj)
            wrong = bad_name(metadata["name"])  # of the kinds whose own rule lets it pass
            if wrong is not None:
                raise wrong
            key = served.key(metadata.get("namespace", ""), metadata["name"])
            if call.params.dry_run:
                existing = served.cache.by_key(key)
                if existing is not None:
                    raise Conflict(existing)
                return Written(served, None, obj, created=True)
            entry = await self.storage.create(
                served, key, await served.to_store(obj) if served.converting else served.to_stored(obj)
            )
            stored = True
            return Written(await served.ready((entry,)) if served.converting else served, entry, created=True)
        finally:
            if finish is not None:
                await finish(stored)

    def _validate_new(self, call: Call, obj: Obj) -> None:
        """422 for an invalid object; warnings for a doubtful one. What a kind says is worth remembering is checked once."""
        served, metadata = call.served, obj["metadata"]
        strategy = served.strategy
        errors = _errors_of_metadata(served, obj)
        key = strategy.validation_key(obj)
        known = served.valid.get(key) if key is not None else None
        if known is None:
            errors += strategy.validate(obj)
            known = tuple(strategy.warnings(obj, None)) if not errors else ()
            if key is not None and not errors:
                served.remember_valid(key, known)
        if errors:
            errors = _as_sent(call, errors, lambda: _errors_of_metadata(served, obj) + strategy.validate(obj))
            raise invalid_object(strategy.group_in_errors, served.resource.kind, metadata.get("name", ""), errors)
        for text in known:
            call.warn(text)

    def _exists(self, served: Served, name: str, lost: Conflict) -> StatusError:
        resource = served.resource
        error = already_exists(resource.group, resource.plural, name)
        current = lost.current
        if current is not None and current.obj["metadata"].get("deletionTimestamp"):
            return StatusError(error.code, error.reason, f"object is being deleted: {error.message}", error.details)
        return error

    # --- update ---------------------------------------------------------------------------------------------------------------

    async def update(self, call: Call, transform: Transform, *, create_missing: bool = False, retry: bool = True) -> Written:
        """Read, transform, write; again while others win the race and the new object names no resourceVersion."""
        served, key = call.served, call.key
        old = served.cache.by_key(key)
        for _ in range(_UPDATE_TRIES):
            if old is None and not create_missing:
                raise not_found_error(served.resource.group, served.resource.plural, call.name)
            try:
                if old is None:
                    return await self._create_missing(call, transform)
                if served.converting:
                    call.served = await served.ready((old,))
                return await self._replace(call, transform, old)
            except Conflict as lost:
                if not retry:
                    raise self._modified(call) from None
                old = lost.current
        raise self._modified(call)

    def _modified(self, call: Call) -> StatusError:
        resource = call.served.resource
        return conflict(resource.group, resource.plural, call.name, MODIFIED)

    async def _create_missing(self, call: Call, transform: Transform) -> Written:
        served = call.served
        obj = await transform(None)
        metadata = md.metadata_of(obj)
        if metadata.get("uid"):
            raise md.wrong_uid(served, call.name, call.key, 0, metadata["uid"], "")
        self._begin(call, obj)
        return await self.create_prepared(call, obj)

    async def _replace(self, call: Call, transform: Transform, old_entry: Entry) -> Written:
        served = call.served
        old = served.obj(old_entry)
        obj = await transform(old_entry)
        metadata = md.metadata_of(obj)
        served.strategy.default(obj)
        if _converted_status(call):  # what the stored version does not keep, nobody owns
            obj = served.from_stored(served.to_stored(obj))
            metadata = md.metadata_of(obj)
        md.restore_generation(metadata, old["metadata"])
        await ownership.settled(lambda: ownership.track(call, obj, old, self.clock.now()))
        request = self._request(call, "UPDATE", obj, old)
        await self.chain.admit(request)
        if call.taken is not None and request.obj is not None:
            call.taken(obj, request.obj)
        metadata = md.metadata_of(obj)
        md.dedup_owners(metadata, call.warn)
        self._check_revision(call, metadata, old_entry)
        self._prepare(call, obj, old)
        md.carry_over(metadata, old["metadata"])
        return await self._validate_and_store(call, obj, old, old_entry, request)

    def _check_revision(self, call: Call, metadata: Obj, entry: Entry) -> None:
        """The optimistic lock: the resourceVersion that the client last saw, if it says one."""
        resource = call.served.resource
        wanted = metadata.get("resourceVersion") or ""
        if wanted in ("", "0"):
            if not call.served.strategy.allow_unconditional_update and call.subresource != "scale":
                error = invalid("metadata.resourceVersion", 0, "must be specified for an update")
                raise invalid_object(resource.group, resource.plural, call.name, [error])
        elif wanted != str(entry.revision):
            raise self._modified(call)
        metadata["resourceVersion"] = str(entry.revision)

    def _prepare(self, call: Call, obj: Obj, old: Obj) -> None:
        strategy, context = call.served.strategy, self.context(call)
        if call.part:
            strategy.prepare_subresource(call.part, obj, old, context)
        else:
            strategy.prepare_update(obj, old, context)

    async def _validate_and_store(self, call: Call, obj: Obj, old: Obj, old_entry: Entry, request: AdmissionRequest) -> Written:
        served = call.served
        finish: Finish | None = None
        if served.hook is not None and not call.part:
            finish = await served.hook.begin_update(obj, old, call.params.dry_run)
        stored = False
        try:
            self._validate_update(call, obj, old)
            if call.shown is not None:
                request.obj = call.shown(obj)
            await self.chain.validate(request)
            for text in served.strategy.warnings(obj, old):
                call.warn(text)
            written = await self._store(call, obj, old, old_entry)
            stored = not call.params.dry_run
            return written
        finally:
            if finish is not None:
                await finish(stored)

    def _validate_update(self, call: Call, obj: Obj, old: Obj) -> None:
        served = call.served
        strategy = served.strategy

        def check() -> list[FieldError]:
            found = _metadata_errors(strategy, obj["metadata"], old["metadata"], bool(call.part))
            return found + (
                strategy.validate_subresource(call.part, obj, old) if call.part else strategy.validate_update(obj, old)
            )

        errors = check()
        if errors:
            errors = _as_sent(call, errors, check)
            raise invalid_object(strategy.group_in_errors, served.resource.kind, call.name, errors)

    async def _store(self, call: Call, obj: Obj, old: Obj, old_entry: Entry) -> Written:
        """Write what changed; an object whose last finalizer went while it was being deleted is deleted."""
        served = call.served
        keep_times_if_unchanged(obj, old)
        if _finished(obj["metadata"], old["metadata"]) or (served.strategy.terminates and _emptied(obj, old)):
            return await self._finish_deletion(call, obj, old_entry)
        if obj == old:
            return Written(served, old_entry)
        if call.params.dry_run:
            return Written(served, None, obj)
        obj["metadata"].pop("resourceVersion", None)
        stored = await served.to_store(obj) if served.converting else served.to_stored(obj)
        if _converted_status(call):
            stored["spec"] = old_entry.fresh()["spec"]  # conversion there and back may have put it in another order
        entry = await self.storage.replace(served, old_entry, stored)
        return Written(await served.ready((entry,)) if served.converting else served, entry)

    async def _finish_deletion(self, call: Call, obj: Obj, old_entry: Entry) -> Written:
        if not call.params.dry_run:
            await self.storage.delete(call.served, old_entry)
            if call.served.hook is not None:
                await call.served.hook.after_delete(obj)
        return Written(call.served, None, obj, deleted=True)

    # --- admission --------------------------------------------------------------------------------------------------------------

    def _request(self, call: Call, operation: str, obj: Obj | None, old: Obj | None) -> AdmissionRequest:
        if call.shown is not None:
            obj, old = (None if o is None else call.shown(o) for o in (obj, old))
        return AdmissionRequest(
            operation, call.served.resource, call.subresource, call.namespace, call.name or (obj or {}).get("metadata", {}).get("name", ""),
            obj, old, call.user, call.options, call.params.dry_run, call.warnings,
        )  # fmt: skip


def _converted_status(call: Call) -> bool:
    """A status of a built-in kind, written in another version than that which is stored."""
    return call.part == "status" and not call.served.same_version and not call.served.custom


def _errors_of_metadata(served: Served, obj: Obj) -> list[FieldError]:
    """What is wrong with a new object's metadata."""
    strategy = served.strategy
    return meta.validate_object_meta(
        obj["metadata"], served.resource.namespaced, strategy.name_rule(obj), "metadata", bare_finalizers=strategy.bare_finalizers
    )


def _as_sent(call: Call, errors: list[FieldError], check: Callable[[], list[FieldError]]) -> list[FieldError]:
    """The same errors about empty lists and maps that the client sent: about `[]` and `{}` rather than null."""
    if not call.emptied:
        return errors
    restored = [(holder, name) for holder, name, empty in call.emptied if holder.setdefault(name, empty) is empty]
    again = check()
    for holder, name in restored:  # values that only have such a list or map inside are shown without it
        holder.pop(name, None)
    if [(e.type, e.field, e.detail) for e in again] != [(e.type, e.field, e.detail) for e in errors]:
        return errors
    return again


def _metadata_errors(strategy: Strategy, new: Obj, old: Obj, subresource: bool) -> list[FieldError]:
    """What is wrong with changed metadata: told by the rules for all kinds, and again by most kinds' own."""
    changed = meta.validate_object_meta_update(new, old, "metadata")
    if not changed and not new.get("finalizers"):
        return changed
    common = meta.validate_common(new, "metadata", bare_finalizers=strategy.bare_finalizers)
    errors = common + changed
    if "immutable" in strategy.metadata_checked_again:
        errors += changed
    if "common" in strategy.metadata_checked_again and not subresource:
        errors += common
    return errors


def _emptied(obj: Obj, old: Obj) -> bool:
    """A namespace that is being deleted has lost the last of its finalizers, of either kind."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers") or (obj.get("spec") or {}).get("finalizers"):
        return False
    return bool((old.get("spec") or {}).get("finalizers") or old["metadata"].get("finalizers"))


def _finished(metadata: Obj, old: Obj) -> bool:
    """An update that takes the last finalizer from an object that is being deleted, with no grace left."""
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and old.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
    )

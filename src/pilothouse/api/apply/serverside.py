"""Server-side apply: merge a configuration into an object, by the fields that its manager sets and no longer sets.

Reference: "Server-Side Apply" in the Kubernetes documentation (KEP-555). A field that another manager owns and whose value the
configuration would change is a conflict, unless forced; a field that this manager owned, no longer sets, and nobody else owns is
removed. Where the reference server answers 500 to a configuration that does not fit the schema, this answers 400.
"""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.apply.check import problems
from pilothouse.api.apply.fieldset import (
    Fields,
    difference,
    ensure_fields,
    intersection,
    ordered,
    path_text,
    paths,
    union,
    without,
)
from pilothouse.api.apply.managed import (
    Differences,
    Manager,
    Paths,
    Versions,
    cap,
    lose,
    managers_of,
    reset_set,
    timestamp,
    write,
)
from pilothouse.api.apply.typed import UNOWNED, compare, created, leaves, merge, remove
from pilothouse.api.apply.types import Type, type_of
from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.api.schema import Schema

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_ANNOTATIONS = 256 * 1024

Conflicts = list[tuple[Manager, Fields]]


def apply(live: Obj | None, applied: Obj, schema: Schema, manager: str, *, api_version: str, kind: str, now: float, force: bool = False,
          subresource: str = "", reset_fields: Paths = (), versions: Versions | None = None) -> Obj:  # fmt: skip
    """The object after `manager` applied its configuration; StatusError 409 with the conflicts if there are any and no `force`.

    The result shares what it did not change with `live` (None: the object is created) and `applied`. It still has to be decoded
    (nulls and empty values are in it as they were applied) and given its defaults.
    """
    _check(applied, type_of(schema), api_version, kind)
    run = _Apply(
        live, applied, schema, Manager(manager, "Apply", api_version, subresource, {}, None), reset_set(reset_fields), versions
    )
    run.now = timestamp(now)
    try:
        out = run.result(force)
    except ConflictError as conflict:
        if manager != "kubectl" or live is None:
            raise
        left = conflict.without(_last_applied_fields(live, run.type, api_version))
        if left:
            raise ConflictError(left) from conflict
        out = run.result(force=True)
    if manager == "kubectl":
        _sync_last_applied(out, applied)
    return out


def _check(applied: Obj, t: Type, api_version: str, kind: str) -> None:
    given, named = applied.get("apiVersion") or "", applied.get("kind") or ""
    if (given, named) != (api_version, kind):
        raise bad_request(f"invalid object type: {_version_text(given)}, Kind={named}")
    meta = applied.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    wrong = problems(t, applied)
    if wrong:
        meta = meta if isinstance(meta, dict) else {}
        subject = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}; {_version_text(given)}, Kind={named}"
        text = wrong[0] if len(wrong) == 1 else "\n  ".join(["errors:", *wrong])
        raise bad_request(f"failed to create typed patch object ({subject}): {text}")


def _version_text(api_version: Any) -> str:
    text = str(api_version)
    return text if "/" in text else f"/{text}"


class _Apply:
    """One application, which may be carried out twice: once politely and once with force."""

    now: str

    def __init__(
        self, live: Obj | None, applied: Obj, schema: Schema, me: Manager, reset: Fields, versions: Versions | None
    ) -> None:
        self.live, self.applied, self.schema, self.me = live, applied, schema, me
        self.reset, self.versions = reset, versions
        self.type = type_of(schema)

    def result(self, force: bool) -> Obj:
        live = _without_managed(self.live) if self.live else {}
        managers = self._managers()
        before = next((m for m in managers if m.identity == self.me.identity), None)
        others = [m for m in managers if m is not before]
        config = without(leaves(self.type, self.applied), self.reset)
        wanted = ordered(difference(config, UNOWNED))
        merged = self._prune(merge(self.type, live, self.applied), config, before, others)
        found = Differences(live, merged, self.schema, self.me.api_version, self.reset, self.versions)
        others = self._take(others, found, force)
        changed = merged != live
        mine = Manager(*self.me.identity[:2], self.me.api_version, self.me.subresource, wanted, before.time if before else None)
        if changed:
            mine.time = self.now
        out = {**merged, "metadata": dict(merged.get("metadata") or {})}
        write(out, cap([*others, mine]))
        return out

    def _managers(self) -> list[Manager]:
        """Who owns what so far. All that an untracked object holds was set before anybody applied."""
        if self.live is None:
            return []
        found = managers_of(self.live)
        if found:
            return found
        fields = created(self.type, _without_managed(self.live), self.reset)
        return [Manager("before-first-apply", "Update", self.me.api_version, "", fields, self.now)] if fields else []

    def _prune(self, merged: Obj, config: Fields, before: Manager | None, others: list[Manager]) -> Obj:
        """The merged object less what this manager set the last time, and now neither it nor anybody else sets."""
        if before is None or not before.fields:
            return merged
        kept = ensure_fields(config)
        for m in others:
            kept = union(kept, ensure_fields(m.fields))
        gone = difference(ensure_fields(before.fields), kept)
        out: Obj = remove(self.type, merged, gone)
        return out

    def _take(self, others: list[Manager], found: Differences, force: bool) -> list[Manager]:
        """The other managers after this write. What they own and it changes is a conflict."""
        conflicts: Conflicts = []
        left = []
        for m in others:
            seen = found.seen_by(m.api_version)
            if seen is None:
                continue
            clash = intersection(m.fields, seen.set_fields)
            if clash:
                conflicts.append((m, clash))
            m.fields = lose(m.fields, seen.set_fields, seen.removed)
            left.append(m)
        if conflicts and not force:
            raise ConflictError(conflicts)
        return left


def _without_managed(obj: Obj) -> Obj:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


# --- conflicts ------------------------------------------------------------------------------------------------------------------


class ConflictError(StatusError):
    """409: other managers own fields that the configuration would change. One cause for each field and manager."""

    def __init__(self, conflicts: Conflicts) -> None:
        self.conflicts = sorted(conflicts, key=lambda c: c[0].identity)
        causes: list[Obj] = []
        lines: list[str] = []
        for m, fields in self.conflicts:
            who = _who(m)
            lines.append(f"conflicts with {who}:")
            for path in map(path_text, paths(fields)):
                causes.append({"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path})
                lines.append(f"- {path}")
        if len(causes) == 1:
            text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
        else:
            text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
        super().__init__(409, "Conflict", text, {"causes": causes})

    def without(self, allowed: Fields) -> Conflicts:
        """The conflicts that remain when those over `allowed` fields do not count."""
        return [(m, left) for m, fields in self.conflicts if (left := difference(fields, allowed))]


def _who(m: Manager) -> str:
    text = orjson.dumps(m.name).decode()
    if m.subresource:
        text += f' with subresource "{m.subresource}"'
    return f"{text} using {m.api_version}" if m.operation == "Update" else text


# --- kubectl's client-side apply ------------------------------------------------------------------------------------------------


def _last_applied_fields(live: Obj, t: Type, api_version: str) -> Fields:
    """The fields that kubectl's last client-side apply set and that still have the value it gave them: they are its own."""
    try:
        last = orjson.loads((live["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "null")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(last, dict) or last.get("apiVersion") != api_version or problems(t, last):
        return {}
    differs = compare(t, last, _without_managed(live))
    return difference(difference(leaves(t, last), differs.set_fields), differs.removed)


def _sync_last_applied(out: Obj, applied: Obj) -> None:
    """Keep the annotation of an object that has it at what was applied now, so that client-side apply can go on from there."""
    annotations = out["metadata"].get("annotations")
    if not annotations or not annotations.get(LAST_APPLIED):
        return
    shown = dict(applied)
    meta = dict(applied.get("metadata") or {})
    if isinstance(meta.get("annotations"), dict):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k != LAST_APPLIED}
    shown["metadata"] = meta
    text = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    rest = {k: v for k, v in annotations.items() if k != LAST_APPLIED}
    size = sum(len(k) + len(v or "") for k, v in rest.items()) + len(LAST_APPLIED) + len(text)
    out["metadata"]["annotations"] = rest if size > MAX_ANNOTATIONS else {**rest, LAST_APPLIED: text}

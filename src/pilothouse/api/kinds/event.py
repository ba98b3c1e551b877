"""Event, in both groups: v1 as it is stored, events.k8s.io/v1 as another view of the same object.

Events without an eventTime are of the old kind, checked for their namespace only. Those of events.k8s.io must be complete when they
are made, and change nothing afterwards but their series (KEP-383).
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import immutable, named, object_reference
from pilothouse.api.errors import FieldError, Obj, invalid, required
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import Column, Strategy
from pilothouse.api.table import since

_TO_NEW = {"involvedObject": "regarding", "message": "note", "count": "deprecatedCount", "firstTimestamp": "deprecatedFirstTimestamp",
           "lastTimestamp": "deprecatedLastTimestamp", "source": "deprecatedSource", "reportingComponent": "reportingController"}  # fmt: skip
_TO_OLD = {v: k for k, v in _TO_NEW.items()}
#: What the newer form leaves out when it is empty.
_OMITTED = ("reportingController", "reportingInstance")
_ALWAYS: dict[str, Any] = {"reportingComponent": "", "reportingInstance": ""}
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_NEW_GROUP = "events.k8s.io"

#: How long texts may be.
_SHORT, _LONG = 128, 1024


class EventStrategy(Strategy):
    allow_create_on_update = True
    garbage_collected = False
    error_group = ""
    columns = (Column("Last Seen"), Column("Type"), Column("Reason"), Column("Object"), Column("Subobject", priority=1), Column("Source", priority=1),
               Column("Message"), Column("First Seen", priority=1), Column("Count", priority=1), Column("Name", format="name", priority=1))  # fmt: skip

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource)
        self.new = resource.group == _NEW_GROUP
        about, reporter = ("regarding", "reportingController") if self.new else ("involvedObject", "reportingComponent")
        #: The same fields at the same places in both forms, the old form's own at the end.
        fields = (*(f"{about}.{k}" for k in _REFERENCE), "reason", reporter, "type")
        self.selectable = fields if self.new else (*fields, "source")
        if not self.new:
            self.metadata_checked_again = frozenset()

    def fields(self, obj: Obj) -> dict[str, str]:
        about = obj.get("involvedObject") or obj.get("regarding") or {}
        source = (obj.get("source") or obj.get("deprecatedSource") or {}).get("component", "")
        reporter = obj.get("reportingComponent") or obj.get("reportingController") or ""
        out = {"reason": obj.get("reason", ""), "type": obj.get("type", ""), "source": source or reporter,
               "reportingComponent": reporter, "reportingController": reporter}  # fmt: skip
        for k in _REFERENCE:
            out[f"involvedObject.{k}"] = out[f"regarding.{k}"] = about.get(k, "")
        return out

    def convert(self, obj: Obj, version: str) -> Obj:
        if obj.get("apiVersion") == version:
            return obj
        if version == f"{_NEW_GROUP}/v1":
            return {_TO_NEW.get(k, k): v for k, v in obj.items() if v != "" or _TO_NEW.get(k, k) not in _OMITTED}
        return {**_ALWAYS, **{_TO_OLD.get(k, k): v for k, v in obj.items()}}

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return super().validate_name(name, prefix) if self.new else names.path_segment(name, prefix)

    # --- validation -------------------------------------------------------------------------------------------------------------

    def validate(self, obj: Obj) -> list[FieldError]:
        event = _old_names(obj)
        out = self._common(event)
        return out + _complete(event) if self.new else out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        event = _old_names(obj)
        out = self._common(event)
        return [*out, *_series(event), *_unchanged(event, _old_names(old))] if self.new else out

    def _common(self, event: Obj) -> list[FieldError]:
        """What is asked of events of both kinds, whoever makes them."""
        namespace = event["metadata"].get("namespace") or ""
        about = (event.get("involvedObject") or {}).get("namespace") or ""
        if not event.get("eventTime"):
            fits = about == namespace or (not about and namespace == "default")
        else:
            fits = bool(about) or namespace in ("default", "kube-system")
        out = [] if fits else [invalid("involvedObject.namespace", about, "does not match event.namespace")]
        return out + self._reporter(event) if event.get("eventTime") else out

    def _reporter(self, event: Obj) -> list[FieldError]:
        field, name = "reportingController" if self.new else "reportingComponent", event.get("reportingComponent") or ""
        out = [] if name else [required(field)]
        out += named(field, name, names.qualified_name(name))
        for key in ("reportingInstance", "action", "reason"):
            out += _text(key, event.get(key) or "")
        if names.size(event.get("message") or "") > _LONG:
            out.append(invalid("message", "", f"can have at most {_LONG} characters"))
        return out

    # --- tables -------------------------------------------------------------------------------------------------------------------

    def cells(self, obj: Obj, now: float) -> list[Any]:
        event = _old_names(obj)
        series = event.get("series") or {}
        first = event.get("firstTimestamp") or event.get("eventTime")
        last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
        about = event.get("involvedObject") or {}
        target = f"{about.get('kind', '').lower()}/{about.get('name', '')}" if about.get("kind") else about.get("name", "")
        return [since(last, now), event.get("type", ""), event.get("reason", ""), target, about.get("fieldPath", ""), _source(event),
                (event.get("message") or "").strip(), since(first, now), series.get("count") or event.get("count") or 1,
                event["metadata"]["name"]]  # fmt: skip


def _old_names(obj: Obj) -> Obj:
    """The event with the fields' names of v1, by which errors name them, too."""
    return {_TO_OLD.get(k, k): v for k, v in obj.items()}


def _source(event: Obj) -> str:
    source = event.get("source") or {}
    component, host = source.get("component"), source.get("host")
    if not component:
        component, host = event.get("reportingComponent"), event.get("reportingInstance")
    return ", ".join(part for part in (component, host) if part)


def _text(field: str, text: str) -> list[FieldError]:
    if not text:
        return [required(field)]
    return [invalid(field, "", f"can have at most {_SHORT} characters")] if names.size(text) > _SHORT else []


def _complete(event: Obj) -> list[FieldError]:
    """What a new event of events.k8s.io needs, and what it may not bring."""
    out = _series(event)
    if not event.get("eventTime"):
        out.append(required("eventTime"))
    if event.get("type") not in ("Normal", "Warning"):
        out.append(invalid("type", "", f"has invalid value: {event.get('type') or ''}"))
    return out + [
        invalid(key, "", "needs to be unset") for key in ("firstTimestamp", "lastTimestamp", "count", "source") if event.get(key)
    ]


def _series(event: Obj) -> list[FieldError]:
    series = event.get("series")
    if series is None:
        return []
    out = [] if (series.get("count") or 0) >= 2 else [invalid("series.count", "", "should be at least 2")]
    return out if series.get("lastObservedTime") else [*out, required("series.lastObservedTime")]


def _unchanged(event: Obj, old: Obj) -> list[FieldError]:
    """What never changes of an event of events.k8s.io."""
    about, before = event.get("involvedObject"), old.get("involvedObject")
    out = immutable("involvedObject", about, before, object_reference(about or {}))
    for key in ("reason", "message"):
        out += _same(key, event, old, "")
    source = event.get("source") or {}
    shown = {"Component": source.get("component", ""), "Host": source.get("host", "")}
    out += immutable("source", source, old.get("source"), shown)
    for key, empty in (("firstTimestamp", None), ("lastTimestamp", None), ("count", 0), ("reason", ""), ("type", ""), ("eventTime", None),
                       ("action", "")):  # fmt: skip
        out += _same(key, event, old, empty)
    related = event.get("related")
    out += immutable("related", related, old.get("related"), object_reference(related))
    for key, field in (("reportingComponent", "reportingController"), ("reportingInstance", "reportingInstance")):
        out += immutable(field, event.get(key) or "", old.get(key) or "")
    return out


def _same(key: str, event: Obj, old: Obj, empty: Any) -> list[FieldError]:
    return immutable(key, event.get(key) or empty, old.get(key) or empty)

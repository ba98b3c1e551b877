"""Event, in both groups: v1 as it is stored, events.k8s.io/v1 as another view of the same object."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.strategy import Column, Strategy
from pilothouse.api.table import since

_TO_NEW = {"involvedObject": "regarding", "message": "note", "count": "deprecatedCount", "firstTimestamp": "deprecatedFirstTimestamp",
           "lastTimestamp": "deprecatedLastTimestamp", "source": "deprecatedSource", "reportingComponent": "reportingController"}  # fmt: skip
_TO_OLD = {v: k for k, v in _TO_NEW.items()}
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


class EventStrategy(Strategy):
    allow_create_on_update = True
    garbage_collected = False
    columns = (Column("Last Seen"), Column("Type"), Column("Reason"), Column("Object"), Column("Subobject", priority=1), Column("Source", priority=1),
               Column("Message"), Column("First Seen", priority=1), Column("Count", priority=1), Column("Name", format="name", priority=1))  # fmt: skip
    selectable = (*(f"involvedObject.{k}" for k in _REFERENCE), *(f"regarding.{k}" for k in _REFERENCE), "reason", "reportingComponent",
                  "reportingController", "source", "type")  # fmt: skip

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
        renamed = _TO_NEW if version == "events.k8s.io/v1" else _TO_OLD
        return {renamed.get(k, k): v for k, v in obj.items()}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        about = obj.get("involvedObject") or obj.get("regarding") or {}
        first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
        last = (
            (obj.get("series") or {}).get("lastObservedTime")
            or obj.get("lastTimestamp")
            or obj.get("deprecatedLastTimestamp")
            or first
        )
        count = (obj.get("series") or {}).get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
        source = obj.get("source") or obj.get("deprecatedSource") or {}
        told = ", ".join(
            filter(
                None,
                (source.get("component") or obj.get("reportingComponent") or obj.get("reportingController"), source.get("host")),
            )
        )
        message = (obj.get("message") or obj.get("note") or "").strip()
        return [since(last, now), obj.get("type", ""), obj.get("reason", ""), f"{about.get('kind', '').lower()}/{about.get('name', '')}",
                about.get("fieldPath", ""), told, message, since(first, now), count, obj["metadata"]["name"]]  # fmt: skip

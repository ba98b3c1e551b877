"""Which of several classes is the default one: the newest that its annotation marks, the first by name among equals."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.errors import Obj
from pilothouse.apiserver.interface import Hub


def default_class(hub: Hub, group: str, plural: str, annotations: Sequence[str]) -> Obj | None:
    marked = [e.obj for e in hub.cache(group, plural).list() if _marked(e.obj, annotations)]
    marked.sort(key=lambda c: c["metadata"]["name"])
    return max(marked, key=lambda c: c["metadata"].get("creationTimestamp", ""), default=None)


def _marked(obj: Obj, annotations: Sequence[str]) -> bool:
    found = obj["metadata"].get("annotations") or {}
    return any(found.get(a) == "true" for a in annotations)

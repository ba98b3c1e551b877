"""What plugins look up besides nodes and pods: claims, volumes, classes, slices, by the plural of their resource.

A `Stock` is filled from anywhere: informers of a live scheduler (`feeds.py`), or objects of a dump. On top of what was read lie
assumptions: objects as they will be once the scheduler's own writes come back, so that the next pod cannot take what the last one took.
An assumption ends when it is taken back or when the object is read anew (or, where it says so, read in the state that was hoped for). A log of changed keys lets what is derived from many
objects be repaired instead of made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Obj = dict[str, Any]
Key = tuple[str, str]  # namespace ("" where there is none), name

CLASS = "class"
NODE = "node"
VOLUME = "volume"
POOL = "pool"


def key_of(obj: Obj) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _class_of(obj: Obj) -> str:
    return (obj.get("spec") or {}).get("storageClassName") or ""


#: By plural: indexes by name, each a function that gives the value under which an object is found.
INDEXES: dict[str, dict[str, Callable[[Obj], str]]] = {
    "persistentvolumes": {CLASS: _class_of},
    "csistoragecapacities": {CLASS: lambda o: o.get("storageClassName") or ""},
    "volumeattachments": {
        NODE: lambda o: o["spec"].get("nodeName") or "",
        VOLUME: lambda o: (o["spec"].get("source") or {}).get("persistentVolumeName") or "",
    },
    "resourceslices": {
        NODE: lambda o: o["spec"].get("nodeName") or "",
        POOL: lambda o: f"{o['spec']['driver']}/{o['spec']['pool']['name']}",
    },
}


@dataclass(slots=True)
class Collection:
    """The objects of one resource."""

    functions: Mapping[str, Callable[[Obj], str]]
    read: dict[Key, Obj] = field(default_factory=dict)
    assumed: dict[Key, Obj] = field(default_factory=dict)
    hopes: dict[Key, Callable[[Obj], bool]] = field(default_factory=dict)
    indexes: dict[str, dict[str, dict[Key, None]]] = field(default_factory=dict)
    version: int = 0
    log: list[Key] = field(default_factory=list)
    log_start: int = 0

    #: Changes remembered at most.
    LOG = 4096

    def put(self, key: Key, obj: Obj | None) -> None:
        """An object as it was read (None: it is gone). What was assumed about it is forgotten."""
        hope = self.hopes.get(key)
        if obj is None or hope is None or hope(obj):
            self.assumed.pop(key, None)
            self.hopes.pop(key, None)
        before = self.read.pop(key, None)
        if obj is not None:
            self.read[key] = obj
        for name, value_of in self.functions.items():
            index = self.indexes.setdefault(name, {})
            was, now = None if before is None else value_of(before), None if obj is None else value_of(obj)
            if was == now:
                continue
            if was is not None:
                del index[was][key]
                if not index[was]:
                    del index[was]
            if now is not None:
                index.setdefault(now, {})[key] = None
        self.changed(key)

    def get(self, key: Key) -> Obj | None:
        return self.assumed.get(key) or self.read.get(key)

    def changed(self, key: Key) -> None:
        self.version += 1
        self.log.append(key)
        if len(self.log) > self.LOG:
            self.log_start += self.LOG // 2
            del self.log[: self.LOG // 2]


class Stock:
    """Collections by plural. Objects are shared with whoever read them and never changed."""

    def __init__(self, objects: Mapping[str, Iterable[Obj]] | None = None) -> None:
        self._collections: dict[str, Collection] = {}
        #: What plugins derive from nodes and objects, and keep between cycles: each under a key of its own.
        self.memo: dict[Any, Any] = {}
        for plural, listed in (objects or {}).items():
            for obj in listed:
                self.put(plural, obj)

    def _of(self, plural: str) -> Collection:
        found = self._collections.get(plural)
        if found is None:
            found = self._collections[plural] = Collection(INDEXES.get(plural, {}))
        return found

    def put(self, plural: str, obj: Obj) -> None:
        """An object's new state."""
        self._of(plural).put(key_of(obj), obj)

    def remove(self, plural: str, obj: Obj) -> None:
        """An object is gone."""
        self._of(plural).put(key_of(obj), None)

    def assume(self, plural: str, obj: Obj, until: Callable[[Obj], bool] | None = None) -> None:
        """Count on an object's state that is going to be written, until it is read anew (so that `until` is true of it). Its
        indexed values must not differ; an object that does not exist yet is found by name only."""
        collection, key = self._of(plural), key_of(obj)
        collection.assumed[key] = obj
        if until is not None:
            collection.hopes[key] = until
        collection.changed(key)

    def take_back(self, plural: str, obj: Obj) -> None:
        """End an assumption, if it is still this one."""
        collection, key = self._of(plural), key_of(obj)
        if collection.assumed.get(key) is obj:
            del collection.assumed[key]
            collection.hopes.pop(key, None)
            collection.changed(key)

    def get(self, plural: str, namespace: str, name: str) -> Obj | None:
        return self._of(plural).get((namespace, name))

    def is_assumed(self, plural: str, namespace: str, name: str) -> bool:
        """Whether an object's state is one that is still being written."""
        return (namespace, name) in self._of(plural).assumed

    def all(self, plural: str) -> list[Obj]:
        collection = self._of(plural)
        if not collection.assumed:
            return list(collection.read.values())
        return [collection.assumed.get(key) or obj for key, obj in collection.read.items()]

    def indexed(self, plural: str, index: str, value: str) -> list[Obj]:
        """The objects with this value of an index of INDEXES."""
        collection = self._of(plural)
        keys = collection.indexes.get(index, {}).get(value, ())
        return [collection.assumed.get(key) or collection.read[key] for key in keys]

    def version(self, plural: str) -> int:
        """Moves with every change of the collection, assumed ones too."""
        return self._of(plural).version

    def changed_since(self, plural: str, version: int) -> set[Key] | None:
        """The keys that changed after a version; None when they are too many to be remembered."""
        collection = self._of(plural)
        first = version - collection.log_start
        return set(collection.log[first:]) if first >= 0 else None

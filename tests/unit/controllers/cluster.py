"""A cluster in a dictionary: enough of an API server, of informers and of queues to run controllers against, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pilothouse.api import errors
from pilothouse.client.reconcile import kinds as known
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Controller
from pilothouse.clock import VirtualClock, new_uid, random_suffix, rfc3339
from pilothouse.controllers.daemonset_nodes import target

Obj = dict[str, Any]
CRDS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
KINDS = [k for k in vars(known).values() if isinstance(k, Kind)] + [CRDS]


def copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: copy(v) for k, v in value.items()}
    return [copy(v) for v in value] if isinstance(value, list) else value


class Cache:
    """The state of one resource, with indexes recomputed on every question: simple, not fast."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Obj] = {}
        self.indexes: dict[str, Callable[[Obj], Iterable[str]]] = {}
        self.handlers: list[Callable[[Obj | None, Obj | None], None]] = []

    def get(self, namespace: str, name: str) -> Obj | None:
        return self.objects.get((namespace, name))

    def list(self, namespace: str = "") -> Iterable[Obj]:
        return [o for (ns, _), o in self.objects.items() if namespace in ("", ns)]

    def indexed(self, index: str, value: str) -> Iterable[Obj]:
        return [o for o in self.objects.values() if value in self.indexes[index](o)]

    def add_index(self, name: str, values: Callable[[Obj], Iterable[str]]) -> None:
        self.indexes[name] = values

    def add_handler(self, handler: Callable[[Obj | None, Obj | None], None]) -> None:
        self.handlers.append(handler)
        for obj in list(self.objects.values()):
            handler(None, obj)

    def put(self, key: tuple[str, str], new: Obj | None) -> None:
        old = self.objects.pop(key, None)
        if new is not None:
            self.objects[key] = new
        for handler in self.handlers:
            handler(old, new)


class Queue:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.waiting: dict[str, None] = {}
        self.working: set[str] = set()
        self.failures: dict[str, int] = {}
        self.wake = asyncio.Event()

    def add(self, item: str) -> None:
        self.waiting[item] = None
        self.wake.set()

    def add_after(self, item: str, seconds: float) -> None:
        self.clock.call_later(seconds, lambda: self.add(item))

    def add_rate_limited(self, item: str) -> None:
        self.failures[item] = self.failures.get(item, 0) + 1
        self.add_after(item, min(1000.0, 0.005 * 2 ** self.failures[item]))

    def forget(self, item: str) -> None:
        self.failures.pop(item, None)

    async def get(self) -> str:
        while True:
            for item in self.waiting:
                if item not in self.working:
                    del self.waiting[item]
                    self.working.add(item)
                    return item
            self.wake.clear()
            await self.wake.wait()

    def done(self, item: str) -> None:
        self.working.discard(item)
        self.wake.set()


class Cluster:
    """The API server. `writes` counts requests that changed something or tried to."""

    def __init__(self, seed: int = 0) -> None:
        # Nothing here waits for anything outside the event loop, so that idle means idle at once.
        self.clock = VirtualClock(seed=seed, grace=0.0)
        self.stored: dict[Kind, dict[tuple[str, str], Obj]] = {k: {} for k in KINDS}
        self.caches: dict[Kind, Cache] = {k: Cache() for k in KINDS}
        self.version = itertools.count(1)
        self.events: list[tuple[str, str, str]] = []
        self.writes: list[tuple[str, str]] = []
        self.lists = 0
        self.refuse: Callable[[str, Kind, Obj], Exception | None] = lambda verb, kind, obj: None
        #: Seconds by which caches are behind.
        self.lag: Callable[[], float] = lambda: 0.0
        self.delivered: dict[Kind, float] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.options: Mapping[str, Any] = {}
        #: What other paths answer.
        self.documents: dict[str, Obj] = {}

    # Context ----------------------------------------------------------------------------------------------------------

    @property
    def api(self) -> Cluster:
        return self

    def cache(self, kind: Kind) -> Cache:
        return self.caches[kind]

    def metadata_cache(self, kind: Kind) -> Cache:
        return self.caches[kind]

    def release(self, cache: Cache) -> None:
        cache.handlers.clear()

    async def synced(self, caches: Iterable[Cache]) -> None:
        return None

    def queue(self, first_pause: float = 0.005, longest_pause: float = 1000.0) -> Queue:
        return Queue(self.clock)

    def event(self, about: Obj, kind: Kind, type: str, reason: str, message: str) -> None:
        self.events.append((f"{kind.kind}/{about['metadata']['name']}", reason, message))

    def start(self, *controllers: type[Controller], **options: Any) -> list[Controller]:
        self.options = options
        made = [c(self) for c in controllers]
        self.tasks += [asyncio.create_task(c.run()) for c in made]
        return made

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception()
        await self.stop()

    async def settle(self, seconds: float = 5.0) -> None:
        await self.clock.advance(seconds)

    # Api --------------------------------------------------------------------------------------------------------------

    def find(self, kind: Kind, name: str, namespace: str = "ns") -> Obj | None:
        return self.stored[kind].get((namespace if kind.namespaced else "", name))

    def all(self, kind: Kind) -> list[Obj]:
        return list(self.stored[kind].values())

    def _must(self, kind: Kind, namespace: str, name: str) -> Obj:
        found = self.stored[kind].get((namespace, name))
        if found is None:
            raise errors.not_found_error(kind.group, kind.plural, name)
        return found

    def _put(self, kind: Kind, obj: Obj) -> Obj:
        meta = obj["metadata"]
        meta["resourceVersion"] = str(next(self.version))
        key = (meta.get("namespace") or "", meta["name"])
        gone = meta.get("deletionTimestamp") and not meta.get("finalizers") and meta.get("deletionGracePeriodSeconds") == 0
        if gone:
            self.stored[kind].pop(key, None)
        else:
            self.stored[kind][key] = obj
        self._deliver(kind, key, None if gone else copy(obj))
        return copy(obj)

    def _deliver(self, kind: Kind, key: tuple[str, str], obj: Obj | None) -> None:
        """Let the cache know, at once or after a while, but always in order."""
        now = self.clock.monotonic()
        due = max(now + self.lag(), self.delivered.get(kind, 0.0))
        if due <= now:
            asyncio.get_running_loop().call_soon(self.caches[kind].put, key, obj)
        else:
            self.delivered[kind] = due
            self.clock.call_later(due - now, lambda: self.caches[kind].put(key, obj))

    def _check(self, verb: str, kind: Kind, obj: Obj) -> None:
        self.writes.append((verb, kind.plural))
        if error := self.refuse(verb, kind, obj):
            raise error

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        return copy(self._must(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str = "", query: Mapping[str, str] | None = None) -> Obj:
        self.lists += 1
        return {"items": [copy(o) for (ns, _), o in self.stored[kind].items() if namespace in ("", ns)]}

    async def create(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj:
        await asyncio.sleep(0)
        obj = copy(obj)
        meta = obj["metadata"]
        self._check("create", kind, obj)
        if "name" not in meta:
            meta["name"] = meta["generateName"] + random_suffix(self.clock)
        if kind.namespaced:
            meta.setdefault("namespace", "ns")
        if (meta.get("namespace") or "", meta["name"]) in self.stored[kind]:
            raise errors.already_exists(kind.group, kind.plural, meta["name"])
        meta.update(uid=new_uid(self.clock), creationTimestamp=rfc3339(self.clock.now()), generation=1)
        obj.setdefault("spec", {})
        obj.setdefault("status", {"phase": "Pending"} if kind == known.PODS else {})
        return self._put(kind, obj)

    async def update(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj:
        await asyncio.sleep(0)
        obj = copy(obj)
        self._check("update", kind, obj)
        meta = obj["metadata"]
        old = self._must(kind, meta.get("namespace") or "", meta["name"])
        if meta.get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            raise errors.conflict(kind.group, kind.plural, meta["name"], "the object has been modified")
        return self._store(kind, old, obj, subresource)

    def _store(self, kind: Kind, old: Obj, obj: Obj, subresource: str) -> Obj:
        if subresource == "status":
            obj = {**copy(old), "status": obj.get("status"), "metadata": {**old["metadata"], **_notes(obj)}}
        elif subresource == "":
            obj["status"] = copy(old.get("status"))
        meta = obj["metadata"]
        meta["generation"] = old["metadata"].get("generation", 1) + (obj.get("spec") != old.get("spec"))
        if kind == known.NAMESPACES and meta.get("deletionTimestamp") and not obj["spec"].get("finalizers"):
            meta["deletionGracePeriodSeconds"] = 0
        if {**obj, "metadata": {**meta, "resourceVersion": ""}} == {
            **old,
            "metadata": {**old["metadata"], "resourceVersion": ""},
        }:
            return copy(old)
        return self._put(kind, copy(obj))

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Any, how: str, subresource: str = "") -> Obj:
        await asyncio.sleep(0)
        self._check("patch", kind, patch)
        old = self._must(kind, namespace, name)
        wanted = patch.get("metadata", {})
        if wanted.get("uid") not in (None, old["metadata"]["uid"]):
            raise errors.conflict(kind.group, kind.plural, name, "uid mismatch")
        if wanted.get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            raise errors.conflict(kind.group, kind.plural, name, "the object has been modified")
        return self._store(kind, old, _merge(copy(old), patch, how == "strategic"), subresource)

    async def delete(self, kind: Kind, namespace: str, name: str, options: Obj | None = None) -> None:
        await asyncio.sleep(0)
        self._check("delete", kind, options or {})
        obj, options = copy(self._must(kind, namespace, name)), options or {}
        meta = obj["metadata"]
        for field, value in (options.get("preconditions") or {}).items():
            if meta[field] != value:
                raise errors.conflict(kind.group, kind.plural, name, f"the {field} in the precondition does not match")
        finalizers = [f for f in meta.get("finalizers") or () if f not in ("orphan", "foregroundDeletion")]
        extra = {"Orphan": ["orphan"], "Foreground": ["foregroundDeletion"]}.get(options.get("propagationPolicy", ""), [])
        meta["finalizers"] = finalizers + extra
        meta["deletionTimestamp"] = rfc3339(self.clock.now())
        bound = kind == known.PODS and obj["spec"].get("nodeName") and obj["status"].get("phase") == "Running"
        meta["deletionGracePeriodSeconds"] = options.get("gracePeriodSeconds", 30 if bound else 0)
        if kind == known.NAMESPACES:
            meta["deletionGracePeriodSeconds"] = None
        self._put(kind, obj)

    async def delete_collection(self, kind: Kind, namespace: str, options: Obj | None = None) -> None:
        for ns, name in [key for key in self.stored[kind] if key[0] == namespace]:
            await self.delete(kind, ns, name, options)

    async def read(self, path: str, accept: str = "application/json", query: Mapping[str, str] | None = None) -> Any:
        if path in self.documents:
            return copy(self.documents[path])
        if path not in ("/api", "/apis"):
            raise errors.StatusError(404, "NotFound", "the server could not find the requested resource")
        groups: dict[tuple[str, str], list[Obj]] = {}
        for kind in KINDS:
            if (path == "/api") == (kind.group == "") and kind in self.stored:
                groups.setdefault((kind.group, kind.version), []).append(
                    {
                        "resource": kind.plural,
                        "responseKind": {"kind": kind.kind},
                        "scope": "Namespaced" if kind.namespaced else "Cluster",
                        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
                    }
                )
        return {
            "items": [{"metadata": {"name": g}, "versions": [{"version": v, "resources": r}]} for (g, v), r in groups.items()]
        }

    # What others do ---------------------------------------------------------------------------------------------------

    async def run_pods(self, ready: bool = True) -> None:
        """The scheduler's and the nodes' part: every pod is bound and becomes ready (or just runs)."""
        for pod in self.all(known.PODS):
            if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
                continue
            told = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": rfc3339(self.clock.now())}
            body = copy(pod)
            body["spec"]["nodeName"] = target(pod) or "n1"
            body["status"] = {"phase": "Running", "conditions": [told], "podIP": f"10.0.0.{len(self.stored[known.PODS])}"}
            self._put(known.PODS, body)

    async def end_pods(self) -> None:
        """The nodes' part of graceful deletion."""
        for pod in self.all(known.PODS):
            if pod["metadata"].get("deletionTimestamp"):
                await self.delete(known.PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], {"gracePeriodSeconds": 0})


def _notes(obj: Obj) -> Obj:
    return {"annotations": obj["metadata"].get("annotations") or {}}


def _merge(target: Any, patch: Any, strategic: bool, field: str = "") -> Any:
    if isinstance(patch, list) and strategic and field in ("ownerReferences", "conditions"):
        return _merge_list(target or [], patch, {"ownerReferences": "uid", "conditions": "type"}[field])
    if not isinstance(patch, dict):
        return patch
    out = dict(target or {})
    for k, v in patch.items():
        if k.startswith("$deleteFromPrimitiveList/"):
            name = k.partition("/")[2]
            out[name] = [item for item in out.get(name) or () if item not in v]
        elif strategic and k == "finalizers":
            out[k] = [*(out.get(k) or ()), *(item for item in v if item not in (out.get(k) or ()))]
        elif v is None:
            out.pop(k, None)
        else:
            out[k] = _merge(out.get(k), v, strategic, k)
    return out


def _merge_list(target: list[Obj], patch: list[Obj], by: str) -> list[Obj]:
    out = {item[by]: item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            out.pop(item[by], None)
        else:
            out[item[by]] = {**out.get(item[by], {}), **item}
    return list(out.values())

"""garbage-collector-controller: deletes what only absent owners own, in the background, in the foreground or not at all.

It follows the metadata of every resource that can be deleted, found by discovery (again each half minute, and at once when a
CustomResourceDefinition changes), and keeps them as the graph of `garbage_graph`. Before anything is deleted because its owner is
missing from the graph, the server is asked for the owner; and deletions name the version that the decision was made about, so a
decision about an outdated picture fails and is made again. Reference: "Garbage collection".
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Cache, Context, Controller, TryAgain, gather, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, is_deleting, uid
from pilothouse.controllers.discovery import discover
from pilothouse.controllers.garbage_graph import FOREGROUND, ORPHAN, Fate, Graph, Node, Owner, judge

CRDS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
#: Seconds between two looks at what the server serves.
REDISCOVERY = 30.0
#: Seconds that a new resource's cache may take before work goes on without it.
SYNC_PATIENCE = 30.0
_IGNORED = {("", "events"), ("events.k8s.io", "events")}
_ABSENT_LIMIT = 500


class GarbageCollector(Controller):
    name = "garbage-collector-controller"
    workers = 20

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.graph = Graph(lambda each: self.queue.add(f"look:{each}"), lambda each: self.queue.add(f"orphan:{each}"))
        self.kinds: dict[tuple[str, str], Kind] = {}
        self.monitors: dict[Kind, Cache] = {}
        self._absent: dict[tuple[str, str], None] = {}
        self._complete = asyncio.Event()
        self._rediscover = asyncio.Event()

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._keep_discovering(), self._tick())

    # What is followed -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        async for _ in self.every(REDISCOVERY):
            self._rediscover.set()

    async def _keep_discovering(self) -> None:
        while True:
            await self._rediscover.wait()
            self._rediscover.clear()
            try:
                await self._resync()
            except (StatusError, OSError) as error:
                log.warning("%s: discovery: %s", self.name, error)

    async def _resync(self) -> None:
        """Follow what is served now, and let go of what is not served any more."""
        found = await discover(self.api)
        deletable = {s.kind for s in found.with_verbs("delete", "list", "watch") if (s.kind.group, s.kind.plural) not in _IGNORED}
        self.kinds = {(s.kind.api_version, s.kind.kind): s.kind for s in found.resources}
        unreachable = set(found.failed)
        for kind in [k for k in self.monitors if k not in deletable and k.api_version not in unreachable]:
            self._leave(kind)
        new = [kind for kind in deletable if kind not in self.monitors]
        if new:
            self._complete.clear()
            for kind in sorted(new, key=lambda k: (k.group, k.plural)):
                self._monitor(kind)
            await self._wait_for(new)
        self._complete.set()

    def _monitor(self, kind: Kind) -> None:
        cache = self.context.metadata_cache(kind)
        self.monitors[kind] = cache
        cache.add_handler(lambda old, new: self._changed(kind, old, new))
        if kind == CRDS:
            cache.add_handler(lambda old, new: self._rediscover.set())

    async def _wait_for(self, kinds: Iterable[Kind]) -> None:
        waiting = asyncio.ensure_future(self.context.synced([self.monitors[k] for k in kinds]))
        patience = asyncio.ensure_future(self.clock.sleep(SYNC_PATIENCE))
        done, pending = await asyncio.wait((waiting, patience), return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        if waiting not in done:
            log.warning("%s: not every resource could be listed in time", self.name)

    def _leave(self, kind: Kind) -> None:
        cache = self.monitors.pop(kind)
        gone = [uid(obj) for obj in cache.list()]
        self.context.release(cache)
        for each in gone:
            self.graph.remove(each)

    def _changed(self, kind: Kind, old: Obj | None, new: Obj | None) -> None:
        if old is not None and (new is None or uid(old) != uid(new)):
            self.graph.remove(uid(old))
        if new is not None:
            self.graph.observe(new, kind.api_version, kind.kind)

    # Work -------------------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> None:
        await self._complete.wait()
        action, _, name = key.partition(":")
        node = self.graph.nodes.get(name)
        if node is None:
            return
        if action == "orphan":
            await self._bereave(node)
        elif node.virtual:
            await self._verify(node)
        elif node.waits_for_dependents:
            await self._finish_foreground(node)
        elif not node.deleting and node.owners:
            await self._consider(node)

    async def _verify(self, node: Node) -> None:
        """Ask whether an owner that nobody has seen exists; if not, its dependents deserve a look."""
        owner = Owner(node.identity.api_version, node.identity.kind, node.identity.name, node.identity.uid)
        if await self._ask(owner, node.identity.namespace) is None:
            self.graph.remove(node.identity.uid)
        else:
            raise TryAgain(f"{node.identity} exists but was not seen yet")

    async def _consider(self, node: Node) -> None:
        fates = [(ref, await self._fate(ref, node)) for ref in node.owners]
        dependents = [self.graph.nodes[each] for each in node.dependents if each in self.graph.nodes]
        verdict = judge(node, fates, dependents)
        if verdict.unblock:
            refs = [{"uid": ref.uid, "blockOwnerDeletion": False} for ref in node.owners if ref.blocks]
            await self._patch(node, {"metadata": {"uid": node.identity.uid, "ownerReferences": refs}})
        if verdict.drop:
            refs = [{"$patch": "delete", "uid": each} for each in verdict.drop]
            await self._patch(node, {"metadata": {"uid": node.identity.uid, "ownerReferences": refs}})
        elif verdict.delete:
            await self._delete(node, verdict.delete, None if verdict.unblock else node.version)

    async def _fate(self, ref: Owner, node: Node) -> Fate:
        namespace = node.identity.namespace
        known = self.graph.knows(ref, namespace)
        if known is not None:
            return Fate.WAITING if known.waits_for_dependents else Fate.SOLID
        kind = self._kind(ref.api_version, ref.kind)
        if kind.namespaced and not namespace:
            self._complain(ref, node)
            return Fate.SOLID  # a cluster-scoped object cannot have such an owner; it is not deleted for a mistake
        seen = self.graph.nodes.get(ref.uid)
        if seen is not None and not seen.virtual:
            self._complain(ref, node)
        live = await self._ask(ref, namespace)
        if live is None:
            return Fate.DANGLING
        waits = is_deleting(live) and FOREGROUND in (live["metadata"].get("finalizers") or ())
        return Fate.WAITING if waits else Fate.SOLID

    def _complain(self, ref: Owner, node: Node) -> None:
        """An owner reference can only name an object of the same namespace, or a cluster-scoped one."""
        me, namespace = node.identity, node.identity.namespace
        kind = self._kind(me.api_version, me.kind)
        about = {"metadata": {"namespace": namespace, "name": me.name, "uid": me.uid, "resourceVersion": node.version}}
        where = f"[{ref.api_version}/{ref.kind}, namespace: {namespace}, name: {ref.name}, uid: {ref.uid}]"
        message = f'ownerRef {where} does not exist in namespace "{namespace}"'
        self.context.event(about, kind, "Warning", "OwnerRefInvalidNamespace", message)

    async def _ask(self, ref: Owner, namespace: str) -> Obj | None:
        """The live owner, None if it does not exist (or its name is another object's by now)."""
        remembered = (ref.uid, namespace)
        if remembered in self._absent:
            return None
        kind = self._kind(ref.api_version, ref.kind)
        try:
            live = await self.api.get(kind, namespace if kind.namespaced else "", ref.name)
            if uid(live) == ref.uid:
                return live
        except StatusError as error:
            if not is_not_found(error):
                raise
        self._absent[remembered] = None
        if len(self._absent) > _ABSENT_LIMIT:
            del self._absent[next(iter(self._absent))]
        return None

    def _kind(self, api_version: str, kind: str) -> Kind:
        found = self.kinds.get((api_version, kind))
        if found is None:
            self._rediscover.set()
            raise TryAgain(f"{api_version} {kind} is not served")
        return found

    async def _finish_foreground(self, node: Node) -> None:
        """Take the finalizer off once nothing blocks any more; till then see to it that the blocking ones go."""
        if not node.blockers:
            await self._drop_finalizer(node, FOREGROUND)
        for each in node.blockers:
            if not self.graph.nodes[each].deleting:
                self.queue.add(f"look:{each}")

    async def _bereave(self, node: Node) -> None:
        """Make all dependents ownerless, then let the owner go."""

        async def release(dependent: Node) -> None:
            refs = [{"$patch": "delete", "uid": node.identity.uid}]
            await self._patch(dependent, {"metadata": {"uid": dependent.identity.uid, "ownerReferences": refs}})

        dependents = [self.graph.nodes[each] for each in node.dependents if each in self.graph.nodes]
        failed = await gather(*(release(d) for d in dependents))
        if failed:
            raise failed[0]
        await self._drop_finalizer(node, ORPHAN)

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        me = node.identity
        kind = self._kind(me.api_version, me.kind)
        try:
            live = await self.api.get(kind, me.namespace, me.name)
            meta = live["metadata"]
            left = [f for f in meta.get("finalizers") or () if f != finalizer]
            if meta["uid"] == me.uid and len(left) < len(meta.get("finalizers") or ()):
                body = {"metadata": {"uid": me.uid, "resourceVersion": meta["resourceVersion"], "finalizers": left or None}}
                await self.api.patch(kind, me.namespace, me.name, body, "merge")
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _patch(self, node: Node, body: Obj) -> None:
        """A strategic merge patch (custom resources only know merge patches: then the list is computed here)."""
        me = node.identity
        kind = self._kind(me.api_version, me.kind)
        try:
            await self.api.patch(kind, me.namespace, me.name, body, "strategic")
        except StatusError as error:
            if error.code == 415:
                await self._patch_custom(node, kind, body)
            elif error.code not in (404, 422):
                raise

    async def _patch_custom(self, node: Node, kind: Kind, body: Obj) -> None:
        me = node.identity
        live = await self.api.get(kind, me.namespace, me.name)
        wanted = {ref["uid"]: ref for ref in body["metadata"]["ownerReferences"]}
        refs = []
        for ref in live["metadata"].get("ownerReferences") or ():
            change = wanted.get(ref["uid"], {})
            if change.get("$patch") != "delete":
                refs.append({**ref, **change})
        meta = {"uid": me.uid, "resourceVersion": live["metadata"]["resourceVersion"], "ownerReferences": refs}
        await self.api.patch(kind, me.namespace, me.name, {"metadata": meta}, "merge")

    async def _delete(self, node: Node, policy: str, version: str | None) -> None:
        me = node.identity
        kind = self._kind(me.api_version, me.kind)
        conditions = {"uid": me.uid, **({"resourceVersion": version} if version else {})}
        try:
            await self.api.delete(kind, me.namespace, me.name, {"preconditions": conditions, "propagationPolicy": policy})
        except StatusError as error:
            if not is_not_found(error):
                raise

"""namespace-controller: empties a namespace that is being deleted, and then lets it go.

Everything that discovery shows as namespaced and deletable is deleted: first the pods, and when they are gone the rest, so that no pod
outlives what protects it (KEP-5080). What has finalizers is waited for. Reference: "Namespaces: automatic deletion".
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.errors import StatusError
from pilothouse.controllers import namespace_plan as plans
from pilothouse.controllers.discovery import Served, discover
from pilothouse.controllers.kinds import NAMESPACES, PODS
from pilothouse.controllers.kit import Context, Controller, is_not_found
from pilothouse.controllers.objects import Obj, is_deleting

_KUBERNETES = "kubernetes"
#: Seconds between two passes while something stays: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 8.0


class NamespaceController(Controller):
    name = "namespace-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.cache(NAMESPACES)
        self.pods = self.cache(PODS)
        self.namespaces.add_handler(self._changed)
        self.pods.add_handler(self._pod_changed)
        self._pauses: dict[str, float] = {}
        #: Seconds before the first pass: with several API servers, time for all of them to refuse new content.
        self.delay = float(context.options.get("namespace_deletion_delay", 0.0))

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and is_deleting(new) and _KUBERNETES in (new["spec"].get("finalizers") or ()):
            self.enqueue(new, 0.0 if old is not None and is_deleting(old) else self.delay)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        """With the last pod gone the next pass need not wait."""
        name = (new or old or {})["metadata"]["namespace"]
        if new is None and name in self._pauses and not self.pods.list(name):
            self.queue.add(name)

    async def sync(self, key: str) -> None:
        namespace = self.namespaces.get("", key)
        if namespace is None or not is_deleting(namespace) or _KUBERNETES not in (namespace["spec"].get("finalizers") or ()):
            self._pauses.pop(key, None)
            return
        findings = await self._empty(key)
        namespace = await self._tell(namespace, findings)
        if findings.is_empty:
            await self._let_go(namespace)
        else:
            pause = self._pauses.get(key, _FIRST_PAUSE)
            self._pauses[key] = min(_LONGEST_PAUSE, pause * 2)
            self.queue.add_after(key, pause)

    async def _empty(self, name: str) -> plans.Findings:
        """One pass over all content."""
        findings = plans.Findings()
        found = await discover(self.api)
        findings.discovery_errors.extend(f"{f}: stale" for f in found.failed)
        for each in _in_order(found.with_verbs("list", "delete")):
            try:
                await self._empty_of(name, each, findings)
            except StatusError as error:
                if error.code not in (404, 405):
                    findings.content_errors.append(f"{_name(each)}: {error}")
            if each.kind == PODS and findings.remaining:
                break
        return findings

    async def _empty_of(self, name: str, served: Served, findings: plans.Findings) -> None:
        """Delete all objects of one resource, and count those that stay. Nothing is sent for what is empty already."""
        items = await self._list(name, served)
        if not items:
            return
        if any(not is_deleting(item) for item in items):
            await self._delete_all(name, served, items)
            items = await self._list(name, served)
        if not items:
            return
        findings.remaining[_name(served)] = len(items)
        for item in items:
            for finalizer in item["metadata"].get("finalizers") or ():
                findings.finalizers[finalizer] = findings.finalizers.get(finalizer, 0) + 1

    async def _delete_all(self, name: str, served: Served, items: list[Obj]) -> None:
        options = {"propagationPolicy": "Background"}
        if "deletecollection" in served.verbs:
            await self.api.delete_collection(served.kind, name, options)
            return
        for item in items:
            try:
                await self.api.delete(served.kind, name, item["metadata"]["name"], options)
            except StatusError as error:
                if not is_not_found(error):
                    raise

    async def _list(self, name: str, served: Served) -> list[Obj]:
        answer = await self.api.list(served.kind, name)
        return answer.get("items") or []

    async def _tell(self, namespace: Obj, findings: plans.Findings) -> Obj:
        conditions = plans.conditions(namespace, findings, self.clock.now())
        if conditions is None:
            return namespace
        status = {**(namespace.get("status") or {}), "conditions": conditions}
        return await self.api.update(NAMESPACES, {**namespace, "status": status}, "status")

    async def _let_go(self, namespace: Obj) -> None:
        """Take our own finalizer off; with the last one the namespace is gone."""
        left = [f for f in namespace["spec"].get("finalizers") or () if f != _KUBERNETES]
        body = {**namespace, "spec": {**namespace["spec"], "finalizers": left}}
        try:
            await self.api.update(NAMESPACES, body, "finalize")
        except StatusError as error:
            if not is_not_found(error):
                raise


def _in_order(served: Iterable[Served]) -> list[Served]:
    namespaced = [s for s in served if s.kind.namespaced]
    return sorted(namespaced, key=lambda s: s.kind != PODS)


def _name(served: Served) -> str:
    return f"{served.kind.plural}.{served.kind.group}"

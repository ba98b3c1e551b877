"""namespace-controller: empties a namespace that is being deleted, and then lets it go.

Everything that discovery shows as namespaced and deletable is deleted: first the pods, and when they are gone the rest, so that no pod
outlives what protects it (KEP-5080). What has finalizers is waited for. Reference: "Namespaces: automatic deletion".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import NAMESPACES, PODS
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, is_deleting
from pilothouse.controllers import namespace_plan as plans
from pilothouse.controllers.discovery import Served, discover

_KUBERNETES = "kubernetes"
#: Seconds between two passes while something stays: at first, and at most; and at most when the server answered with errors.
_FIRST_PAUSE, _LONGEST_PAUSE, _ERROR_PAUSE = 1.0, 8.0, 120.0


@dataclass(slots=True)
class _Stay:
    """A namespace that could not go yet: the pause before the next pass, and the resources that kept it."""

    pause: float = _FIRST_PAUSE
    kept_by: set[str] = field(default_factory=set)


class NamespaceController(Controller):
    name = "namespace-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.cache(NAMESPACES)
        self.pods = self.cache(PODS)
        self._stays: dict[str, _Stay] = {}
        #: Seconds before the first pass: with several API servers, time for all of them to refuse new content.
        self.delay = float(context.options.get("namespace_deletion_delay", 0.0))
        self.namespaces.add_handler(self._changed)  # last: it hears at once of what is there already
        self.pods.add_handler(self._pod_changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or not _is_ours(new):
            return
        if old is None or not is_deleting(old):
            self.enqueue(new, self.delay)
        elif old["spec"] != new["spec"]:
            self.enqueue(new)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        """With the last pod gone the next pass need not wait."""
        name = (new or old or {})["metadata"]["namespace"]
        if new is None and name in self._stays and not self.pods.list(name):
            self.queue.add(name)

    async def sync(self, key: str) -> None:
        namespace = self.namespaces.get("", key)
        if namespace is None or not _is_ours(namespace):
            self._stays.pop(key, None)
            return
        stay = self._stays.get(key)
        findings = await self._empty(key, stay.kept_by) if stay else plans.Findings()
        if findings.is_empty:  # only a look at everything shows that nothing is left
            findings = await self._empty(key)
        namespace = await self._tell(namespace, findings)
        if findings.is_empty:
            await self._let_go(namespace)
        else:
            self._wait(key, findings)

    def _wait(self, key: str, findings: plans.Findings) -> None:
        """Come again later, and then look first at what stayed."""
        stay = self._stays.setdefault(key, _Stay())
        stay.kept_by = findings.remaining.keys() | findings.content_errors.keys()
        self.queue.add_after(key, stay.pause)
        most = _ERROR_PAUSE if findings.content_errors or findings.discovery_errors else _LONGEST_PAUSE
        stay.pause = min(most, stay.pause * 2)

    async def _empty(self, name: str, only: set[str] | None = None) -> plans.Findings:
        """One pass over all content, or over that of some resources."""
        findings = plans.Findings()
        found = await discover(self.api)
        findings.discovery_errors.extend(f"{f}: stale" for f in found.failed)
        for each in _in_order(found.with_verbs("list", "delete")):
            if only is not None and _name(each) not in only:
                continue
            try:
                await self._empty_of(name, each, findings)
            except StatusError as error:
                if error.code not in (404, 405):
                    findings.content_errors[_name(each)] = str(error)
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


def _is_ours(namespace: Obj) -> bool:
    """Whether it is being deleted and still has our finalizer."""
    return is_deleting(namespace) and _KUBERNETES in (namespace["spec"].get("finalizers") or ())


def _in_order(served: Iterable[Served]) -> list[Served]:
    namespaced = [s for s in served if s.kind.namespaced]
    return sorted(namespaced, key=lambda s: s.kind != PODS)


def _name(served: Served) -> str:
    return f"{served.kind.plural}.{served.kind.group}"

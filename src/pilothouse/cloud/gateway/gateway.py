"""Carries out the Gateways of this controller's classes: plans for the cloud, statuses for Gateways, ListenerSets, routes and policies.

Reference: gateway-api.sigs.k8s.io. A Gateway is looked at as a whole (`outcome.py`), so one queue holds Gateways and, as they turn out to have
something new to be told, routes and policies. Endpoints are not followed here: whoever carries a plan out follows those of its backends.
A Gateway has a finalizer as long as the cloud may hold something for it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import find_condition, is_deleting, key, split_key
from pilothouse.clock import rfc3339
from pilothouse.cloud.gateway.carrying import RECHECK, REPEAT, Carrier, is_whole
from pilothouse.cloud.gateway.conditions import Told, no
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES, GATEWAYS, GROUP, HTTP_ROUTES, LISTENER_SETS, ROUTES
from pilothouse.cloud.gateway.memo import Memo
from pilothouse.cloud.gateway.outcome import Outcome, outcome
from pilothouse.cloud.gateway.served import Served
from pilothouse.cloud.gateway.sources import OPTIONAL, REQUIRED, Sources
from pilothouse.cloud.gateway.statuses import Carried, accepted, ancestors, gateway_status, listener_set_status, parents
from pilothouse.cloud.provider import AddressNotUsable, CloudError, RetryAfter

Obj = dict[str, Any]

FINALIZER = "pilothouse.dev/gateway-cleanup"
#: So many times as long as it took to decide on a Gateway it is then left alone.
REST = 4.0
_STATUS_KINDS: dict[str, Kind] = {**ROUTES, "BackendTLSPolicy": BACKEND_TLS_POLICIES}


@dataclass(frozen=True, slots=True)
class _Said:
    """What a route or a policy is told from one Gateway, and of which generation of it: `entries` are (reference, conditions)."""

    generation: int
    entries: tuple[tuple[Obj, tuple[Told, ...]], ...]


class GatewayController(Controller):
    name: ClassVar[str] = "gateway-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.carrier = Carrier(context.options["gateways"], self.clock)
        self._served = Served(context)
        self._sources: Sources
        #: By Gateway: what there is to tell, by `kind/namespace/name`.
        self._said: dict[str, dict[str, _Said]] = {}
        self._memos: dict[str, Memo] = {}
        #: By Gateway: when it may be looked at again, and whether that is due already.
        self._rests_until: dict[str, float] = {}
        self._due: set[str] = set()

    async def run(self) -> None:
        await self._served.all_of([*REQUIRED, HTTP_ROUTES])
        self._sources = Sources(self.cache, self._concern)
        self._sources.start(kind for kind in OPTIONAL if self._served.has(kind))
        await super().run()

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._join_later(), self._repeat())

    async def _join_later(self) -> None:
        """Kinds whose definitions come after the start."""
        while missing := [kind for kind in OPTIONAL if kind not in self._sources.caches]:
            self._served.look()
            for kind in missing:
                if self._served.has(kind):
                    cache = self._sources.add(kind)
                    await self.context.synced([cache])
                    self._all()
            await self._served.change()

    async def _repeat(self) -> None:
        while True:
            await self.clock.sleep(REPEAT)
            self._all()

    def _concern(self, gateway: str) -> None:
        """A Gateway is to be looked at: soon, and less often the longer that takes, so that thousands of routes may come in a burst."""
        left = self._rests_until.get(gateway, 0.0) - self.clock.monotonic()
        if left <= 0:
            self.queue.add(f"Gateway/{gateway}")
        elif gateway not in self._due:
            self._due.add(gateway)
            self.queue.add_after(f"Gateway/{gateway}", left)

    def _all(self) -> None:
        for each in self._sources.caches[GATEWAYS].list():
            self.queue.add(f"Gateway/{key(each)}")

    async def sync(self, key: str) -> None:
        kind, _, name = key.partition("/")
        if kind == "Gateway":
            await self._sync_gateway(name)
        else:
            await self._sync_told(_STATUS_KINDS[kind], name)

    # --- Gateways ------------------------------------------------------------------------------------------------------------------------

    async def _sync_gateway(self, name: str) -> None:
        gateway = self._sources.get(GATEWAYS, *split_key(name))
        self._due.discard(name)
        if gateway is None or is_deleting(gateway) or not self._sources.is_ours(gateway):
            self._rests_until.pop(name, None)
            self._memos.pop(name, None)
            await self._drop(name, gateway)
            return
        gateway = await self._hold(gateway)
        began, sets = self.clock.monotonic(), self._sources.sets_of(name)
        out = outcome(gateway, sets, self._sources.routes_of(name, sets), self._sources, self._memos.setdefault(name, Memo()))
        now = self.clock.monotonic()
        self._rests_until[name] = now + REST * (now - began)
        carried, error = await self._carry(name, gateway, out)
        self._remember(name, out)  # after it, so that a route that is told to be accepted has its traffic
        await self._write_gateway(gateway, out, carried)
        if isinstance(error, RetryAfter):
            self.queue.add_after(f"Gateway/{name}", error.seconds)
        elif error is not None:
            raise TryAgain(str(error))
        elif carried.state is not None and not is_whole(carried.state):
            self.queue.add_after(f"Gateway/{name}", RECHECK)

    async def _hold(self, gateway: Obj) -> Obj:
        names = gateway["metadata"].get("finalizers") or []
        return gateway if FINALIZER in names else await self._set_finalizers(gateway, [*names, FINALIZER])

    async def _set_finalizers(self, gateway: Obj, names: Sequence[str]) -> Obj:
        meta = gateway["metadata"]
        patch = {"metadata": {"finalizers": names, "resourceVersion": meta["resourceVersion"]}}
        return await self.api.patch(GATEWAYS, meta["namespace"], meta["name"], patch, "merge")

    async def _drop(self, name: str, gateway: Obj | None) -> None:
        """A Gateway that is not ours, or not any more."""
        names = [] if gateway is None else gateway["metadata"].get("finalizers") or []
        if self.carrier.may_be_there(f"Gateway/{name}", FINALIZER in names):
            await self.carrier.delete(f"Gateway/{name}")
        self.carrier.forget(f"Gateway/{name}")
        for told in self._said.pop(name, {}):
            self.queue.add(told)
        if gateway is not None and FINALIZER in names:
            await self._set_finalizers(gateway, [n for n in names if n != FINALIZER])

    async def _carry(self, name: str, gateway: Obj, out: Outcome) -> tuple[Carried, CloudError | None]:
        """Have the cloud carry out the plan, unless it has. What became of it, and why it is to be tried again."""
        if not accepted(gateway, [each for each in out.listeners if each.owner_kind == "Gateway"]).status:
            if self.carrier.may_be_there(out.plan.key):
                await self.carrier.delete(out.plan.key)
            return Carried(), None
        try:
            return Carried(await self.carrier.ensure(out.plan)), None
        except AddressNotUsable as error:
            self.context.event(gateway, GATEWAYS, "Warning", "AddressNotUsable", str(error))
            return Carried(failure=no("Programmed", "AddressNotUsable", str(error))), error
        except RetryAfter as error:
            return Carried(failure=no("Programmed", "Pending", str(error))), error
        except CloudError as error:
            self.context.event(gateway, GATEWAYS, "Warning", "ProgrammingFailed", str(error))
            return Carried(failure=no("Programmed", "Pending", str(error))), error

    async def _write_gateway(self, gateway: Obj, out: Outcome, carried: Carried) -> None:
        now = rfc3339(self.clock.now())
        status = gateway_status(gateway, out, carried, now)
        self._tell_users(gateway, status)
        for each in (*out.sets, *out.refused_sets):
            await self._write(LISTENER_SETS, each, listener_set_status(each, gateway, out, carried, now))
        await self._write(GATEWAYS, gateway, status)

    def _tell_users(self, gateway: Obj, status: Obj) -> None:
        """Events, where the status says something new."""
        old = (gateway.get("status") or {}).get("conditions")
        for each in status["conditions"]:
            before = find_condition(old, each["type"])
            if before is not None and all(before.get(f) == each[f] for f in ("status", "reason", "message")):
                continue
            if each["type"] == "Programmed" and each["status"] == "True":
                where = ", ".join(a["value"] for a in status["addresses"])
                self.context.event(gateway, GATEWAYS, "Normal", "Programmed", f"Traffic is taken at {where}")
            elif each["reason"] in ("ListenersNotValid", "UnsupportedAddress", "InvalidParameters"):
                self.context.event(gateway, GATEWAYS, "Warning", each["reason"], each["message"])

    async def _write(self, kind: Kind, obj: Obj, status: Obj) -> None:
        if status != (obj.get("status") or {}):
            await self.api.update(kind, {**obj, "status": status}, "status")

    # --- routes and policies -------------------------------------------------------------------------------------------------------------

    def _remember(self, name: str, out: Outcome) -> None:
        """Keep what routes and policies are to be told; those to whom it is new come into the queue."""
        said: dict[str, _Said] = {}
        for (kind, route), entries in out.routes.items():
            found = self._sources.get(ROUTES[kind], *split_key(route))
            if found is not None:
                said[f"{kind}/{route}"] = _Said(found["metadata"]["generation"], tuple(entries))
        namespace, bare = split_key(name)
        here = {"group": GROUP, "kind": "Gateway", "namespace": namespace, "name": bare}
        for policy, verdict in out.policies.items():
            found = self._sources.get(BACKEND_TLS_POLICIES, *split_key(policy))
            if found is not None:
                said[f"BackendTLSPolicy/{policy}"] = _Said(found["metadata"]["generation"], ((here, verdict.told),))
        before = self._said.get(name, {})
        self._said[name] = said
        for each in dict.fromkeys((*before, *said)):
            if before.get(each) != said.get(each):
                self.queue.add(each)

    async def _sync_told(self, kind: Kind, name: str) -> None:
        found = self._sources.get(kind, *split_key(name))
        if found is None or is_deleting(found):
            return
        told = f"{kind.kind}/{name}"
        if kind == BACKEND_TLS_POLICIES:
            entries = [entry for gateway in sorted(self._said) for entry in self._entries(gateway, told, found)]
            member, made = "ancestors", ancestors(found, entries, rfc3339(self.clock.now()))
        else:
            gateways = [g for g in self._sources.gateways_of(found) if self._is_carried(g)]
            if any(self._is_awaited(gateway, told, found) for gateway in gateways):
                return  # it comes again when the Gateway has been looked at
            entries = [entry for gateway in gateways for entry in self._entries(gateway, told, found)]
            order = found["spec"].get("parentRefs") or []
            entries.sort(key=lambda entry: order.index(entry[0]))
            member, made = "parents", parents(found, entries, rfc3339(self.clock.now()))
        status = found.get("status") or {}
        if made != (status.get(member) or []):
            self._warn(kind, found, status.get(member) or [], made)
            await self.api.update(kind, {**found, "status": {**status, member: made}}, "status")

    def _is_carried(self, gateway: str) -> bool:
        found = self._sources.get(GATEWAYS, *split_key(gateway))
        return found is not None and not is_deleting(found) and self._sources.is_ours(found)

    def _is_awaited(self, gateway: str, told: str, found: Obj) -> bool:
        """Whether a Gateway has not been looked at since it, or the route, last changed."""
        if gateway not in self._said:
            return True
        said = self._said[gateway].get(told)
        return said is not None and said.generation != found["metadata"]["generation"]

    def _entries(self, gateway: str, told: str, found: Obj) -> list[tuple[Obj, tuple[Told, ...]]]:
        said = self._said.get(gateway, {}).get(told)
        if said is None:
            return []
        refs = found["spec"].get("parentRefs")
        return [entry for entry in said.entries if refs is None or entry[0] in refs]

    def _warn(self, kind: Kind, found: Obj, before: Sequence[Obj], after: Sequence[Obj]) -> None:
        """Events about what is wrong, when it comes up."""
        known = {(c["type"], c["reason"], c["message"]) for each in before for c in each["conditions"]}
        for each in after:
            for c in each["conditions"]:
                wrong = c["status"] == ("True" if c["type"] == "PartiallyInvalid" else "False")
                if wrong and (c["type"], c["reason"], c["message"]) not in known:
                    known.add((c["type"], c["reason"], c["message"]))
                    self.context.event(found, kind, "Warning", c["reason"], c["message"] or c["reason"])

"""Carries out the Ingresses of this controller's classes: one plan for each class, and each Ingress's status.loadBalancer.

Reference: "Ingress" (IngressClass, default IngressClass). At the start a class `pilothouse` is made (option `install_ingress_class`), the
default one where there is no other. Ingresses name their class in the spec or by the older annotation; those without one are taken
while a class of ours is the default. A class has a finalizer as long as the cloud may hold something for it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, ClassVar

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import SECRETS, SERVICES, Kind
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import annotations_of, is_deleting, key, split_key
from pilothouse.cloud.gateway.carrying import RECHECK, REPEAT, Carrier, is_whole
from pilothouse.cloud.gateway.ingress_plan import IngressOutcome, ingress_outcome
from pilothouse.cloud.gateway.kinds import CLASS, INGRESS_CLASSES, INGRESSES
from pilothouse.cloud.gateway.sources import asks_otherwise
from pilothouse.cloud.provider import CloudError, GatewayState, RetryAfter

Obj = dict[str, Any]

CONTROLLER = "pilothouse.dev/ingress-controller"
OPTION = "install_ingress_class"
FINALIZER = "pilothouse.dev/ingress-cleanup"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"


def class_of(ingress: Obj) -> str:
    """The class that an Ingress names; "" if none."""
    return ingress["spec"].get("ingressClassName") or annotations_of(ingress).get(CLASS_ANNOTATION) or ""


def services_of(ingress: Obj) -> set[str]:
    backends = [p["backend"] for r in ingress["spec"].get("rules") or () for p in (r.get("http") or {}).get("paths") or ()]
    backends += [ingress["spec"]["defaultBackend"]] if ingress["spec"].get("defaultBackend") else []
    return {f"{ingress['metadata']['namespace']}/{b['service']['name']}" for b in backends if b.get("service")}


def secrets_of(ingress: Obj) -> set[str]:
    return {f"{ingress['metadata']['namespace']}/{t.get('secretName') or ''}" for t in ingress["spec"].get("tls") or ()}


class IngressController(Controller):
    """Keys are the names of classes."""

    name: ClassVar[str] = "ingress-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.carrier = Carrier(context.options["gateways"], self.clock)
        #: By class: the Ingresses that have its address.
        self._served: dict[str, set[str]] = {}
        self._problems: dict[str, list[tuple[str, str]]] = {}
        #: By class: what was wrong with its ports.
        self._ports: dict[str, dict[str, str]] = {}
        self._classes = self.cache(INGRESS_CLASSES)
        self._ingresses = self.cache(INGRESSES)
        self._services = self.cache(SERVICES)
        self._secrets = self.cache(SECRETS)
        self._ingresses.add_index("class", lambda i: (class_of(i),))
        self._ingresses.add_index("service", services_of)
        self._ingresses.add_index("secret", secrets_of)
        self._classes.add_handler(self._class_changed)
        self._ingresses.add_handler(self._ingress_changed)
        self._services.add_handler(self._service_changed)
        self._secrets.add_handler(self._secret_changed)

    async def run(self) -> None:
        await self.context.synced([self._classes])
        if self.context.options.get(OPTION, True) and self._classes.get("", CLASS) is None:
            await self._offer()
        await super().run()

    async def _offer(self) -> None:
        default = not any(_is_default(each) for each in self._classes.list())
        meta: Obj = {"name": CLASS, **({"annotations": {DEFAULT_ANNOTATION: "true"}} if default else {})}
        try:
            await self.api.create(INGRESS_CLASSES, {"metadata": meta, "spec": {"controller": CONTROLLER}})
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    def loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._repeat(),)

    async def _repeat(self) -> None:
        while True:
            await self.clock.sleep(REPEAT)
            for each in self._classes.list():
                self.enqueue(each)

    # --- what a decision looks up ---------------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        return {SERVICES: self._services, SECRETS: self._secrets}[kind].get(namespace, name)

    def grants(self, namespace: str) -> Iterable[Obj]:
        return ()

    def policies(self, namespace: str, service: str) -> Iterable[Obj]:
        return ()

    # --- from changes to classes ------------------------------------------------------------------------------------------------------------

    def _class_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or asks_otherwise(old, new):
            self.enqueue(new or old or {})

    def _ingress_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or asks_otherwise(old, new):
            self._concern(each for each in (old, new) if each is not None)

    def _concern(self, ingresses: Iterable[Obj]) -> None:
        for name in {class_of(each) for each in ingresses}:
            for each in [name] if name else [c["metadata"]["name"] for c in self._classes.list() if _is_default(c)]:
                self.queue.add(each)

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or any(old["spec"].get(f) != new["spec"].get(f) for f in ("ports", "type")):
            self._concern(self._ingresses.indexed("service", key(new or old or {})))

    def _secret_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or old.get("data") != new.get("data"):
            self._concern(self._ingresses.indexed("secret", key(new or old or {})))

    # --- one class ---------------------------------------------------------------------------------------------------------------------------

    async def sync(self, name: str) -> None:
        found = self._classes.get("", name)
        ours = found is not None and found["spec"].get("controller") == CONTROLLER and not is_deleting(found)
        ingresses = self._of(found) if ours and found is not None else []
        if found is None or not ingresses:
            await self._drop(name, found)
            return
        await self._hold(found)
        out = ingress_outcome(found, ingresses, self)
        self._tell_problems(ingresses, out)
        state = await self._carry(name, found, ingresses, out)
        before = self._served.get(name, set())
        self._served[name] = {key(each) for each in ingresses}
        for each in ingresses:
            await self._write(each, state)
        await self._clear(before - self._served[name])

    def _of(self, ingress_class: Obj) -> list[Obj]:
        those = list(self._ingresses.indexed("class", ingress_class["metadata"]["name"]))
        those += self._ingresses.indexed("class", "") if _is_default(ingress_class) else ()
        return [each for each in those if not is_deleting(each)]

    async def _carry(self, name: str, found: Obj, ingresses: Sequence[Obj], out: IngressOutcome) -> GatewayState:
        try:
            state = await self.carrier.ensure(out.plan)
        except CloudError as error:
            if not isinstance(error, RetryAfter):
                for each in ingresses:
                    self.context.event(each, INGRESSES, "Warning", "ProgrammingFailed", str(error))
            raise TryAgain(str(error)) from error
        for edge, problem in state.problems.items():
            if self._ports.get(name, {}).get(edge) != problem:
                self.context.event(found, INGRESS_CLASSES, "Warning", "PortUnavailable", f"{edge}: {problem}")
        self._ports[name] = state.problems
        if not is_whole(state):
            self.queue.add_after(name, RECHECK)
        return state

    async def _drop(self, name: str, found: Obj | None) -> None:
        names = [] if found is None else found["metadata"].get("finalizers") or []
        if self.carrier.may_be_there(f"IngressClass/{name}", FINALIZER in names):
            await self.carrier.delete(f"IngressClass/{name}")
        self.carrier.forget(f"IngressClass/{name}")
        await self._clear(self._served.pop(name, set()))
        if found is not None and FINALIZER in names:
            await self._set_finalizers(found, [n for n in names if n != FINALIZER])

    async def _hold(self, found: Obj) -> None:
        names = found["metadata"].get("finalizers") or []
        if FINALIZER not in names:
            await self._set_finalizers(found, [*names, FINALIZER])

    async def _set_finalizers(self, found: Obj, names: Sequence[str]) -> None:
        meta = found["metadata"]
        patch = {"metadata": {"finalizers": names, "resourceVersion": meta["resourceVersion"]}}
        await self.api.patch(INGRESS_CLASSES, "", meta["name"], patch, "merge")

    # --- what is told --------------------------------------------------------------------------------------------------------------------------

    async def _write(self, ingress: Obj, state: GatewayState) -> None:
        ports = _ports(state)
        more = {"ports": ports} if ports else {}
        told = [{"ip" if a.get("type") == "IPAddress" else "hostname": a["value"], **more} for a in state.addresses]
        old: Obj = ingress.get("status") or {}
        if told != ((old.get("loadBalancer") or {}).get("ingress") or []):
            await self.api.update(INGRESSES, {**ingress, "status": {**old, "loadBalancer": {"ingress": told}}}, "status")

    async def _clear(self, ingresses: Iterable[str]) -> None:
        """Take the address from those that have gone to no class of ours."""
        for each in sorted(ingresses):
            found = self._ingresses.get(*split_key(each))
            elsewhere = any(each in served for served in self._served.values())
            if found is not None and not is_deleting(found) and not elsewhere:
                await self._write(found, GatewayState(()))
            self._problems.pop(each, None)

    def _tell_problems(self, ingresses: Iterable[Obj], out: IngressOutcome) -> None:
        for each in ingresses:
            problems = out.problems.get(key(each), [])
            for reason, message in problems:
                if (reason, message) not in self._problems.get(key(each), ()):
                    self.context.event(each, INGRESSES, "Warning", reason, message)
            self._problems[key(each)] = problems


def _ports(state: GatewayState) -> list[Obj]:
    """Ports that are not where they should be, and where else, if anywhere."""
    errors = dict.fromkeys(state.problems, "PortInUse") | {e: f"FoundOnPort{port}" for e, port in state.moved.items()}
    numbers = {edge: int(edge.rpartition("-")[2]) for edge in errors}
    return [
        {"port": numbers[e], "protocol": "TCP", "error": f"pilothouse.dev/{errors[e]}"}
        for e in sorted(errors, key=numbers.__getitem__)
    ]


def _is_default(ingress_class: Obj) -> bool:
    return annotations_of(ingress_class).get(DEFAULT_ANNOTATION) == "true"

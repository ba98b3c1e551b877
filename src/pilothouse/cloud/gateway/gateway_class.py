"""Installs the Gateway API, offers the class `pilothouse`, and accepts every GatewayClass that names this controller.

Reference: API reference, GatewayClass (conditions Accepted and SupportedVersion, supportedFeatures, the finalizer while Gateways use it). Parameters
are left out: a class that has some is not accepted. The option `install_gateway_api` (on) says whether definitions and class are made.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import annotations_of, is_deleting
from pilothouse.clock import rfc3339
from pilothouse.cloud.gateway.conditions import Told, merged, no, yes
from pilothouse.cloud.gateway.definitions import BUNDLE_VERSION, install, newest, release
from pilothouse.cloud.gateway.features import FEATURES
from pilothouse.cloud.gateway.kinds import CLASS, CONTROLLER, GATEWAY_CLASSES, GATEWAYS
from pilothouse.cloud.gateway.served import Served

Obj = dict[str, Any]

OPTION = "install_gateway_api"
IN_USE = "gateway-exists-finalizer.gateway.networking.k8s.io"
#: The oldest release whose definitions are understood.
_OLDEST = (1, 2)


class GatewayClassController(Controller):
    name: ClassVar[str] = "gateway-class-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._served = Served(context)

    async def run(self) -> None:
        await self.context.synced([self._served.cache])
        if self.context.options.get(OPTION, True):
            await install(self.api)
            await self._served.all_of([GATEWAY_CLASSES])
            await self._offer()
        await self._served.all_of([GATEWAY_CLASSES, GATEWAYS])
        self._classes = self.cache(GATEWAY_CLASSES)
        self._gateways = self.cache(GATEWAYS)
        self._gateways.add_index("class", lambda g: (g["spec"]["gatewayClassName"],))
        self._gateways.add_handler(self._gateway_changed)
        self.follow(self._classes)
        self._served.cache.add_handler(self._definition_changed)
        await super().run()

    async def _offer(self) -> None:
        body = {
            "metadata": {"name": CLASS},
            "spec": {"controllerName": CONTROLLER, "description": "The data plane of this cluster"},
        }
        try:
            await self.api.create(GATEWAY_CLASSES, body)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    def _gateway_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, after = (None if each is None else each["spec"]["gatewayClassName"] for each in (old, new))
        if before != after:
            for name in (before, after):
                if name is not None:
                    self.queue.add(name)

    def _definition_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and release(old) != release(new):
            for each in self._classes.list():
                self.enqueue(each)

    async def sync(self, key: str) -> None:
        found = self._classes.get("", key)
        if found is None or found["spec"]["controllerName"] != CONTROLLER:
            return
        await self._hold(found)
        if is_deleting(found):
            return
        old: Obj = found.get("status") or {}
        now = rfc3339(self.clock.now())
        status = {
            **old,
            "conditions": merged(old.get("conditions"), self._told(found), found["metadata"]["generation"], now),
            "supportedFeatures": [{"name": name} for name in FEATURES],
        }
        if status != old:
            await self.api.update(GATEWAY_CLASSES, {**found, "status": status}, "status")

    def _told(self, found: Obj) -> list[Told]:
        strange = sorted(
            {
                annotations_of(each).get(BUNDLE_VERSION) or "no version"
                for each in self._served.definitions()
                if not _OLDEST <= release(each)[:2] <= newest()[:2]
            }
        )
        known = "v{}.{} to v{}.{} are supported".format(*_OLDEST, *newest()[:2])
        version = (
            yes("SupportedVersion")
            if not strange
            else no("SupportedVersion", "UnsupportedVersion", f"{', '.join(strange)}; {known}")
        )
        if found["spec"].get("parametersRef"):
            return [no("Accepted", "InvalidParameters", "parametersRef is not supported"), version]
        return [yes("Accepted"), version]

    async def _hold(self, found: Obj) -> None:
        """A class does not go while it is used."""
        meta = found["metadata"]
        names = meta.get("finalizers") or []
        used = any(True for _ in self._gateways.indexed("class", meta["name"]))
        if used == (IN_USE in names) or (used and is_deleting(found)):
            return
        wanted = [*names, IN_USE] if used else [n for n in names if n != IN_USE]
        patch = {"metadata": {"finalizers": wanted, "resourceVersion": meta["resourceVersion"]}}
        await self.api.patch(GATEWAY_CLASSES, "", meta["name"], patch, "merge")

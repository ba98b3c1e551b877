"""A hub, the controllers of Gateways and Ingresses on a cloud that only keeps entries, and few words to use them. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.interface import Transport
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.manager import ControllerManager, Options
from pilothouse.clock import VirtualClock
from pilothouse.cloud.component import make_manager
from pilothouse.cloud.gateway.kinds import GATEWAYS
from pilothouse.cloud.provider import CloudError, GatewayPlan, GatewayState
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore
from pilothouse.testing.cloud import FakeProvider

Obj = dict[str, Any]
CONTROLLERS = ("gateway-class-controller", "gateway-controller", "ingress-controller")


class Recorded:
    """Gateways that remember the last plan of each key; `say` is asked what becomes of a plan."""

    def __init__(self) -> None:
        self.plans: dict[str, GatewayPlan] = {}
        self.calls = 0
        self.failure: CloudError | None = None
        self.problems: dict[str, str] = {}
        self.moved: dict[str, int] = {}

    async def ensure(self, plan: GatewayPlan) -> GatewayState:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        self.plans[plan.key] = plan
        number = sorted(self.plans).index(plan.key) + 1
        return GatewayState(({"type": "IPAddress", "value": f"127.9.0.{number}"},), self.problems, self.moved)

    async def ensure_deleted(self, key: str) -> None:
        self.calls += 1
        self.plans.pop(key, None)


class Recording(FakeProvider):
    """A provider of nothing but gateways."""

    def __init__(self, clock: VirtualClock, gateways: Recorded) -> None:
        super().__init__(clock, without=("instances", "load_balancers", "routes"))
        self._gateways = gateways

    def gateways(self) -> Recorded:
        return self._gateways


class Stage:
    def __init__(self, hub: ApiHub, clock: VirtualClock) -> None:
        self.hub = hub
        self.clock = clock
        self.admin: Transport = hub.transport("kubernetes-admin", "system:masters")
        self.cloud = Recorded()
        #: Whom the controllers act as: a user and groups.
        self.identity: tuple[str, ...] = ("system:cloud-controller-manager", "system:masters")
        self._tasks: list[asyncio.Task[None]] = []

    def manager(self, **settings: Any) -> ControllerManager:
        return make_manager(
            Recording(self.clock, self.cloud),
            self.hub.transport(*self.identity),
            self.clock,
            Options(controllers=CONTROLLERS, leader_elect=False, settings=settings),
        )

    async def begin(self, **settings: Any) -> None:
        self._manager = self.manager(**settings)
        self._tasks.append(asyncio.create_task(self._manager.run()))

    def syncs(self) -> int:
        """How often the controller of Gateways had something to look at."""
        found = re.search(r'workqueue_adds_total\{name="gateway-controller"\} (\d+)', self._manager.metrics())
        return int(found.group(1)) if found else 0

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def ready(self) -> None:
        """Wait until the Gateway API is served."""
        await self.until(lambda: self._get(GATEWAYS.path(), 200))

    async def _get(self, path: str, status: int) -> bool:
        return (await self.admin.request("GET", path)).status == status

    async def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> None:
        await self.clock.run_until(condition, seconds)

    async def settle(self, seconds: float = 5.0) -> None:
        await self.clock.advance(seconds)

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> Obj:
        answer = await self.admin.request("GET", kind.path(namespace, name))
        assert answer.status == 200, answer.body
        return answer.body

    async def create(self, kind: Kind, name: str, spec: Obj | None = None, namespace: str = "default", **more: Any) -> Obj:
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, **more.pop("metadata", {})}, **more}
        if spec is not None:
            body["spec"] = spec
        answer = await self.admin.request("POST", kind.path(namespace), body=body)
        assert answer.status == 201, answer.body.get("message")
        return answer.body

    async def change(self, kind: Kind, name: str, patch: Obj, namespace: str = "default", sub: str = "") -> Obj:
        answer = await self.admin.request(
            "PATCH", kind.path(namespace, name, sub), body=patch, content_type="application/merge-patch+json"
        )
        assert answer.status == 200, answer.body.get("message")
        return answer.body

    async def remove(self, kind: Kind, name: str, namespace: str = "default") -> None:
        answer = await self.admin.request("DELETE", kind.path(namespace, name))
        assert answer.status in (200, 202), answer.body

    async def events(self, name: str) -> set[tuple[str, str]]:
        found = (await self.admin.request("GET", "/api/v1/events")).body["items"]
        return {(e["type"], e["reason"]) for e in found if e["involvedObject"]["name"] == name}


@contextlib.asynccontextmanager
async def a_stage(certificates: Path, start: bool = True, **settings: Any) -> AsyncIterator[Stage]:
    clock = VirtualClock()
    hub = ApiHub(Settings(certificates, listen=False), clock=clock, store=MemoryStore(clock))
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        stage = Stage(hub, clock)
        if start:
            await stage.begin(**settings)
            await stage.ready()
        try:
            yield stage
        finally:
            await stage.end()


def told(conditions: list[Obj]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in conditions}

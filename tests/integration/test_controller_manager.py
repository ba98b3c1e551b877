"""The manager as a process of its own: over HTTPS, with its controllers' own accounts, in several replicas, with faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.http import HttpTransport
from pilothouse.client.kubeconfig import load
from pilothouse.client.reconcile.entries import Entry, Program
from pilothouse.client.reconcile.kit import Controller
from pilothouse.client.reconcile.manager import ControllerManager, Options
from pilothouse.clock import Clock, SystemClock, VirtualClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.controllers.registry import ENTRIES, PROGRAM
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]


@contextlib.asynccontextmanager
async def a_hub(certificates: Path, clock: Clock, listen: bool = False) -> AsyncIterator[ApiHub]:
    hub = ApiHub(Settings(certificates, port=0, listen=listen), clock=clock, store=MemoryStore(clock))
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        yield hub


@contextlib.asynccontextmanager
async def running(*managers: ControllerManager) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(m.run()) for m in managers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def in_process(hub: ApiHub, program: Program = PROGRAM, **options: Any) -> ControllerManager:
    settings = {"root_ca": "PEM"}
    return ControllerManager(
        program,
        lambda token: hub.transport("system:kube-controller-manager"),
        hub.clock,
        Options(settings=settings, **options),
        hub.account_transport,
    )


async def has_account(hub: ApiHub, namespace: str) -> bool:
    return hub.server.cache("", "serviceaccounts").get(namespace, "default") is not None


async def create(hub: ApiHub, path: str, body: Obj) -> None:
    answer = await hub.transport("admin", "system:masters").request("POST", path, body=body)
    assert answer.status == 201, answer.body


async def patiently(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_each_controller_acts_as_its_own_account_with_its_own_token(pilothouse_certificates: Path, tmp_path: Path) -> None:
    async with a_hub(pilothouse_certificates, SystemClock(), listen=True) as hub:
        hub.write_kubeconfig(tmp_path / "kubeconfig")
        connection = load(tmp_path / "kubeconfig")

        def make(token: str | None) -> HttpTransport:
            return HttpTransport(connection if token is None else connection.as_bearer(token))

        options = Options(use_service_account_credentials=True, leader_elect=True)
        template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        body = {
            "metadata": {"name": "d"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": template},
        }

        async def pods_are_there() -> bool:
            return len(list(hub.server.cache("", "pods").list("default"))) == 2

        async with running(ControllerManager(PROGRAM, make, SystemClock(), options)):
            await create(hub, "/apis/apps/v1/namespaces/default/deployments", body)
            await patiently(pods_are_there)
        accounts = hub.server.cache("", "serviceaccounts")
        assert accounts.get("kube-system", "replicaset-controller")
        assert accounts.get("kube-system", "deployment-controller")


async def test_one_replica_works_and_another_takes_over(pilothouse_certificates: Path) -> None:
    clock = VirtualClock()
    async with a_hub(pilothouse_certificates, clock) as hub:
        second = in_process(hub, identity="second", use_service_account_credentials=True)
        async with contextlib.AsyncExitStack() as stack:
            first = running(in_process(hub, identity="first", use_service_account_credentials=True))
            await first.__aenter__()
            await clock.advance(5)
            await stack.enter_async_context(running(second))
            await clock.advance(30)
            assert await has_account(hub, "default")
            assert second.health == {}, "it waits"
            await first.__aexit__(None, None, None)
            await create(hub, "/api/v1/namespaces", {"metadata": {"name": "later"}})
            await clock.run_until(lambda: has_account(hub, "later"), 30)
            assert second.health["serviceaccount-controller"] == ""


class Broken(Controller):
    name = "broken-controller"
    starts = 0

    async def run(self) -> None:
        Broken.starts += 1
        raise RuntimeError("no luck")


async def test_a_controller_that_fails_is_started_again_and_hurts_no_other(
    pilothouse_certificates: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Entry("broken-controller", "", "tests.integration.test_controller_manager:Broken", "")
    monkeypatch.setattr(Entry, "load", lambda self, load=Entry.load: Broken if self is broken else load(self))
    clock = VirtualClock()
    async with a_hub(pilothouse_certificates, clock) as hub:
        manager = in_process(
            hub, Program("kube-controller-manager", (*ENTRIES, broken)), leader_elect=False, use_service_account_credentials=True
        )
        async with running(manager):
            await clock.advance(10)
            assert Broken.starts == 4, "after 1, 2 and 4 seconds"
            assert "no luck" in manager.health["broken-controller"]
            assert await has_account(hub, "default")
            assert "broken-controller failed" in caplog.text


async def test_a_manager_tells_how_its_controllers_and_their_queues_are(pilothouse_certificates: Path) -> None:
    async with a_hub(pilothouse_certificates, SystemClock()) as hub:
        manager = in_process(hub, controllers=("serviceaccount-controller",), leader_elect=False)
        assert "leader_election_master_status" in manager.metrics() and manager.checks() == {}
        task = asyncio.create_task(manager.run())
        await create(hub, "/api/v1/namespaces", {"metadata": {"name": "n"}})
        await patiently(lambda: has_account(hub, "n"))
        assert manager.checks() == {"serviceaccount-controller": True}
        told = manager.metrics()
        assert 'running_managed_controllers{manager="kube-controller-manager",name="serviceaccount-controller"} 1' in told
        assert 'leader_election_master_status{name="kube-controller-manager"} 1' in told
        assert 'workqueue_adds_total{name="serviceaccount-controller"}' in told
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

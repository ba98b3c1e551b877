"""The client against the hub: over HTTPS and in process, on every store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from etcd_server import EtcdServer

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.allocators import NodePortRange
from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import CONFIG_MAPS, EVENTS, LEASES, NAMESPACES, SERVICES, Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.http import HttpTransport
from pilothouse.client.informer import Informer
from pilothouse.client.interface import Obj, Transport, WatchEvent
from pilothouse.client.kubeconfig import load
from pilothouse.client.leaderelection import LeaderElector
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub
from pilothouse.store.interface import Store
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore

CLOCK = SystemClock()


async def empty_etcd(server: EtcdServer) -> Store:
    from pilothouse.store.etcd import EtcdStore

    store = EtcdStore([server.endpoint], CLOCK)
    await store.start()
    for kv in (await store.range("")).kvs:
        await store.delete(kv.key)
    await store.close()
    return EtcdStore([server.endpoint], CLOCK)


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path, pilothouse_certificates: Path) -> AsyncIterator[ApiHub]:
    if request.param == "memory":
        store: Store = MemoryStore(CLOCK)
    elif request.param == "sqlite":
        store = SqliteStore(tmp_path / "data", CLOCK)
    else:
        store = await empty_etcd(request.getfixturevalue("etcd_server"))
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=CLOCK, store=store)
    await hub.server.start()
    yield hub
    await hub.server.stop()


@pytest.fixture(params=["https", "in-process"])
async def transport(request: pytest.FixtureRequest, hub: ApiHub, tmp_path: Path) -> AsyncIterator[Transport]:
    if request.param == "https":
        hub.write_kubeconfig(tmp_path / "kubeconfig")
        made: Transport = HttpTransport(load(tmp_path / "kubeconfig"))
    else:
        made = hub.transport("admin", "system:masters")
    yield made
    await made.close()


def config_map(name: str, **data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_the_life_of_an_object(transport: Transport) -> None:
    client = Client(transport, CLOCK)
    made = await client.create(CONFIG_MAPS, config_map("a", x="1"))
    changed = await client.update(CONFIG_MAPS, {**made, "data": {"x": "2"}})
    with pytest.raises(StatusError) as error:
        await client.update(CONFIG_MAPS, made)
    assert error.value.reason == "Conflict"
    patched = await client.patch(CONFIG_MAPS, "a", {"data": {"y": "3"}}, "default", "merge")
    assert patched["data"] == {"x": "2", "y": "3"}
    applied = await client.apply(CONFIG_MAPS, config_map("a", z="4"), "me")
    assert applied["data"] == {"x": "2", "y": "3", "z": "4"}
    assert int(made["metadata"]["resourceVersion"]) < int(changed["metadata"]["resourceVersion"])
    await client.delete(CONFIG_MAPS, "a", "default")
    assert await client.find(CONFIG_MAPS, "a", "default") is None


async def test_lists_in_pages_are_of_one_moment(transport: Transport) -> None:
    client = Client(transport, CLOCK)
    for n in range(5):
        await client.create(CONFIG_MAPS, config_map(f"c{n}"))
    seen = []
    async for page in client.list_pages(CONFIG_MAPS, "default", limit=2):
        seen += [o["metadata"]["name"] for o in page.items if o["metadata"]["name"] != "kube-root-ca.crt"]
        if "c3" not in seen:
            await client.delete(CONFIG_MAPS, "c3", "default")
            seen.append("c3 deleted")
    assert [s for s in seen if s != "c3 deleted"] == [f"c{n}" for n in range(5)]


async def test_an_informer_follows_the_hub(transport: Transport) -> None:
    client = Client(transport, CLOCK)
    await client.create(CONFIG_MAPS, config_map("before"))
    informer = Informer(transport, CLOCK, "/api/v1/namespaces/default/configmaps")
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(informer.wait_synced(), 10)
    assert informer.get("default", "before") is not None
    made = await client.create(CONFIG_MAPS, config_map("after"))
    await until(lambda: informer.get("default", "after") is not None)
    found = informer.get("default", "after")
    assert found is not None and found["metadata"] == made["metadata"] and found["kind"] == "ConfigMap"
    await client.delete(CONFIG_MAPS, "before", "default")
    await until(lambda: informer.get("default", "before") is None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_watch_tells_what_came_after_its_revision(transport: Transport) -> None:
    client = Client(transport, CLOCK)
    made = await client.create(CONFIG_MAPS, config_map("first"))
    await client.update(CONFIG_MAPS, {**made, "data": {"x": "1"}})
    told = []
    async with asyncio.timeout(10), contextlib.aclosing(follow(client, made["metadata"]["resourceVersion"])) as batches:
        async for batch in batches:
            told += [(e.type, e.object["data"]) for e in batch if e.type != "BOOKMARK"]
            if len(told) == 1:
                await client.delete(CONFIG_MAPS, "first", "default")
            if len(told) == 2:
                break
    assert told == [("MODIFIED", {"x": "1"}), ("DELETED", {"x": "1"})]


async def follow(client: Client, revision: str) -> AsyncGenerator[list[WatchEvent], None]:
    async for batch in client.watch(CONFIG_MAPS, "default", resourceVersion=revision, fieldSelector="metadata.name=first"):
        yield batch


async def test_leading_and_events(transport: Transport) -> None:
    client, recorder = Client(transport, CLOCK), EventRecorder(transport, CLOCK, "tester")
    led = asyncio.Event()

    async def lead() -> None:
        namespace = await client.get(NAMESPACES, "default")
        recorder.record(namespace, "Normal", "Led", "it leads")
        recorder.record(namespace, "Normal", "Led", "it leads")
        led.set()
        await recorder.run()

    task = asyncio.create_task(LeaderElector(transport, CLOCK, "default", "tester", "me").run(lead))
    await asyncio.wait_for(led.wait(), 10)
    lease = await client.get(LEASES, "tester", "default")
    assert lease["spec"]["holderIdentity"] == "me" and lease["spec"]["leaseDurationSeconds"] == 15
    async with asyncio.timeout(10):
        while not (events := [e for e in await client.list(EVENTS, "default") if e["reason"] == "Led" and e["count"] == 2]):
            await asyncio.sleep(0.02)
    assert events[0]["involvedObject"]["kind"] == "Namespace" and events[0]["source"] == {"component": "tester"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not (await client.get(LEASES, "tester", "default"))["spec"].get("holderIdentity")


async def test_two_hubs_on_one_etcd_see_each_others_writes(
    etcd_server: EtcdServer, tmp_path: Path, pilothouse_certificates: Path
) -> None:
    from pilothouse.store.etcd import EtcdStore

    stores = [await empty_etcd(etcd_server), EtcdStore([etcd_server.endpoint], CLOCK)]
    hubs = [ApiHub(Settings(pilothouse_certificates, listen=False, shared_store=True), clock=CLOCK, store=s) for s in stores]
    for hub in hubs:
        await hub.server.start()
    one, two = (Client(hub.transport("admin", "system:masters"), CLOCK) for hub in hubs)
    for n in range(20):
        made = await one.create(CONFIG_MAPS, config_map(f"c{n}"))
        assert await two.get(CONFIG_MAPS, f"c{n}", "default") == made, "a consistent read right after the write"
        await two.update(CONFIG_MAPS, {**made, "data": {"n": str(n)}})
        assert len([o for o in await one.list(CONFIG_MAPS, "default") if o.get("data", {}).get("n") == str(n)]) == 1
    for hub in hubs:
        await hub.server.stop()


def node_port_service(name: str, port: int = 0) -> Obj:
    shown = {"port": 80, **({"nodePort": port} if port else {})}
    metadata = {"name": name, "namespace": "default"}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"type": "NodePort", "ports": [shown]}}


async def test_two_hubs_on_one_etcd_never_hand_out_the_same_node_port(
    etcd_server: EtcdServer, tmp_path: Path, pilothouse_certificates: Path
) -> None:
    from pilothouse.store.etcd import EtcdStore

    stores = [await empty_etcd(etcd_server), EtcdStore([etcd_server.endpoint], CLOCK)]
    settings = Settings(pilothouse_certificates, listen=False, shared_store=True, node_ports=NodePortRange(30000, 30011))
    hubs = [ApiHub(settings, clock=CLOCK, store=s) for s in stores]
    for hub in hubs:
        await hub.server.start()
    clients = [Client(hub.transport("admin", "system:masters"), CLOCK) for hub in hubs]

    wanted = [clients[n % 2].create(SERVICES, node_port_service(f"w{n}", 30011)) for n in range(6)]
    told = await asyncio.gather(*wanted, return_exceptions=True)
    refused = [t for t in told if isinstance(t, StatusError)]
    assert len(refused) == 5 and all("provided port is already allocated" in r.message for r in refused)

    made = await asyncio.gather(*(clients[n % 2].create(SERVICES, node_port_service(f"any{n}")) for n in range(11)))
    assert sorted(s["spec"]["ports"][0]["nodePort"] for s in made) == list(range(30000, 30011))
    with pytest.raises(StatusError, match="range is full"):
        await clients[0].create(SERVICES, node_port_service("late"))
    assert (await stores[0].range("/registry/ranges/")).kvs == [], "no claim outlives its request"
    for hub in hubs:
        await hub.server.stop()


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)

"""Services of type LoadBalancer on this machine carry traffic, with either engine."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

import aiohttp
from etcd_server import free_port
from town import HTTP, TCP, UDP, Town, ask_udp, connected, eventually, name_at

from pilothouse.client.client import SERVICES


async def two_pods(town: Town, *services: str) -> None:
    for name in ("one", "two"):
        await town.pod(name)
    for service in services:
        await town.endpoints(service, "one", "two")


async def test_a_load_balancer_answers_from_all_pods(town: Town) -> None:
    await two_pods(town, "web")
    await town.service("web")
    address = await town.address("web")
    assert ipaddress.ip_address(address).is_loopback
    names = set()
    for _ in range(4):
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}:8080/") as answer:
            assert answer.status == 200
            names.add(await answer.text())
    assert names == {"one", "two"}


async def test_tcp_and_udp_are_carried_on_the_same_port(town: Town) -> None:
    await town.pod("one")
    await town.endpoints("web", "one")
    await town.service("web", TCP, UDP)
    ingress = await town.ingress("web")
    assert ingress["ports"] == [{"port": 7000, "protocol": "TCP"}, {"port": 7000, "protocol": "UDP"}]
    assert await name_at(ingress["ip"], 7000) == "one"
    assert await ask_udp(ingress["ip"], 7000, b"hello") == b"one:hello"


async def test_several_load_balancers_are_on_the_same_port(town: Town) -> None:
    await two_pods(town)
    for name, pod in (("a", "one"), ("b", "two")):
        await town.endpoints(name, pod)
        await town.service(name, TCP)
    assert [await name_at(await town.address(name), 7000) for name in ("a", "b")] == ["one", "two"]


async def test_clients_outside_of_the_source_ranges_are_refused(town: Town) -> None:
    await two_pods(town, "web")
    await town.service("web", TCP, loadBalancerSourceRanges=["127.9.8.0/24"])
    address = await town.address("web")
    assert await name_at(address, 7000, source="127.9.8.7") in ("one", "two")
    assert await name_at(address, 7000, source="127.9.9.7") == ""
    await town.client.patch(SERVICES, "web", {"spec": {"loadBalancerSourceRanges": None}}, "default", "merge")

    async def opened() -> bool:
        return await name_at(address, 7000, source="127.9.9.7") != ""

    await eventually(opened)


async def test_a_client_comes_to_the_same_pod_where_that_is_wanted(town: Town) -> None:
    await two_pods(town, "web")
    await town.service("web", TCP, sessionAffinity="ClientIP")
    address = await town.address("web")
    for source in ("127.9.8.1", "127.9.8.2", "127.9.8.3"):
        assert len({await name_at(address, 7000, source) for _ in range(5)}) == 1


async def test_new_endpoints_take_effect_at_once_and_open_connections_stay(town: Town) -> None:
    await two_pods(town)
    await town.endpoints("web", "one")
    await town.service("web", TCP)
    address = await town.address("web")
    async with connected(address, 7000) as (reader, writer):
        assert await reader.readline() == b"one\n"
        began = town.clock.monotonic()
        await town.endpoints("web", "two")

        async def moved() -> bool:
            return await name_at(address, 7000) == "two"

        await eventually(moved)
        assert town.clock.monotonic() - began < 1.0  # 0.2 s is the promise; a busy machine may take longer
        for _ in range(5):
            assert await name_at(address, 7000) == "two"
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"


async def test_a_load_balancer_without_endpoints_refuses(town: Town) -> None:
    await town.service("web", TCP)
    assert await name_at(await town.address("web"), 7000) == ""


async def test_deleting_a_service_ends_its_load_balancer(town: Town) -> None:
    await two_pods(town, "web")
    await town.service("web", TCP)
    address = await town.address("web")
    assert await name_at(address, 7000) != ""
    await town.client.delete(SERVICES, "web", "default")

    async def gone() -> bool:
        return await town.client.find(SERVICES, "web", "default") is None

    await eventually(gone)  # the finalizer is taken when nothing is left
    assert await name_at(address, 7000) == ""
    server = await asyncio.start_server(lambda r, w: None, address, 7000)
    server.close()


async def test_a_service_that_becomes_internal_loses_its_address(town: Town) -> None:
    await two_pods(town, "web")
    await town.service("web", TCP)
    address = await town.address("web")
    await town.client.patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "default", "merge")

    async def gone() -> bool:
        return await name_at(address, 7000) == ""

    await eventually(gone)
    assert (await town.client.get(SERVICES, "web", "default"))["status"]["loadBalancer"] == {}


async def test_addresses_stay_across_a_restart(town: Town) -> None:
    await two_pods(town, "a", "b", "c")
    for name in ("a", "b", "c"):
        await town.service(name, TCP)
    had = {name: await town.address(name) for name in ("a", "b", "c")}
    await town.client.delete(SERVICES, "a", "default")
    await town.stop()
    await town.start()

    async def carried() -> bool:
        return all([await name_at(had[name], 7000) for name in ("b", "c")])

    await eventually(carried)
    assert {name: await town.address(name) for name in ("b", "c")} == {name: had[name] for name in ("b", "c")}


async def test_a_port_that_is_taken_is_told_and_found_elsewhere(town: Town) -> None:
    await two_pods(town, "web")
    network = town.config.split("addresses: ")[1].split()[0]
    address = str(next(ipaddress.ip_network(network).hosts()))
    server = await asyncio.start_server(lambda r, w: None, address, 7000)
    async with server:
        await town.service("web", TCP, HTTP, loadBalancerIP=address)
        ingress = await town.ingress("web")
        assert ingress["ip"] == address
        assert ingress["ports"] == [
            {"port": 7000, "protocol": "TCP", "error": "pilothouse.dev/FoundOnPort47000"},
            {"port": 8080, "protocol": "TCP"},
        ]
        assert await name_at(address, 47000) in ("one", "two")

        async def told() -> list[str]:
            return await town.events("LoadBalancerPortMoved")

        sentence = f"Port 7000/TCP is at {address}:47000: somebody else listens on {address}:7000"
        assert await eventually(told) == [sentence]
        service = await town.client.get(SERVICES, "web", "default")
        assert [(c["type"], c["status"], c["message"]) for c in service["status"]["conditions"]] == [
            ("LoadBalancerPortsError", "True", sentence)
        ]


async def test_an_address_of_somebody_else_is_an_event_that_says_so(town: Town) -> None:
    await town.service("web", TCP, loadBalancerIP="192.0.2.1")

    async def told() -> list[str]:
        return await town.events("SyncLoadBalancerFailed")

    message = (await eventually(told))[0]
    assert "192.0.2.1 is not in 127." in message


async def test_where_there_is_one_address_load_balancers_differ_by_port_and_keep_it(
    pilothouse_certificates: Path, tmp_path: Path, engine: str
) -> None:
    port = free_port()
    wanted = {"name": "tcp", "port": port}
    town = Town(pilothouse_certificates, tmp_path, engine, "ports: elsewhere")
    await town.start()
    try:
        await town.pod("one")
        await town.pod("two")
        found = {}
        for name, pod in (("a", "one"), ("b", "two")):
            await town.endpoints(name, pod)
            await town.service(name, wanted)
            ingress = await town.ingress(name)
            assert ingress["ip"] == "127.0.0.1"
            found[name] = int(ingress["ports"][0].get("error", f"FoundOnPort{port}").rpartition("Port")[2])
        assert found["a"] == port != found["b"]
        await town.stop()
        await town.start()

        async def carried() -> bool:
            return [await name_at("127.0.0.1", found[name]) for name in ("a", "b")] == ["one", "two"]

        await eventually(carried)
    finally:
        await town.stop()
        await asyncio.gather(*(p.stop() for p in town.pods.values()))

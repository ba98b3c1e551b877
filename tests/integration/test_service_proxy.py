"""Cluster IPs and node ports beside a whole cluster, by real connections, with each backend in a network of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from private_network import private_network, problem

from pilothouse.client import loopback
from pilothouse.clock import SystemClock, rfc3339
from pilothouse.nodes.proxy.choose import Mode, choose
from pilothouse.nodes.proxy.nftables import Nftables
from pilothouse.nodes.proxy.proxier import Proxier
from pilothouse.nodes.proxy.ways import Way
from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
CORE, DISCOVERY = "/api/v1/namespaces/default", "/apis/discovery.k8s.io/v1/namespaces/default"
RANGE = "10.96.0.0/16"
#: Backends, and whether cluster IPs are reached at their own addresses.
BACKENDS: dict[str, tuple[Mode, bool]] = {
    "userspace": ("userspace", False),
    "userspace-routes": ("userspace", True),
    "nftables": ("nftables", True),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    why = problem("ip", "nft")
    if not why:
        with private_network():
            yield request.param
    elif request.param == "userspace":
        yield request.param
    else:
        pytest.skip(why)


class Echo(asyncio.DatagramProtocol):
    """Answers each datagram with a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(self.name.encode(), addr)


class Net:
    """A cluster with a proxier, endpoints that say who they are, and connections."""

    def __init__(self, cluster: TestCluster, proxier: Proxier, own: bool) -> None:
        self.cluster, self.proxier, self.own = cluster, proxier, own
        self._closing = contextlib.AsyncExitStack()

    async def send(self, method: str, path: str, body: Any = None) -> Obj:
        answer = await self.cluster.admin.request(method, path, body=body)
        assert answer.status < 300, answer.body
        return answer.body

    async def service(self, name: str = "web", **spec: Any) -> Obj:
        spec = {"ports": [{"name": "http", "port": 80}], **spec}
        return await self.send("POST", f"{CORE}/services", {"metadata": {"name": name}, "spec": spec})

    async def endpoints(self, *endpoints: Obj, service: str = "web", protocol: str = "TCP", port: int = 8080) -> None:
        ports = [{"name": "http", "port": port, "protocol": protocol}]
        meta = {"name": service, "labels": {"kubernetes.io/service-name": service}}
        obj = {"metadata": meta, "addressType": "IPv4", "endpoints": list(endpoints), "ports": ports}
        known = await self.cluster.admin.request("GET", f"{DISCOVERY}/endpointslices/{service}")
        if known.status == 404:
            await self.send("POST", f"{DISCOVERY}/endpointslices", obj)
        else:
            await self.send("PUT", f"{DISCOVERY}/endpointslices/{service}", obj)

    async def serve(self, address: str, port: int = 8080) -> None:
        """An endpoint's program at its twin, over both protocols."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(address.encode())
            writer.close()

        server = await asyncio.start_server(answer, loopback.twin(address), port)
        self._closing.callback(server.close)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Echo(address), (loopback.twin(address), port))
        self._closing.callback(transport.close)

    def at(self, service: Obj) -> tuple[str, int]:
        """Where a Service's cluster IP is found."""
        address, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]
        return (address, port) if self.own else (loopback.twin(address), loopback.port(port))

    async def ask(self, where: tuple[str, int], source: str = "") -> str:
        """Who answers there; "refused" if nobody does."""
        try:
            reader, writer = await asyncio.open_connection(*where, local_addr=(source, 0) if source else None)
            async with asyncio.timeout(5):
                told = (await reader.read()).decode()
            writer.close()
            return told or "nothing"
        except OSError as error:
            assert not isinstance(error, TimeoutError)
            return "refused"

    async def until(self, where: tuple[str, int], wanted: set[str]) -> None:
        """Ask until exactly these have answered in 20 tries one after the other."""
        async with asyncio.timeout(20):
            while {await self.ask(where) for _ in range(20)} != wanted:
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._closing.aclose()
        await asyncio.sleep(0)


@pytest.fixture
async def net(backend: str, cluster: TestCluster) -> AsyncIterator[Net]:
    mode, own = BACKENDS[backend]
    chosen = await choose(mode, SystemClock(), RANGE)
    proxier = Proxier(cluster.admin, cluster.clock, chosen.backend)
    task = asyncio.create_task(proxier.run())
    net = Net(cluster, proxier, own)
    for n in (1, 2, 3):
        await net.serve(f"10.70.0.{n}")
    yield net
    await net.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await chosen.stop()


def one(n: int, node: str = "node-1", **conditions: bool) -> Obj:
    return {"addresses": [f"10.70.0.{n}"], "nodeName": node, "conditions": {"ready": True, **conditions}}


ONE, TWO, THREE = "10.70.0.1", "10.70.0.2", "10.70.0.3"


async def test_a_cluster_ip_leads_to_endpoints_and_follows_them(net: Net) -> None:
    web = net.at(await net.service())
    assert await net.ask(web) == "refused"
    await net.endpoints(one(1), one(2))
    await net.until(web, {ONE, TWO})
    await net.endpoints(one(2), one(3, "node-2"))
    await net.until(web, {TWO, THREE})
    await net.endpoints(one(1, ready=False))
    await net.until(web, {"refused"})
    await net.endpoints(one(1, ready=False, serving=True, terminating=True))
    await net.until(web, {ONE})
    await net.send("DELETE", f"{CORE}/services/web")
    await net.until(web, {"refused"})


async def test_it_is_told_how_long_changes_take_to_arrive(net: Net) -> None:
    def count() -> int:
        text = net.proxier.metrics.text()
        return int(text.partition("kubeproxy_network_programming_duration_seconds_count ")[2].split()[0])

    web = net.at(await net.service())
    await net.endpoints(one(1))
    await net.until(web, {ONE})
    assert count() == 0
    note = {"metadata": {"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": rfc3339(net.cluster.clock.now())}}}
    where, merge = f"{DISCOVERY}/endpointslices/web", "application/merge-patch+json"
    await net.cluster.admin.request("PATCH", where, body={**note, "endpoints": [one(2)]}, content_type=merge)
    await net.until(web, {TWO})
    assert count() == 1


async def test_a_node_port_is_open_at_every_node_and_at_localhost(net: Net) -> None:
    port = (await net.service(type="NodePort"))["spec"]["ports"][0]["nodePort"]
    await net.endpoints(one(1), one(2, "node-2"))
    for address in ("127.0.0.1", "127.192.0.0", "127.192.0.1"):
        await net.until((address, port), {ONE, TWO})
    if net.proxier.backend.name == "nftables":
        await net.until(("10.192.0.1", port), {ONE, TWO})


async def test_with_the_local_policy_a_node_serves_by_its_own_endpoints(net: Net) -> None:
    port = (await net.service(type="NodePort", externalTrafficPolicy="Local"))["spec"]["ports"][0]["nodePort"]
    await net.endpoints(one(1), one(2, "node-2"))
    await net.until(("127.192.0.0", port), {ONE})
    await net.until(("127.192.0.1", port), {TWO})
    await net.until(("127.0.0.1", port), {ONE, TWO})
    await net.endpoints(one(1), one(3))
    await net.until(("127.192.0.1", port), {"refused"})
    await net.until(("127.192.0.0", port), {ONE, THREE})


async def test_the_policy_of_a_node_port_can_change(net: Net) -> None:
    port = (await net.service(type="NodePort"))["spec"]["ports"][0]["nodePort"]
    await net.endpoints(one(1), one(2, "node-2"))
    await net.until(("127.192.0.0", port), {ONE, TWO})
    for policy, wanted in (("Local", {ONE}), ("Cluster", {ONE, TWO})):
        await net.cluster.admin.request(
            "PATCH",
            f"{CORE}/services/web",
            body={"spec": {"externalTrafficPolicy": policy}},
            content_type="application/merge-patch+json",
        )
        await net.until(("127.192.0.0", port), wanted)


async def test_a_client_stays_with_its_endpoint(net: Net) -> None:
    web = net.at(await net.service(sessionAffinity="ClientIP"))
    await net.endpoints(one(1), one(2), one(3))
    async with asyncio.timeout(20):
        while await net.ask(web) == "refused":
            await asyncio.sleep(0.02)
    sources = [f"127.0.0.{n}" for n in range(5, 25)]
    first = [await net.ask(web, source) for source in sources]
    assert len(set(first)) > 1
    for _ in range(3):
        assert [await net.ask(web, source) for source in sources] == first
    await net.endpoints(one(2), one(3))
    async with asyncio.timeout(10):
        while ONE in (again := [await net.ask(web, source) for source in sources]):
            await asyncio.sleep(0.02)
    assert all(now == then for now, then in zip(again, first, strict=True) if then != ONE)


async def test_datagrams_are_carried_and_sessions_end_with_their_endpoint(net: Net) -> None:
    web = net.at(await net.service(ports=[{"name": "http", "port": 80, "protocol": "UDP"}]))
    await net.endpoints(one(1), protocol="UDP")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(web)

        async def heard(wanted: str) -> None:
            async with asyncio.timeout(20):
                while True:
                    await asyncio.sleep(0.01)
                    with contextlib.suppress(OSError):  # refused, or nothing yet
                        await loop.sock_sendall(client, b"?")
                        async with asyncio.timeout(0.1):
                            if (await loop.sock_recv(client, 99)).decode() == wanted:
                                return

        await heard(ONE)
        await net.endpoints(one(2), protocol="UDP")
        await heard(TWO)


@pytest.mark.parametrize("backend", ["userspace-routes", "nftables"], indirect=True)
async def test_an_address_of_the_machine_itself_can_be_an_external_one(net: Net) -> None:
    subprocess.run(["ip", "addr", "add", "192.0.2.9/24", "dev", "lo"], check=True)
    await net.service(externalIPs=["192.0.2.9"])
    await net.endpoints(one(1))
    await net.until(("192.0.2.9", 80), {ONE})
    await net.send("DELETE", f"{CORE}/services/web")
    await net.until(("192.0.2.9", 80), {"refused"})
    assert b"192.0.2.9" in subprocess.run(["ip", "addr", "show"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("backend", ["userspace-routes", "nftables"], indirect=True)
async def test_external_addresses_are_short_cuts(net: Net) -> None:
    await net.service(externalIPs=["203.0.113.7"])
    await net.endpoints(one(1))
    await net.until(("203.0.113.7", 80), {ONE})
    await net.send("DELETE", f"{CORE}/services/web")
    async with asyncio.timeout(10):
        while b"203.0.113.7" in subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True, check=True).stdout:
            await asyncio.sleep(0.02)


async def test_load_balancers_are_told_which_nodes_have_endpoints(net: Net) -> None:
    made = await net.service(type="LoadBalancer", externalTrafficPolicy="Local")
    port = made["spec"]["healthCheckNodePort"]
    await net.endpoints(one(1), one(2))

    async def told(address: str) -> tuple[int, Obj]:
        async with aiohttp.ClientSession() as http, http.get(f"http://{address}:{port}/") as answer:
            return answer.status, json.loads(await answer.text())

    async def tells(address: str, status: int) -> Obj:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    if (answer := await told(address))[0] == status:
                        return answer[1]
                await asyncio.sleep(0.02)

    assert await tells("127.192.0.0", 200) == {
        "service": {"namespace": "default", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": True
    }  # fmt: skip
    assert (await tells("127.192.0.1", 503))["localEndpoints"] == 0
    await net.endpoints(one(1, "node-2"))
    assert (await tells("127.192.0.1", 200))["localEndpoints"] == 1
    await tells("127.192.0.0", 503)


@pytest.mark.parametrize("backend", ["nftables"], indirect=True)
async def test_pods_are_reached_at_their_own_addresses_by_nftables(net: Net) -> None:
    assert net.proxier.backend.reaches_pods
    assert await net.ask((ONE, 8080)) == ONE


@pytest.mark.parametrize("backend", ["nftables"], indirect=True)
async def test_what_is_no_service_is_refused_even_where_a_program_listens_on_all_addresses(net: Net) -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "0.0.0.0", 8099)
    assert await net.ask(("10.96.77.77", 8099)) == "refused"
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("mode", ["userspace", "nftables"])
async def test_nothing_is_left_behind(mode: Mode) -> None:
    if why := problem("ip", "nft"):
        pytest.skip(why)

    with private_network():
        before = network()
        chosen = await choose(mode, SystemClock(), RANGE)
        assert network() != before
        with pytest.raises(OSError, match="another cluster"):
            await choose("nftables", SystemClock(), RANGE)
        await chosen.stop()
        assert network() == before


_KILLED = """
import asyncio, sys
from pilothouse.clock import SystemClock, rfc3339
from pilothouse.nodes.proxy.choose import choose
async def main():
    await choose(sys.argv[1], SystemClock(), "10.96.0.0/16")
    print("started", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def network() -> list[bytes]:
    """What a backend may have changed."""
    commands: list[list[str]] = [["ip", "route", "show", "table", "all"], ["nft", "list", "ruleset"]]
    return [subprocess.run(c, capture_output=True, check=True).stdout for c in commands]


@pytest.mark.parametrize("mode", ["userspace", "nftables"])
async def test_what_a_killed_cluster_changed_is_undone(mode: Mode) -> None:
    if why := problem("ip", "nft"):
        pytest.skip(why)
    with private_network():
        before = network()
        killed = subprocess.Popen([sys.executable, "-c", _KILLED, mode], stdout=subprocess.PIPE)
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"started\n"
        assert network() != before
        killed.kill()
        killed.communicate()
        async with asyncio.timeout(20):
            while network() != before:
                await asyncio.sleep(0.02)


async def test_what_is_left_nevertheless_is_put_right_by_the_next_cluster() -> None:
    if why := problem("ip", "nft"):
        pytest.skip(why)
    with private_network():
        before = network()
        left = Nftables(RANGE)
        await left.start()
        await left.apply({"a/b": (Way("cluster", "10.96.0.7", 80, "TCP", (("127.64.0.1", 80),)),)})
        chosen = await choose("nftables", SystemClock(), RANGE)
        await chosen.backend.apply({"a/b": (Way("cluster", "10.96.0.7", 80, "TCP", (("127.64.0.2", 80),)),)})
        await chosen.stop()
        assert network() == before


@pytest.mark.parametrize("backend", ["userspace-routes", "nftables"], indirect=True)
async def test_services_that_want_the_same_address_keep_no_other_from_being_served(net: Net) -> None:
    wanted = {f"a/{n}": (Way("cluster", f"10.96.9.{n}", 80, "TCP", (("127.70.0.1", 8080),)),) for n in range(9)}
    same = Way("external", "203.0.113.9", 80, "TCP", (("127.70.0.2", 8080),))
    told = await net.proxier.backend.apply(wanted | {"a/x": (same,), "a/y": (same,)})
    assert len(told) == 1
    assert {await net.ask((f"10.96.9.{n}", 80)) for n in range(9)} == {ONE}
    assert await net.ask(("203.0.113.9", 80)) == TWO


@pytest.mark.parametrize("backend", ["nftables"], indirect=True)
async def test_nftables_that_somebody_flushed_are_made_again(net: Net) -> None:
    web = net.at(await net.service())
    await net.endpoints(one(1))
    await net.until(web, {ONE})
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    await net.proxier.backend.check()
    assert await net.ask(web) == ONE
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    await net.endpoints(one(2))
    await net.until(web, {TWO})


async def test_a_range_that_is_in_use_is_left_alone() -> None:
    if why := problem("ip", "nft"):
        pytest.skip(why)
    with private_network():
        subprocess.run(["ip", "addr", "add", "10.96.3.4/24", "dev", "lo"], check=True)
        with pytest.raises(OSError, match="in use on this machine"):
            await choose("nftables", SystemClock(), RANGE)
        chosen = await choose("auto", SystemClock(), RANGE)
        assert (chosen.backend.name, chosen.backend.reaches_services) == ("userspace", False)
        await chosen.stop()

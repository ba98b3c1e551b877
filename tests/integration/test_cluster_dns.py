"""Cluster DNS beside a whole cluster, asked over real sockets by dnspython."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rrset
import pytest

from pilothouse.nodes.access import Access, ServiceAccess
from pilothouse.nodes.dns.sockets import Address
from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]
CORE = "/api/v1/namespaces/default"


class Outside(asyncio.DatagramProtocol):
    """The world's name server: every name is 192.0.2.1."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.answer.append(dns.rrset.from_text(answer.question[0].name, 60, "IN", "A", "192.0.2.1"))
        self.transport.sendto(answer.to_wire(), addr)


class Names:
    """A cluster with its name server."""

    def __init__(self, cluster: TestCluster, address: Address) -> None:
        self.cluster, self.address = cluster, address

    async def create(self, path: str, obj: Obj) -> None:
        answer = await self.cluster.admin.request("POST", path, body=obj)
        assert answer.status == 201, answer.body

    async def ask(self, name: str, type: str = "A", tcp: bool = False) -> list[str]:
        """The data of all records of the answer; the code if it is a failure."""
        ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        answer = await ask(dns.message.make_query(name, type), self.address[0], port=self.address[1], timeout=10)
        if answer.rcode():
            return [dns.rcode.to_text(answer.rcode())]
        return sorted(str(data) for records in answer.answer for data in records)

    async def until(self, name: str, count: int, type: str = "A") -> list[str]:
        """Ask again until there are so many records, at most for 20 seconds."""
        async with asyncio.timeout(20):
            while True:
                found = await self.ask(name, type)
                if len(found) == count and found[0] != "NXDOMAIN":
                    return found
                await asyncio.sleep(0.02)


@pytest.fixture
async def names(cluster: TestCluster) -> AsyncIterator[Names]:
    loop = asyncio.get_running_loop()
    outside, _ = await loop.create_datagram_endpoint(Outside, local_addr=("127.0.0.1", 0))
    where = outside.get_extra_info("sockname")
    hub = cluster.cluster.hub
    access = ServiceAccess(cluster.admin, hub.clock, Access(None, "cluster", (where,)), "10.96.0.0/16")
    assert access.dns_address is not None
    task = asyncio.create_task(access.run())
    yield Names(cluster, access.dns_address)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    outside.close()
    await asyncio.sleep(0)


def service(name: str, **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": name}, **spec}}


async def test_services_are_found_by_name_as_soon_as_they_are_there(names: Names) -> None:
    assert await names.ask("kubernetes.default.svc.cluster.local") == ["10.96.0.1"]
    assert await names.ask("web.default.svc.cluster.local") == ["NXDOMAIN"]
    await names.create(f"{CORE}/services", service("web", clusterIP="10.96.0.99"))
    assert await names.until("web.default.svc.cluster.local", 1) == ["10.96.0.99"]
    assert await names.ask("web.default.svc.cluster.local", tcp=True) == ["10.96.0.99"]
    assert await names.ask("99.0.96.10.in-addr.arpa", "PTR") == ["web.default.svc.cluster.local."]
    await names.cluster.admin.request("DELETE", f"{CORE}/services/web")
    async with asyncio.timeout(10):
        while await names.ask("web.default.svc.cluster.local") != ["NXDOMAIN"]:
            await asyncio.sleep(0.01)


async def test_the_pods_of_a_stateful_set_have_names(names: Names) -> None:
    await names.create(f"{CORE}/services", service("db", clusterIP="None"))
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "db:1"}]}}
    spec = {"serviceName": "db", "replicas": 3, "selector": {"matchLabels": {"app": "db"}}, "template": template}
    await names.create("/apis/apps/v1/namespaces/default/statefulsets", {"metadata": {"name": "db"}, "spec": spec})
    every = await names.until("db.default.svc.cluster.local", 3)
    each = [await names.ask(f"db-{n}.db.default.svc.cluster.local") for n in range(3)]
    assert sorted(a for found in each for a in found) == every
    pod = (await names.cluster.admin.request("GET", f"{CORE}/pods/db-0")).body
    assert each[0] == [pod["status"]["podIP"]]
    records = await names.until("_http._tcp.db.default.svc.cluster.local", 3, "SRV")
    assert records == [f"0 33 80 db-{n}.db.default.svc.cluster.local." for n in range(3)]


async def test_other_names_are_asked_for_outside_and_external_names_followed_there(names: Names) -> None:
    assert await names.ask("www.example.com") == ["192.0.2.1"]
    await names.create(
        f"{CORE}/services", {"metadata": {"name": "out"}, "spec": {"type": "ExternalName", "externalName": "a.example.com"}}
    )
    assert await names.until("out.default.svc.cluster.local", 2) == ["192.0.2.1", "a.example.com."]


async def test_the_name_server_is_a_service_itself(names: Names) -> None:
    found = await names.until("_dns._udp.kube-dns.kube-system.svc.cluster.local", 1, "SRV")
    assert found == ["0 100 53 kube-dns.kube-system.svc.cluster.local."]
    assert await names.ask("ns.dns.cluster.local") == ["10.96.0.10"]
    path = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-pilothouse"
    async with asyncio.timeout(10):
        while (answer := await names.cluster.admin.request("GET", path)).status != 200:
            await asyncio.sleep(0.02)
    endpoint = answer.body["endpoints"][0]
    node = (await names.cluster.admin.request("GET", f"/api/v1/nodes/{endpoint['nodeName']}")).body
    assert endpoint["addresses"] == [node["status"]["addresses"][0]["address"]]
    twin = "127" + endpoint["addresses"][0][2:]
    there = Names(names.cluster, (twin, answer.body["ports"][0]["port"]))
    assert await there.ask("kubernetes.default.svc.cluster.local") == ["10.96.0.1"]

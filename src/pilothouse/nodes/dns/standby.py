"""Cluster DNS for `up`: it has its addresses and its Service from the start, and is loaded when somebody asks the first question.

Most clusters on a laptop are never asked for a name; informers and a DNS library would cost them memory and start. What is asked meanwhile waits in
the sockets. The Service `kube-system/kube-dns`, at the tenth address of the range as kubeadm has it, is what charts and users look for: it
has no selector; its endpoint is the first simulated node, at whose twin the server listens too. A Service of that name which somebody
else made, such as CoreDNS' own, is left alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import StatusError
from pilothouse.client import loopback
from pilothouse.client.client import NODES, SERVICES, Client, Resource
from pilothouse.client.interface import Transport
from pilothouse.clock import Clock
from pilothouse.nodes.dns.sockets import Sockets

if TYPE_CHECKING:
    from pilothouse.nodes.dns.server import Options

log = logging.getLogger("pilothouse.nodes")

Obj = dict[str, Any]

NAMESPACE, NAME = "kube-system", "kube-dns"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
OURS = "pilothouse.dev"
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
#: Seconds between looks for the first node.
PAUSE, LONGEST_PAUSE = 0.5, 30.0
_SIMULATED = "pilothouse.dev/simulated=true"


def cluster_ip(service_range: str) -> str:
    """The name server's address in a range of Services."""
    return str(ipaddress.ip_network(service_range)[10])


def service(address: str) -> Obj:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    labels = {
        "k8s-app": NAME,
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
        "app.kubernetes.io/managed-by": OURS,
    }
    meta = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    return {"metadata": meta, "spec": {"clusterIP": address, "ports": ports}}


def endpoint_slice(address: str, node: str, port: int) -> Obj:
    labels = {"kubernetes.io/service-name": NAME, MANAGED_BY: OURS}
    ports = [{"name": "dns", "port": port, "protocol": "UDP"}, {"name": "dns-tcp", "port": port, "protocol": "TCP"}]
    endpoint = {"addresses": [address], "conditions": {"ready": True}, "nodeName": node}
    meta = {"name": f"{NAME}-pilothouse", "namespace": NAMESPACE, "labels": labels}
    return {"metadata": meta, "addressType": "IPv4", "endpoints": [endpoint], "ports": ports}


class StandbyDns:
    """`run` until cancelled; it closes the sockets. `address` is the Service's; "" for none. `options` are asked for with the first question."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        sockets: Sockets,
        address: str = "",
        options: Callable[[], Awaitable[Options]] | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._sockets = sockets
        self._address = address
        self._options = options

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                if self._address:
                    group.create_task(self._publish())
                await self._sockets.first_use()
                from pilothouse.nodes.dns.server import ClusterDns

                options = await self._options() if self._options is not None else None
                group.create_task(ClusterDns(self._transport, self._clock, self._sockets, options).run())
        finally:
            self._sockets.close()

    async def _publish(self) -> None:
        """Not at once: what a cluster's start waits for comes first."""
        client = Client(self._transport, self._clock)
        pause = PAUSE
        while True:
            await self._clock.sleep(pause)
            try:
                return await self._try_to_publish(client)
            except StatusError as error:
                if error.code in (403, 422):
                    log.warning("the Service %s/%s cannot be made: %s", NAMESPACE, NAME, error.message)
                    return None
            except OSError as error:
                log.info("the Service %s/%s is not there yet: %s", NAMESPACE, NAME, error)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _try_to_publish(self, client: Client) -> None:
        """OSError or StatusError while something is missing."""
        known = await client.find(SERVICES, NAME, NAMESPACE)
        if known is None:
            known = await client.create(SERVICES, service(self._address))
        if (known["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") != OURS:
            return
        node, host = await self._first_node(client)
        port = self._sockets.addresses[0][1]
        twin = (loopback.twin(host), port)
        if twin not in self._sockets.addresses:
            self._sockets.add(twin)
        wanted = endpoint_slice(host, node, port)
        before = await client.find(SLICES, wanted["metadata"]["name"], NAMESPACE)
        if before is None:
            await client.create(SLICES, wanted)
        elif any(before.get(part) != wanted[part] for part in ("endpoints", "ports")):
            wanted["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            await client.update(SLICES, wanted)

    async def _first_node(self, client: Client) -> tuple[str, str]:
        """The name and the address of a simulated node. OSError if there is none yet."""
        async for page in client.list_pages(NODES, limit=1, labelSelector=_SIMULATED):
            for node in page.items:
                for address in (node.get("status") or {}).get("addresses") or ():
                    if address["type"] == "InternalIP":
                        return node["metadata"]["name"], address["address"]
            break
        raise OSError("no simulated node has an address")

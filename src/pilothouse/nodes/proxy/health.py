"""The health-check ports of load balancers: 200 at the address of a node that has endpoints, 503 at that of one that has none.

Reference: "Preserving the client source IP" (externalTrafficPolicy: Local) and kube-proxy's answers. All simulated nodes are one machine, so one
socket on its loopback interface serves a port for all of them, and the address that was asked at says which node is meant; at any other address, all.
"""

from __future__ import annotations

import logging
import socket

import orjson

from pilothouse.client import loopback
from pilothouse.client.informer import Informer
from pilothouse.client.interface import Obj
from pilothouse.client.plainserving import Page, PlainServer
from pilothouse.client.service_endpoints import is_simulated
from pilothouse.dataplane.embedded.listening import bind
from pilothouse.nodes.proxy.ways import HealthCheck

log = logging.getLogger("pilothouse.nodes")

_ADDRESS = "address of node"


class HealthChecks:
    """By Service."""

    def __init__(self, nodes: Informer) -> None:
        self._nodes = nodes
        self._checks: dict[str, HealthCheck] = {}
        self._servers: dict[str, PlainServer] = {}
        nodes.add_index(_ADDRESS, lambda node: [a] if (a := node_address(node)) else [])

    async def set(self, service: str, check: HealthCheck | None) -> None:
        """What a Service's port tells from now on; None: it has none."""
        before = self._checks.get(service)
        if check is None or (before is not None and before.port != check.port):
            await self._drop(service)
        if check is None:
            return
        self._checks[service] = check
        if service not in self._servers:
            await self._listen(service, check.port)

    async def close(self) -> None:
        for service in list(self._servers):
            await self._drop(service)

    async def _listen(self, service: str, port: int) -> None:
        server = PlainServer(lambda path, address: self._page(service, address))
        try:
            where = ("0.0.0.0", "lo") if loopback.has_range() else ("127.0.0.1", "")
            await server.start(sock=bind(where[0], port, socket.SOCK_STREAM, where[1]))
        except OSError as error:
            log.warning("the health-check port %d of Service %s cannot be had: %s", port, service, error)
            return
        self._servers[service] = server

    async def _drop(self, service: str) -> None:
        self._checks.pop(service, None)
        server = self._servers.pop(service, None)
        if server is not None:
            await server.stop()

    def _page(self, service: str, address: str) -> Page:
        count = self._count(self._checks[service], address)
        namespace, _, name = service.partition("/")
        told: Obj = {"service": {"namespace": namespace, "name": name}, "localEndpoints": count, "serviceProxyHealthy": True}
        body = orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
        headers = (("X-Content-Type-Options", "nosniff"), ("X-Load-Balancing-Endpoint-Weight", str(count)))
        return Page(200 if count else 503, body, "application/json", headers)

    def _count(self, check: HealthCheck, address: str) -> int:
        first, _, rest = address.partition(".")
        for node in self._nodes.indexed(_ADDRESS, f"10.{rest}" if first == "127" else address):
            return check.counts.get(node["metadata"]["name"], 0)
        return sum(check.counts.values())


def node_address(node: Obj | None) -> str:
    """A simulated node's InternalIP; "" for other nodes."""
    if node is None or not is_simulated(node):
        return ""
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((a["address"] for a in addresses if a["type"] == "InternalIP" and ":" not in a["address"]), "")

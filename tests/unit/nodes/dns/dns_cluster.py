"""A cluster of plain objects for the name server's tests, and questions to it by dnspython."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import dns.flags
import dns.message
import dns.rcode

from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Obj, Response, WatchEvent
from pilothouse.clock import VirtualClock
from pilothouse.nodes.dns import zone
from pilothouse.nodes.dns.metrics import DnsMetrics
from pilothouse.nodes.dns.responder import Later, Responder
from pilothouse.nodes.dns.zone import ClusterZone

SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
NAMESPACES, NODES, PODS = "/api/v1/namespaces", "/api/v1/nodes", "/api/v1/pods"


class Objects:
    """A transport to objects in memory: what was put is listed, and what is put later watched."""

    def __init__(self) -> None:
        self._collections: dict[str, dict[tuple[str, str], Obj]] = {}
        self._watchers: dict[str, asyncio.Queue[WatchEvent]] = {}
        self._revision = 1

    def put(self, path: str, name: str, namespace: str = "", **parts: Any) -> None:
        self._revision += 1
        meta = {"name": name, "namespace": namespace, "resourceVersion": str(self._revision), **parts.pop("metadata", {})}
        known = self._collections.setdefault(path, {})
        kind = "MODIFIED" if (namespace, name) in known else "ADDED"
        known[namespace, name] = {"metadata": meta, **parts}
        self._tell(path, WatchEvent(kind, known[namespace, name]))

    def remove(self, path: str, name: str, namespace: str = "") -> None:
        self._revision += 1
        gone = self._collections[path].pop((namespace, name))
        self._tell(
            path, WatchEvent("DELETED", {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._revision)}})
        )

    def service(self, name: str, namespace: str = "default", ip: str = "10.96.0.7", **spec: Any) -> None:
        ports = spec.pop("ports", [{"name": "http", "port": 80, "protocol": "TCP"}])
        self.put(
            SERVICES, name, namespace, spec={"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": ports, **spec}
        )

    def slice(self, service: str, *endpoints: Obj, name: str = "", namespace: str = "default", **parts: Any) -> None:
        parts = {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], **parts}
        labels = {"labels": {"kubernetes.io/service-name": service}}
        self.put(SLICES, name or service, namespace, metadata=labels, endpoints=list(endpoints), **parts)

    def namespace(self, name: str) -> None:
        self.put(NAMESPACES, name)

    def _tell(self, path: str, event: WatchEvent) -> None:
        if path in self._watchers:
            self._watchers[path].put_nowait(event)

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, **_: Any
    ) -> Response:
        items = list(self._collections.get(path, {}).values())
        return Response(200, {"kind": "List", "metadata": {"resourceVersion": str(self._revision)}, "items": items})

    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        queue = self._watchers[path] = asyncio.Queue()
        while True:
            yield [await queue.get()]

    async def close(self) -> None:
        pass


def endpoint(address: str, hostname: str = "", ready: bool | None = True, node: str = "") -> Obj:
    out: Obj = {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}
    return out | ({"hostname": hostname} if hostname else {}) | ({"nodeName": node} if node else {})


class Asker:
    """Questions to a responder, and answers as texts."""

    def __init__(self, objects: Objects, responder: Responder, clock: VirtualClock) -> None:
        self.objects, self.responder, self.clock = objects, responder, clock

    def wire(self, data: bytes, tcp: bool = False) -> bytes | None:
        known = None if tcp else self.responder.cache.answers.get(data[2:])
        if known is not None:
            known.hits += 1
            return data[:2] + known.orders[known.hits % len(known.orders)]
        answer = self.responder.at_once(data, tcp)
        assert not isinstance(answer, Later)
        return answer

    def ask(self, name: str, type: str = "A", tcp: bool = False, **how: Any) -> dns.message.Message:
        question = dns.message.make_query(name, type, **how)
        answer = self.wire(question.to_wire(), tcp)
        assert answer is not None
        parsed = dns.message.from_wire(answer)
        assert question.is_response(parsed)
        return parsed

    def told(self, name: str, type: str = "A", **how: Any) -> list[str]:
        """The answer section, one text a record without name, time and class; or the code."""
        answer = self.ask(name, type, **how)
        if answer.rcode() != dns.rcode.NOERROR:
            return [dns.rcode.to_text(answer.rcode())]
        return sorted(f"{r.rdtype.name} {data}" for r in answer.answer for data in r)

    async def news(self) -> None:
        """Let what was put arrive."""
        await self.clock.settle()


@contextlib.asynccontextmanager
async def asker(objects: Objects, options: zone.Options | None = None) -> AsyncIterator[Asker]:
    clock = VirtualClock()
    informers = InformerFactory(objects, clock)  # type: ignore[arg-type]
    responder = Responder(clock, DnsMetrics("dns://127.0.0.1:53"), None)
    responder.zone = ClusterZone(informers, clock, responder.cache.drop, options)
    task = asyncio.create_task(informers.run())
    await responder.zone.wait_synced()
    yield Asker(objects, responder, clock)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

"""A hub, the cloud's controllers on the local provider, and servers of this process as pods: what is applied here really carries traffic.

Gateways listen on ports above the privileged ones. When `route` returns, the route is accepted, and then it has its traffic: no test waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.interface import Transport
from pilothouse.client.loopback import twin
from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, NAMESPACES, NODES, SECRETS, SERVICES, Kind
from pilothouse.client.reconcile.objects import condition
from pilothouse.clock import SystemClock
from pilothouse.cloud.gateway.kinds import GATEWAY_CLASSES, GATEWAYS, HTTP_ROUTES, REFERENCE_GRANTS
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HTTP_PORT, HTTPS_PORT = 8080, 8443
HTTP: Obj = {"name": "http", "port": HTTP_PORT, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
#: Ranges and pods that no other process of a test run has.
_SEED = os.getpid() % 200
_numbers = itertools.count(1)


async def eventually(ask: Callable[[], Awaitable[Any]], seconds: float = 15.0) -> Any:
    """What `ask` gives once it gives something."""
    async with asyncio.timeout(seconds):
        while not (found := await ask()):
            await asyncio.sleep(0.01)
        return found


@dataclass
class Pod:
    """An HTTP server that tells what reached it. `handler` answers instead where one is given."""

    name: str
    ip: str
    handler: Handler | None = None
    seen: list[Obj] = field(default_factory=list)
    port: int = 3000

    async def start(self, **site: Any) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, twin(self.ip), self.port, **site).start()
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = {
            "pod": self.name,
            "method": request.method,
            "path": request.raw_path,
            "headers": {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
            "body": "",
        }
        self.seen.append(asked)
        if self.handler is not None:
            return await self.handler(request)
        asked["body"] = (await request.read()).decode()
        return web.json_response(asked, headers={"X-Pod": self.name})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str
    told: Obj

    @property
    def pod(self) -> str:
        return str(self.told.get("pod", ""))


class City:
    def __init__(self, certificates: Path, engine: str) -> None:
        self.engine = engine
        self.clock = SystemClock()
        self._certificates = certificates
        self._undo = contextlib.AsyncExitStack()
        self.pods: dict[str, Pod] = {}
        self.admin: Transport
        self.http: aiohttp.ClientSession

    async def start(self) -> None:
        hub = ApiHub(Settings(self._certificates, port=6443, listen=False), clock=self.clock, store=MemoryStore(self.clock))
        config = f"engine: {self.engine}\naddresses: 127.{2 + _SEED % 40}.{next(_numbers) % 250}.0/24\n"
        spokes = Spokes(controllers=False, scheduler=False, nodes=0, cloud="local", cloud_config=config)
        await self._undo.enter_async_context(Cluster(hub, spokes).running())
        self.admin = hub.transport("kubernetes-admin", "system:masters")
        self.http = await self._undo.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        await self.create(NODES, "sim", namespace="", metadata={"labels": {"pilothouse.dev/simulated": "true"}})
        await eventually(lambda: self.found(GATEWAY_CLASSES.path("", "pilothouse")))

    async def stop(self) -> None:
        await self._undo.aclose()

    async def found(self, path: str) -> bool:
        return (await self.admin.request("GET", path)).status == 200

    # --- objects -------------------------------------------------------------------------------------------------------------------------

    async def create(self, kind: Kind, name: str, spec: Obj | None = None, namespace: str = "default", **more: Any) -> Obj:
        metadata = {"name": name, **more.pop("metadata", {})}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **more}
        answer = await self.admin.request("POST", kind.path(namespace), body=body | ({"spec": spec} if spec is not None else {}))
        assert answer.status == 201, answer.body.get("message")
        return answer.body

    async def change(self, kind: Kind, name: str, patch: Obj, namespace: str = "default") -> Obj:
        answer = await self.admin.request(
            "PATCH", kind.path(namespace, name), body=patch, content_type="application/merge-patch+json"
        )
        assert answer.status == 200, answer.body.get("message")
        return answer.body

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> Obj:
        answer = await self.admin.request("GET", kind.path(namespace, name))
        assert answer.status == 200, answer.body
        return answer.body

    async def namespace(self, name: str) -> None:
        await self.create(NAMESPACES, name, namespace="")

    def new_ip(self) -> str:
        number = next(_numbers)
        return f"10.{90 + number // 250}.{_SEED}.{1 + number % 250}"

    async def pod(self, name: str, handler: Handler | None = None, **site: Any) -> Pod:
        """An HTTP server that behaves like a pod's."""
        pod = self.pods[name] = Pod(name, self.new_ip(), handler)
        runner = await pod.start(**site)
        self._undo.push_async_callback(runner.cleanup)
        return pod

    async def backend(
        self, name: str, handler: Handler | None = None, namespace: str = "default", app: str = "", **site: Any
    ) -> Pod:
        """A Service of this name with port 80 and one pod of the same name behind it."""
        pod = await self.pod(name, handler, **site)
        await self.service(name, pod.ip, pod.port, namespace, app)
        return pod

    async def service(self, name: str, ip: str, port: int, namespace: str = "default", app: str = "") -> None:
        named = {"name": "http", "port": 80, "targetPort": port, **({"appProtocol": app} if app else {})}
        await self.create(SERVICES, name, {"ports": [named]}, namespace)
        await self.create(
            ENDPOINT_SLICES,
            name,
            namespace=namespace,
            metadata={"labels": {"kubernetes.io/service-name": name}},
            addressType="IPv4",
            ports=[{"name": "http", "port": port}],
            endpoints=[{"addresses": [ip], "nodeName": "sim", "conditions": {"ready": True}}] if ip else [],
        )

    async def secret(self, name: str, chain: str, key: str, namespace: str = "default") -> None:
        data = {"tls.crt": chain, "tls.key": key}
        await self.create(SECRETS, name, namespace=namespace, type="kubernetes.io/tls", stringData=data)

    async def grant(self, namespace: str, kind: str, to: str) -> None:
        spec = {
            "from": [{"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "default"}],
            "to": [{"group": "", "kind": to}],
        }
        await self.create(REFERENCE_GRANTS, "grant", spec, namespace)

    async def gateway(self, name: str, *listeners: Obj, **spec: Any) -> str:
        """The address of a new Gateway, once it is programmed."""
        body = {"gatewayClassName": "pilothouse", "listeners": list(listeners) or [HTTP], **spec}
        await self.create(GATEWAYS, name, body)
        return await self.programmed(name)

    async def programmed(self, name: str) -> str:
        async def address() -> str:
            found = await self.get(GATEWAYS, name)
            now = condition(found, "Programmed") or {}
            current = now.get("observedGeneration") == found["metadata"]["generation"]
            return str(found["status"]["addresses"][0]["value"]) if now.get("status") == "True" and current else ""

        return await eventually(address)

    async def route(self, name: str, gateway: str, *rules: Obj, kind: Kind = HTTP_ROUTES, **spec: Any) -> list[Obj]:
        """A new route of a Gateway; its conditions, once it has been decided on."""
        namespace = spec.pop("namespace", "default")
        parent = {"name": gateway, "namespace": "default", **spec.pop("parent", {})}
        await self.create(kind, name, {"parentRefs": [parent], "rules": list(rules), **spec}, namespace)
        return await self.decided(kind, name, namespace)

    async def decided(self, kind: Kind, name: str, namespace: str = "default") -> list[Obj]:
        async def conditions() -> list[Obj]:
            found = await self.get(kind, name, namespace)
            parents = (found.get("status") or {}).get("parents") or []
            told: list[Obj] = parents[0]["conditions"] if parents else []
            return [c for c in told if c["observedGeneration"] == found["metadata"]["generation"]]

        return await eventually(conditions)

    # --- requests ------------------------------------------------------------------------------------------------------------------------

    async def ask(self, address: str, path: str = "/", host: str = "", method: str = "GET", **how: Any) -> Answer:
        """A request to a Gateway's address; redirects are not followed."""
        port = how.pop("port", HTTPS_PORT if "ssl" in how else HTTP_PORT)
        scheme = "https" if "ssl" in how else "http"
        headers = {**({"Host": host} if host else {}), **how.pop("headers", {})}
        if "ssl" in how:
            how.setdefault("server_hostname", host)
        asked = self.http.request(method, f"{scheme}://{address}:{port}{path}", headers=headers, allow_redirects=False, **how)
        async with asked as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, answer.headers, text, await answer.json() if is_json and text else {})

    async def until_status(self, address: str, status: int, *asked: str, **how: Any) -> None:
        async def is_so() -> bool:
            return (await self.ask(address, *asked, **how)).status == status

        await eventually(is_so)

    async def until_answered(self, address: str, pod: str, *asked: str, **how: Any) -> None:
        async def is_so() -> bool:
            return (await self.ask(address, *asked, **how)).pod == pod

        await eventually(is_so)

    async def pods_of(self, address: str, count: int, path: str = "/", **how: Any) -> dict[str, int]:
        """Who answered so many requests."""
        found: dict[str, int] = {}
        for _ in range(count):
            pod = (await self.ask(address, path, **how)).pod
            found[pod] = found.get(pod, 0) + 1
        return found


def to(*names: str, **more: Any) -> Obj:
    """A rule that sends everything to these Services."""
    return {"backendRefs": [{"name": name, "port": 80} for name in names], **more}


def path(value: str, type: str = "PathPrefix", **more: Any) -> Obj:
    return {"path": {"type": type, "value": value}, **more}


def https(name: str, secret: str, hostname: str = "", port: int = HTTPS_PORT, **more: Any) -> Obj:
    tls = {"mode": "Terminate", "certificateRefs": [{"name": secret}]}
    return {"name": name, "port": port, "protocol": "HTTPS", "tls": tls, **({"hostname": hostname} if hostname else {}), **more}


@contextlib.asynccontextmanager
async def a_city(certificates: Path, engine: str) -> AsyncIterator[City]:
    city = City(certificates, engine)
    await city.start()
    try:
        yield city
    finally:
        await city.stop()


def trusting(chain: str) -> ssl.SSLContext:
    """A client's settings that trust this certificate."""
    context = ssl.create_default_context(cadata=chain)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context

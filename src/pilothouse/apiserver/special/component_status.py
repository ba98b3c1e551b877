"""componentstatuses: the store, the scheduler and the controller manager, asked when a client asks.

A component of this process tells by itself. Another one is asked at `/healthz` of its port on this machine; where nothing listens, the
Lease of its leader election tells whether it lives.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from pilothouse.api.errors import Obj, not_found_error
from pilothouse.apiserver.interface import SpecialRequest, SpecialResult
from pilothouse.clock import parse_rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_PORTS = {"scheduler": 10259, "controller-manager": 10257}
_STORE = "etcd-0"
_SECONDS = 5.0


class ComponentStatuses:
    def __init__(self, hub: ApiServer) -> None:
        self._hub = hub

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        names = [*_PORTS, _STORE]
        if request.name and request.name not in names:
            raise not_found_error("", "componentstatuses", request.name)
        request.warnings.append("v1 ComponentStatus is deprecated in v1.19+")
        if request.name:
            return SpecialResult(200, {"kind": "ComponentStatus", "apiVersion": "v1", **await self._status(request.name)})
        items = await asyncio.gather(*(self._status(name) for name in names))
        return SpecialResult(200, {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _status(self, name: str) -> Obj:
        problem = await self._problem(name)
        condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
        return {"metadata": {"name": name}, "conditions": [condition]}

    async def _problem(self, name: str) -> str:
        if name == _STORE:
            return self._hub.store_problem()
        if tell := self._hub.components.get(name):
            return tell()
        problem = await _probe(_PORTS[name])
        return "" if problem and self._leads(f"kube-{name}") else problem

    def _leads(self, name: str) -> bool:
        entry = self._hub.cache("coordination.k8s.io", "leases").get("kube-system", name)
        spec: Obj = (entry.obj.get("spec") or {}) if entry else {}
        if not spec.get("holderIdentity") or not spec.get("renewTime"):
            return False
        return parse_rfc3339(spec["renewTime"]) + spec.get("leaseDurationSeconds", 0) >= self._hub.clock.now()


async def _probe(port: int) -> str:
    """What is wrong with a component that listens on this machine; "" if nothing is."""
    url = f"https://127.0.0.1:{port}/healthz"
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                head, _, body = (await reader.read(65536)).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded'
    except ConnectionRefusedError:
        return f'Get "{url}": dial tcp 127.0.0.1:{port}: connect: connection refused'
    except OSError as error:
        return f'Get "{url}": {error}'
    return "" if head.split()[1:2] == [b"200"] else body.decode(errors="replace") or "no answer"

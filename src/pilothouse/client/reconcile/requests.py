"""A controller's requests over a transport: paths, media types and Status errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.interface import Response, Transport
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.objects import Obj

_PATCHES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}

#: For answers that are no Status, the words of Kubernetes' clients.
_WORDS = {
    404: "the server could not find the requested resource",
    503: "the server is currently unable to handle the request",
}


class Requests:
    """The `Api` of a controller. `manager` is the field manager that its writes are recorded under."""

    def __init__(self, transport: Transport, manager: str) -> None:
        self._transport = transport
        self._query = {"fieldManager": manager}

    def under(self, manager: str) -> Requests:
        """The same with writes recorded under another field manager."""
        return Requests(self._transport, manager)

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        return await self._send("GET", kind.path(namespace, name))

    async def list(self, kind: Kind, namespace: str = "", query: Mapping[str, str] | None = None) -> Obj:
        return await self._send("GET", kind.path(namespace), query)

    async def create(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj:
        meta = obj["metadata"]
        path = kind.path(meta.get("namespace") or "", meta["name"] if subresource else "", subresource)
        return await self._send("POST", path, self._query, _typed(kind, obj, subresource))

    async def update(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj:
        return await self._send("PUT", kind.path_of(obj, subresource), self._query, _typed(kind, obj, subresource))

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Any, how: str, subresource: str = "") -> Obj:
        query = {**self._query, "force": "true"} if how == "apply" else self._query
        return await self._send("PATCH", kind.path(namespace, name, subresource), query, patch, _PATCHES[how])

    async def delete(self, kind: Kind, namespace: str, name: str, options: Obj | None = None) -> None:
        await self._send("DELETE", kind.path(namespace, name), None, options)

    async def delete_collection(self, kind: Kind, namespace: str, options: Obj | None = None) -> None:
        await self._send("DELETE", kind.path(namespace), None, options)

    async def read(self, path: str, accept: str = "application/json", query: Mapping[str, str] | None = None) -> Any:
        return _checked(await self._transport.request("GET", path, query, accept=accept))

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, media: str = "application/json"
    ) -> Any:
        return _checked(await self._transport.request(method, path, query, body, media))


def _typed(kind: Kind, obj: Obj, subresource: str) -> Obj:
    """Objects out of lists do not say what they are."""
    if subresource not in ("", "status", "finalize") or "kind" in obj:
        return obj
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


def _checked(response: Response) -> Any:
    if response.status < 300:
        return response.body
    body = response.body if isinstance(response.body, dict) else {}
    message = body.get("message") or _WORDS.get(response.status) or f"the server answered {response.status}"
    raise StatusError(response.status, body.get("reason") or "", message, body.get("details"))

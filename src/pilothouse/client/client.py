"""A client for programs: the verbs of the API by resource, errors as StatusError. Objects are plain dicts.

    client = Client(HttpTransport(load("kubeconfig")), SystemClock())
    pod = await client.get(PODS, "web-0", "default")
    async for page in client.list_pages(PODS, limit=500, labelSelector="app=web"): ...

Further query parameters are given by their API names: `fieldManager="me"`, `dryRun="All"`, `labelSelector="a=b"`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pilothouse.api.errors import StatusError
from pilothouse.client.interface import Obj, Transport, WatchEvent
from pilothouse.client.retry import RetryingTransport
from pilothouse.clock import Clock

Batches = AsyncIterator[list[WatchEvent]]

PATCH_TYPES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as paths name it. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of an object or a subresource of it, or, without a name, of the collection."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [f"namespaces/{quote(namespace)}"] if self.namespaced and namespace else []
        parts += [self.plural, *(quote(part, safe="") for part in (name, subresource) if part)]
        return "/".join([root, *parts])


NAMESPACES = Resource("", "v1", "namespaces", False)
NODES = Resource("", "v1", "nodes", False)
PODS = Resource("", "v1", "pods")
SERVICES = Resource("", "v1", "services")
CONFIG_MAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
EVENTS = Resource("", "v1", "events")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
REPLICA_SETS = Resource("apps", "v1", "replicasets")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. `remaining` is None where the server does not say."""

    items: list[Obj]
    resource_version: str
    continue_: str = ""
    remaining: int | None = field(default=None)


def error_of(body: Any, status: int) -> StatusError:
    """A failed answer as the StatusError that it stands for."""
    if isinstance(body, dict) and body.get("kind") == "Status":
        error = StatusError(body.get("code", status), body.get("reason", ""), body.get("message", ""), body.get("details"))
        error.metadata = body.get("metadata") or {}
        return error
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    return StatusError(status, "", text[:500] or f"the server answered {status}")


def page_of(body: Obj) -> Page:
    """The page in a list's answer; its items say what they are, which servers leave to the list to say."""
    items = body.get("items") or []
    kind, version = body.get("kind", ""), body.get("apiVersion", "")
    if items and "kind" not in items[0] and kind.endswith("List"):
        items = [{"apiVersion": version, "kind": kind[:-4], **item} for item in items]
    meta = body.get("metadata") or {}
    return Page(items, meta.get("resourceVersion", ""), meta.get("continue") or "", meta.get("remainingItemCount"))


class Client:
    """Every verb for every resource, custom ones too. Requests are sent again as `retry` says."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = RetryingTransport(transport, clock)

    # --- reading ---------------------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str = "", subresource: str = "", **query: str) -> Obj:
        return await self.send("GET", resource.path(namespace, name, subresource), query)

    async def find(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        """The object, or None if there is none."""
        try:
            return await self.get(resource, name, namespace)
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, resource: Resource, namespace: str = "", **query: str) -> list[Obj]:
        """All objects, read in pages where `limit` is given."""
        return [obj async for page in self.list_pages(resource, namespace, **query) for obj in page.items]

    async def list_pages(
        self, resource: Resource, namespace: str = "", limit: int | str = 0, **query: str
    ) -> AsyncIterator[Page]:
        """Page by page, all at one revision. StatusError 410 when that revision is gone before the end is reached."""
        if int(limit):
            query["limit"] = str(limit)
        while True:
            page = page_of(await self.send("GET", resource.path(namespace), query))
            yield page
            if not page.continue_:
                return
            query = {**query, "continue": page.continue_}
            query.pop("resourceVersion", None)
            query.pop("resourceVersionMatch", None)

    def watch(self, resource: Resource, namespace: str = "", **query: str) -> Batches:
        """Events in batches until the server ends the watch; give `resourceVersion` to begin after a list."""
        return self._transport.watch(resource.path(namespace), query)

    # --- writing ---------------------------------------------------------------------------------------------------------------

    async def create(
        self, resource: Resource, obj: Obj, namespace: str = "", name: str = "", subresource: str = "", **query: str
    ) -> Obj:
        """Create; with `name` and `subresource` as for bindings, evictions and tokens."""
        path = resource.path(_namespace(obj, namespace), name, subresource)
        return await self.send("POST", path, query, obj)

    async def update(self, resource: Resource, obj: Obj, subresource: str = "", **query: str) -> Obj:
        """Replace. 409 Conflict if the object's resourceVersion is no longer the newest."""
        path = resource.path(_namespace(obj, ""), obj["metadata"]["name"], subresource)
        return await self.send("PUT", path, query, obj)

    async def update_status(self, resource: Resource, obj: Obj, **query: str) -> Obj:
        return await self.update(resource, obj, "status", **query)

    async def patch(self, resource: Resource, name: str, patch: Any, namespace: str = "", how: str = "strategic", subresource: str = "",
                    **query: str) -> Obj:  # fmt: skip
        """`how` is strategic, merge or json."""
        path = resource.path(namespace, name, subresource)
        return await self.send("PATCH", path, query, patch, PATCH_TYPES[how])

    async def apply(
        self, resource: Resource, obj: Obj, manager: str, force: bool = False, subresource: str = "", **query: str
    ) -> Obj:
        """Server-side apply as a field manager. 409 Conflict, with its causes, unless forced."""
        query = {"fieldManager": manager, **({"force": "true"} if force else {}), **query}
        path = resource.path(_namespace(obj, ""), obj["metadata"]["name"], subresource)
        return await self.send("PATCH", path, query, obj, PATCH_TYPES["apply"])

    async def delete(self, resource: Resource, name: str, namespace: str = "", options: Obj | None = None, **query: str) -> Obj:
        """Delete; the object while it still ends gracefully, else a Status. `options` is a DeleteOptions."""
        return await self.send("DELETE", resource.path(namespace, name), query, options)

    async def delete_collection(self, resource: Resource, namespace: str = "", options: Obj | None = None, **query: str) -> Obj:
        return await self.send("DELETE", resource.path(namespace), query, options)

    async def send(self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None,
                   content_type: str = "application/json") -> Any:  # fmt: skip
        """Any request. The answer's body; StatusError if it is no success."""
        response = await self._transport.request(method, path, query or None, body, content_type)
        if response.status >= 300:
            raise error_of(response.body, response.status)
        return response.body


def _namespace(obj: Obj, otherwise: str) -> str:
    return (obj.get("metadata") or {}).get("namespace") or otherwise

"""metrics.k8s.io: what nodes and pods use, as the nodes report it when somebody asks.

On other clusters metrics-server collects this from kubelets. Here whoever plays nodes asks at `/pilothouse/node-usage` whether a report is
wanted and waits (a long poll), so that a cluster that nobody measures pays nothing. The resources are in discovery only
while somebody reports. With several API servers on one store, those that no node is attached to do not serve them. Left out: watches.
Reference: "Resource metrics pipeline", metrics.k8s.io/v1beta1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api import quantity, selectors
from pilothouse.api.errors import Obj, bad_request, not_found_error
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import NAME_COLUMN, Column, Strategy
from pilothouse.apiserver.attached import POLL, Attached, Member, within
from pilothouse.apiserver.interface import SpecialRequest, SpecialResult, User
from pilothouse.apiserver.messages import Answer, Request, Response
from pilothouse.apiserver.render import json_response
from pilothouse.apiserver.routes import MethodNotAllowed, Route
from pilothouse.clock import rfc3339

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

PATH = "/pilothouse/node-usage"
GROUP, VERSION = "metrics.k8s.io", "v1beta1"
#: Seconds for which a report is good, and for which a new one is waited for.
RESOLUTION, PATIENCE = 15.0, 5.0


@dataclass(slots=True, eq=False)
class _Reporter(Member):
    """Somebody who plays nodes: the last report, when that was, and whether another is wanted."""

    report: Obj = field(default_factory=dict)
    at: float = -1e18
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)


class NodeUsage:
    """The reporters of one server, and the resources that are made of their reports."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        resources = [(NODES, NODE_SCHEMA, _MetricsStrategy), (PODS, POD_SCHEMA, _MetricsStrategy)]
        self._attached: Attached[str, _Reporter] = Attached(server, resources, self._special)
        self.schemas = self._attached.schemas

    # --- reporters -----------------------------------------------------------------------------------------------------------------

    def attend(self, request: Request, route: Route, user: User) -> Answer:
        """A reporter brings a report, or asks whether one is wanted."""
        if route.method != "POST":
            raise MethodNotAllowed(("POST",))
        return self._attend(request)

    async def _attend(self, request: Request) -> Response:
        try:
            body = orjson.loads(request.body)
            name, report = str(body["reporter"]), body.get("report")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise bad_request("expected a JSON object with the reporter's name") from None
        reporter = self._attached.arrive(name, _Reporter)
        turn = reporter.turn
        if isinstance(report, dict):
            reporter.report, reporter.at = report, self._server.clock.now()
            reporter.wanted.clear()
            reporter.told.set()
        try:
            wanted = await within(self._server.clock, POLL, reporter.wanted.wait())
        finally:
            self._attached.answered(name, reporter, turn)
        return json_response(200, {"wanted": bool(wanted)})

    # --- clients -------------------------------------------------------------------------------------------------------------------

    async def _special(self, request: SpecialRequest) -> SpecialResult:
        if request.verb == "watch":
            raise MethodNotAllowed(())
        await self._refresh()
        found = self._nodes() if request.resource.plural == NODES.plural else self._pods(request.namespace)
        if request.verb != "list":
            for obj in found:
                if obj["metadata"]["name"] == request.name:
                    return SpecialResult(200, obj)
            raise not_found_error(GROUP, request.resource.plural, request.name)
        items = _selected(found, request.query)
        resource = request.resource
        body = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": {}, "items": items}
        return SpecialResult(200, body)

    async def _refresh(self) -> None:
        """Have reports that are not too old; what does not come in time is left out or stays as it was."""
        late = self._server.clock.now() - RESOLUTION
        stale = [r for r in self._attached.members.values() if r.at <= late]
        for reporter in stale:
            reporter.told.clear()
            reporter.wanted.set()
        await asyncio.gather(*(within(self._server.clock, PATIENCE, r.told.wait()) for r in stale))

    def _nodes(self) -> Iterable[Obj]:
        cache = self._server.cache("", "nodes")
        for reporter in list(self._attached.members.values()):
            for name, usage in (reporter.report.get("nodes") or {}).items():
                entry = cache.get("", name)
                if entry is not None:
                    yield {**_head(NODES, entry.obj, reporter.at), "usage": usage}

    def _pods(self, namespace: str) -> Iterable[Obj]:
        cache = self._server.cache("", "pods")
        for reporter in list(self._attached.members.values()):
            for where, name, containers in reporter.report.get("pods") or ():
                entry = cache.get(where, name) if namespace in ("", where) else None
                if entry is not None:
                    used = [{"name": c, "usage": usage} for c, usage in containers.items()]
                    yield {**_head(PODS, entry.obj, reporter.at), "containers": used}


def _head(resource: Resource, of: Obj, at: float) -> Obj:
    meta, stamp = of["metadata"], rfc3339(at)
    metadata: Obj = {"name": meta["name"]}
    if resource.namespaced:
        metadata["namespace"] = meta["namespace"]
    metadata["creationTimestamp"] = stamp
    if meta.get("labels"):
        metadata["labels"] = meta["labels"]
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "timestamp": stamp,
        "window": f"{int(RESOLUTION)}s",
    }


def _selected(found: Iterable[Obj], query: Mapping[str, str]) -> list[Obj]:
    """By labels and by name. 400 for a selector that cannot be read."""
    try:
        matches = selectors.text_predicate(query.get("labelSelector", ""))
        fields = selectors.parse_field_selector(query.get("fieldSelector", ""))
    except selectors.SelectorError as error:
        raise bad_request(str(error)) from None
    named = selectors.field_predicate(
        fields, lambda o: {f"metadata.{k}": o["metadata"].get(k, "") for k in ("name", "namespace")}
    )
    return [o for o in found if matches(o["metadata"].get("labels") or {}) and named(o)]


# --- the two resources --------------------------------------------------------------------------------------------------------------

NODES = Resource(GROUP, VERSION, "nodes", "NodeMetrics", "", False, ("get", "list"))
PODS = Resource(GROUP, VERSION, "pods", "PodMetrics", "", True, ("get", "list"))

_USAGE = {"type": "object", "additionalProperties": {"type": "string"}}
_COMMON = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"type": "object"},
    "timestamp": {"type": "string", "format": "date-time"},
    "window": {"type": "string"},
}
NODE_SCHEMA: Obj = {"type": "object", "description": "What a node uses.", "properties": {**_COMMON, "usage": _USAGE}}
_CONTAINER = {"type": "object", "properties": {"name": {"type": "string"}, "usage": _USAGE}}
POD_SCHEMA: Obj = {
    "type": "object",
    "description": "What a pod's containers use.",
    "properties": {**_COMMON, "containers": {"type": "array", "items": _CONTAINER}},
}


class _MetricsStrategy(Strategy):
    columns = (NAME_COLUMN, Column("cpu"), Column("memory"), Column("Window"))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        usages = [obj["usage"]] if "usage" in obj else [c["usage"] for c in obj["containers"]]
        total = {"cpu": "0", "memory": "0"}
        for usage in usages:
            total = {k: quantity.add(v, usage.get(k, "0")) for k, v in total.items()}
        return [obj["metadata"]["name"], total["cpu"], total["memory"], obj["window"]]

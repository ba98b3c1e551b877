"""Which FlowSchema, and so which priority level, a request belongs to.

API Priority and Fairness: schemas are tried in the order of `matchingPrecedence`, then of their names; the first with a rule of which a subject and
a resource or path rule match is taken. Every answer names both by their uids in two headers. A schema whose level does not exist
is passed over. What a request line means to a user is remembered until a schema or a level changes, so a read pays for a look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import Obj
from pilothouse.apiserver.interface import User
from pilothouse.apiserver.plans import Plan
from pilothouse.apiserver.routes import Route
from pilothouse.apiserver.seats import Level, Seats

if TYPE_CHECKING:
    from pilothouse.apiserver.registry import Registry

GROUP = "flowcontrol.apiserver.k8s.io"
#: So many decisions are remembered; then all are forgotten.
_LIMIT = 8192
_ACCOUNT = "system:serviceaccount:"
#: Requests of unknown length are not counted (watches are, until they have begun).
_LONG_RUNNING = frozenset(("attach", "exec", "proxy", "log", "portforward"))


class Flow:
    """One FlowSchema with its level, as requests meet it."""

    __slots__ = ("count", "header", "level", "name", "precedence", "rules", "split")

    def __init__(self, schema: Obj, level: Level) -> None:
        spec, metadata = schema["spec"], schema["metadata"]
        self.name: str = metadata["name"]
        self.precedence: int = spec.get("matchingPrecedence", 0)
        self.rules: list[Obj] = spec.get("rules") or []
        self.split: str = (spec.get("distinguisherMethod") or {}).get("type", "")
        self.level = level
        #: Requests that were let in.
        self.count = 0
        #: Follows the audit id in an answer's head.
        self.header = f"\r\nX-Kubernetes-Pf-Flowschema-Uid: {metadata.get('uid', '')}\r\nX-Kubernetes-Pf-Prioritylevel-Uid: {level.uid}".encode()

    def queue_of(self, user: User, route: Route) -> str:
        """What tells the flows of a level apart: the schema, and whom or what it tells apart."""
        return f"{self.name}/{user.name if self.split == 'ByUser' else route.namespace if self.split == 'ByNamespace' else ''}"


class Flows:
    """The schemas of one server. Without any (they are objects, and may not be served) nothing is classified."""

    def __init__(self, registry: Registry, seats: Seats) -> None:
        self.seats = seats
        self._flows: list[Flow] = []
        self._known: dict[Any, Flow | None] = {}
        self._stale = True
        found = [registry.preferred.get((GROUP, plural)) for plural in ("flowschemas", "prioritylevelconfigurations")]
        self._caches = [served.cache for served in found if served is not None]
        if len(self._caches) == 2:
            for cache in self._caches:
                cache.subscribe(self._changed)

    def _changed(self, type: str, obj: Obj, previous: Obj | None) -> None:
        """Forget what was decided, unless only a status has changed."""
        if type == "MODIFIED" and previous is not None and obj.get("spec") == previous.get("spec"):
            return
        self._stale = True

    def of(self, user: User, plan: Plan) -> Flow | None:
        """The flow of a request; None for those that are not counted."""
        if self._stale:
            self._renew()
        route = plan.route
        key = (user.name, user.groups, route.verb, route.group, route.resource, route.subresource, route.namespace, "" if route.resource else route.path)  # fmt: skip
        try:
            return self._known[key]
        except KeyError:
            pass
        if len(self._known) >= _LIMIT:
            self._known.clear()
        found = self._known[key] = self._classify(user, route)
        return found

    def _classify(self, user: User, route: Route) -> Flow | None:
        if route.resource and route.subresource in _LONG_RUNNING:
            return None
        return next((flow for flow in self._flows if any(_matches(rule, user, route) for rule in flow.rules)), None)

    def _renew(self) -> None:
        """Read all schemas and levels again."""
        self._stale = False
        self._known.clear()
        if len(self._caches) != 2:
            return
        schemas, levels = self._caches
        self.seats.configure(entry.obj for entry in levels.list())
        counts = {flow.name: flow.count for flow in self._flows}
        found = []
        for entry in schemas.list():
            level = self.seats.levels.get((entry.obj["spec"].get("priorityLevelConfiguration") or {}).get("name", ""))
            if level is not None:
                found.append(Flow(entry.obj, level))
                found[-1].count = counts.get(found[-1].name, 0)
        self._flows = sorted(found, key=lambda flow: (flow.precedence, flow.name))

    @property
    def all(self) -> Sequence[Flow]:
        """The schemas in the order in which they are tried."""
        if self._stale:
            self._renew()
        return self._flows

    def gauges(self) -> Iterable[Any]:
        """For /metrics."""
        start = "apiserver_flowcontrol_"
        counts = [({"flow_schema": f.name, "priority_level": f.level.name}, f.count) for f in self._flows]
        yield f"{start}dispatched_requests_total", "Number of requests let in, by flow schema.", "counter", counts
        levels = self.seats.levels.values()
        refused = [
            ({"priority_level": level.name, "reason": reason}, getattr(level, take))
            for level in levels
            for reason, take in (
                ("queue-full" if level.queue_limit else "concurrency-limit", "refused"),
                ("time-out", "timed_out"),
                ("cancelled", "cancelled"),
            )
        ]
        yield (
            f"{start}rejected_requests_total",
            "Number of requests turned away, by priority level and reason.",
            "counter",
            refused,
        )
        for name, text, type, take in _LEVEL_GAUGES:
            yield start + name, text, type, [({"priority_level": level.name}, getattr(level, take)) for level in levels]


_LEVEL_GAUGES = (
    ("current_executing_requests", "Number of requests that have a seat, by priority level.", "gauge", "running"),
    ("current_inqueue_requests", "Number of requests that wait for a seat, by priority level.", "gauge", "waiting"),
    ("nominal_limit_seats", "Number of seats of a priority level before lending and borrowing.", "gauge", "nominal"),
)


# --- matching ---------------------------------------------------------------------------------------------------------------------


def _matches(rule: Obj, user: User, route: Route) -> bool:
    if not any(_is_subject(subject, user) for subject in rule.get("subjects") or ()):
        return False
    if route.resource:
        return any(_resource_matches(r, route) for r in rule.get("resourceRules") or ())
    return any(_path_matches(r, route) for r in rule.get("nonResourceRules") or ())


def _is_subject(subject: Obj, user: User) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        return (subject.get("user") or {}).get("name") in ("*", user.name)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == "*" or name in user.groups
    account = subject.get("serviceAccount") or {}
    namespace, name = account.get("namespace"), account.get("name")
    if name == "*":
        return user.name.startswith(f"{_ACCOUNT}{namespace}:")
    return user.name == f"{_ACCOUNT}{namespace}:{name}"


def _in(values: list[str] | None, wanted: str) -> bool:
    return bool(values) and ("*" in values or wanted in values)  # type: ignore[operator]


def _resource_matches(rule: Obj, route: Route) -> bool:
    resource = f"{route.resource}/{route.subresource}" if route.subresource else route.resource
    if not (
        _in(rule.get("verbs"), route.verb) and _in(rule.get("apiGroups"), route.group) and _in(rule.get("resources"), resource)
    ):
        return False
    return _in(rule.get("namespaces"), route.namespace) if route.namespace else bool(rule.get("clusterScope"))


def _path_matches(rule: Obj, route: Route) -> bool:
    return _in(rule.get("verbs"), route.verb) and any(_path_is(p, route.path) for p in rule.get("nonResourceURLs") or ())


def _path_is(pattern: str, path: str) -> bool:
    if pattern == "*" or pattern == path:
        return True
    return pattern.endswith("/*") and path.startswith(pattern[:-1])

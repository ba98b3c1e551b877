"""Plans: what a request line means on this server, worked out once.

A plan holds the route, the served resource, the verb, and everything that will be wrong with any request of this line: what is told
before authentication (`early`), after authorization (`fail`: 404, 405), and after content negotiation (`late`). Plans are forgotten
when resources come or go.
"""

from __future__ import annotations

from pilothouse.api.errors import StatusError, bad_request, not_found_error
from pilothouse.apiserver import negotiate, routes
from pilothouse.apiserver.metrics import Cell, Metrics
from pilothouse.apiserver.registry import Registry, Served, Special
from pilothouse.apiserver.routes import Route

_MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_ITEM_METHODS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_METHODS = {"POST": "create", "GET": "list", "HEAD": "list", "DELETE": "deletecollection"}
_ALL_NAMESPACES = {"GET": "list", "HEAD": "list"}
_SUBRESOURCE_METHODS = {**_ITEM_METHODS, "POST": "create"}
_LISTED = negotiate.OBJECT_TYPES + negotiate.WATCH_TYPES
#: So many plans are remembered; then all are forgotten.
_LIMIT = 8192


class Plan:
    """One request line, understood."""

    __slots__ = (
        "cell",
        "early",
        "fail",
        "late",
        "mutating",
        "name",
        "produced",
        "route",
        "scale",
        "served",
        "special",
        "timeout",
        "verb",
    )

    def __init__(self, route: Route, cell: Cell) -> None:
        self.route = route
        self.cell = cell
        self.served: Served | None = None
        self.special: Special | None = None
        self.scale = False
        self.verb = ""
        self.name = route.name
        self.mutating = route.verb in _MUTATING
        self.timeout: float | None = None
        self.produced: tuple[str, ...] = negotiate.OBJECT_TYPES
        self.early: StatusError | None = None
        self.fail: StatusError | None = None
        self.late: StatusError | None = None


class Planner:
    """Makes and remembers plans."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._plans: dict[tuple[str, str], Plan] = {}

    def forget(self) -> None:
        """Resources have come or gone."""
        self._plans.clear()

    def plan(self, method: str, target: str) -> Plan | None:
        """The plan of a request line; None if the line is broken."""
        found = self._plans.get((method, target))
        if found is not None:
            return found
        try:
            route = routes.parse(method, target)
        except ValueError:
            return None
        made = self._make(route)
        if len(self._plans) >= _LIMIT:
            self._plans.clear()
        self._plans[(method, target)] = made
        return made

    def _make(self, route: Route) -> Plan:
        plan = Plan(route, self._metrics.cell(route))
        if route.query:
            try:
                plan.timeout = routes.timeout_of(route)
            except StatusError as error:
                plan.early = error
            if route.resource and not route.name and "fieldSelector" in route.query:
                plan.name = routes.single_name(route)
        if route.resource:
            try:
                self._resolve(plan, route)
            except StatusError as error:
                plan.fail = error
        return plan

    def _resolve(self, plan: Plan, route: Route) -> None:
        served = None if route.malformed else self._registry.find(route.group, route.version, route.resource)
        if served is None:
            groups = self._registry.groups - self._registry.custom_groups
            if route.prefix == "api" or route.group in groups:
                raise routes.unknown_path()
            return
        if served.custom and not _reaches(route, served):
            return
        plan.served = served
        if served.custom:
            plan.verb = _custom_verb(route, served)
        else:
            plan.verb = _subresource_verb(route, served) if route.subresource else _verb(route, served)
        plan.scale = route.subresource == "scale"
        plan.special = None if plan.scale else served.special(route.subresource)
        if plan.special is None and not served.stored:
            raise routes.unknown_path()
        if plan.verb in ("list", "watch"):
            plan.produced = _LISTED
        if route.name:
            plan.late = bad_name(route.name)


def _verb(route: Route, served: Served) -> str:
    """What the method means for a resource; 404 and 405 as the reference's router has them."""
    resource = served.resource
    if not resource.namespaced and route.namespace and route.resource != "namespaces":
        raise routes.unknown_path()
    everywhere = resource.namespaced and not route.namespace
    if route.name:
        if everywhere or not any(v in resource.verbs for v in _ITEM_METHODS.values()):
            raise routes.unknown_path()
        methods = _ITEM_METHODS
    elif everywhere:
        if "list" not in resource.verbs:
            raise routes.unknown_path()
        methods = _ALL_NAMESPACES
    else:
        methods = _COLLECTION_METHODS
    verb = methods.get(route.method, "")
    if verb not in resource.verbs:
        raise routes.MethodNotAllowed(m for m, v in methods.items() if v in resource.verbs)
    return "watch" if route.verb == "watch" and verb in ("get", "list") else verb


def _subresource_verb(route: Route, served: Served) -> str:
    subresource = served.resource.subresources.get(route.subresource)
    wrong_scope = served.resource.namespaced != bool(route.namespace) and route.resource != "namespaces"
    if subresource is None or wrong_scope:
        raise routes.unknown_path()
    verb = _SUBRESOURCE_METHODS.get(route.method, "")
    if verb not in subresource.verbs:
        raise routes.MethodNotAllowed(m for m, v in _SUBRESOURCE_METHODS.items() if v in subresource.verbs)
    return verb


def _reaches(route: Route, served: Served) -> bool:
    """Whether a custom resource is there at all: only lists and watches go across namespaces."""
    if not served.resource.namespaced:
        return not route.namespace
    return bool(route.namespace) or (not route.name and route.verb in ("list", "watch"))


def _custom_verb(route: Route, served: Served) -> str:
    """What the method means for a custom resource, whose router knows verbs and subresources but no methods and paths."""
    resource = served.resource
    if not route.subresource:
        methods, verbs = (_ITEM_METHODS if route.name else _COLLECTION_METHODS), tuple(resource.verbs)
    elif route.subresource in resource.subresources:
        methods, verbs = _ITEM_METHODS, resource.subresources[route.subresource].verbs
    else:
        raise not_found_error(resource.group, resource.plural, route.name)
    if not route.name and route.verb in ("update", "patch"):
        raise bad_request("name must be provided")
    verb = methods.get(route.method, "")
    if verb not in verbs:
        raise routes.not_supported(route)
    return "watch" if route.verb == "watch" and verb in ("get", "list") else verb


def bad_name(name: str) -> StatusError | None:
    """400 for names that cannot be part of a path."""
    problem = ""
    if name in (".", ".."):
        problem = f"may not be '{name}'"
    elif "/" in name:
        problem = "may not contain '/'"
    elif "%" in name:
        problem = "may not contain '%'"
    return bad_request(f'Name parameter invalid: "{name}": {problem}') if problem else None

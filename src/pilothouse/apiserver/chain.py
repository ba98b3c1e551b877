"""The chain that every request passes: who is it, as whom, how many at once, may it, and where does it go.

One place turns errors into answers and puts the headers on that every answer carries. What needs no waiting runs as a plain function
from the first byte to the last; the chain adds no task and no await to a read. What a request line means (its `Plan`) is worked
out once and remembered, because the same few are asked again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import StatusError, bad_request, forbidden_error
from pilothouse.apiserver import flow_dumps, impersonation, negotiate, websocket
from pilothouse.apiserver.flows import Flow, Flows
from pilothouse.apiserver.handlers import Ask, Handlers, wants_pretty
from pilothouse.apiserver.interface import Attributes, Credentials, User, Verdict
from pilothouse.apiserver.messages import Answer, Request, Response
from pilothouse.apiserver.plans import Plan, Planner
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.render import status_response
from pilothouse.apiserver.routes import MethodNotAllowed, Route
from pilothouse.apiserver.seats import Seats
from pilothouse.apiserver.warning_headers import warning_headers
from pilothouse.clock import new_uid

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
_SUPERUSERS = "system:masters"
_BEARER = "bearer "
REQUEST_SECONDS = 60.0
#: Longer audit ids of clients are cut.
AUDIT_ID_LIMIT = 64
#: How long an Authorization header that was good counts as good.
TOKEN_SECONDS = 10.0
_TOKENS = 4096


class Chain:
    """The request path of one server."""

    def __init__(self, server: ApiServer, registry: Registry, handlers: Handlers) -> None:
        self.server = server
        self.handlers = handlers
        self.planner = Planner(registry, server.metrics)
        options = server.options
        self.flows = Flows(registry, Seats(server.clock, options.max_in_flight + options.max_mutating_in_flight))
        server.metrics.add_gauges(self.flows.gauges)
        for path, handler in flow_dumps.handlers(self.flows).items():
            server.paths.register(path, handler, listed=False)
        self.mutating = 0
        self.reading = 0
        self._audit_base = new_uid(server.clock)[:24].encode()
        self._audit_count = 0
        self._tokens: dict[bytes, tuple[User, float]] = {}

    # --- in and out -----------------------------------------------------------------------------------------------------------------

    def __call__(self, request: Request) -> Answer:
        """Answer, or begin to."""
        started = self.server.monotonic()
        plan = self.planner.plan(request.method, request.target)
        if plan is None:
            return Response(400, b"400 Bad Request", "text/plain; charset=utf-8")
        try:
            if plan.early is not None:
                raise plan.early
            user = self._identify(request, plan, started)
            if not request.native:
                request.flow = self.flows.of(user, plan)
            answer = self._dispatch(request, plan, user)
        except Exception as error:
            return self._finish(request, plan, self._failed(request, plan, error), started)
        if isinstance(answer, Response):
            return self._finish(request, plan, answer, started)
        return self._run(request, plan, user, answer, started)

    async def _run(
        self, request: Request, plan: Plan, user: User, work: Coroutine[Any, Any, Response], started: float
    ) -> Response:
        """The waiting kind of request: bounded in number and in time."""
        flow: Flow | None = request.flow
        bound = flow if flow is not None and not flow.level.exempt else None  # decided once: levels may change meanwhile
        try:
            seated = bound is None or await self._seat(bound, user, plan)
        except asyncio.CancelledError:
            work.close()
            raise
        if not seated or (flow is None and self._too_many(plan.mutating, request)):
            work.close()
            return self._finish(request, plan, _too_many_requests(), started)
        self._count(plan.mutating, 0 if request.native else 1)
        try:
            async with asyncio.timeout(min(plan.timeout or REQUEST_SECONDS, REQUEST_SECONDS)):
                response = await work
        except TimeoutError:
            error = StatusError(504, "Timeout", "Timeout: request did not complete within the allotted timeout", {})
            response = self._failed(request, plan, error)
        except Exception as error:
            response = self._failed(request, plan, error)
        finally:
            self._count(plan.mutating, 0 if request.native else -1)
            if bound is not None:
                self.flows.seats.give_back(bound.level)
        return self._finish(request, plan, response, started)

    async def _seat(self, flow: Flow, user: User, plan: Plan) -> bool:
        """Take one of the priority level's seats, or wait for one."""
        seats = self.flows.seats
        return seats.take(flow.level) or await seats.wait(flow.level, flow.queue_of(user, plan.route))

    def _too_many(self, mutating: bool, request: Request) -> bool:
        options = self.server.options
        if request.native:
            return False
        return self.mutating >= options.max_mutating_in_flight if mutating else self.reading >= options.max_in_flight

    def _count(self, mutating: bool, change: int) -> None:
        if mutating:
            self.mutating += change
        else:
            self.reading += change

    def _failed(self, request: Request, plan: Plan, error: Exception) -> Response:
        if _too_deep(error):
            error = bad_request("exceeded max depth")
        if not isinstance(error, StatusError):
            log.error("%s %s failed", request.method, request.target, exc_info=error)
            error = StatusError(500, "InternalError", f"Internal error occurred: {error}", {"causes": [{"message": str(error)}]})
        protobuf = plan.served is None or not plan.served.custom
        response = status_response(error, request.header(b"accept"), wants_pretty(plan.route, request), protobuf)
        if error.code == 401:
            response.add("Www-Authenticate", 'Bearer realm="kubernetes-master"')
        elif isinstance(error, MethodNotAllowed):
            response.add("Allow", error.allowed)
        return response

    def _finish(self, request: Request, plan: Plan, response: Response, started: float) -> Response:
        if not request.native:
            given = request.headers.get(b"audit-id")
            if given is None:
                self._audit_count += 1
                response.audit = b"%b%012x" % (self._audit_base, self._audit_count)
            else:
                response.audit = given[:AUDIT_ID_LIMIT]
            flow = request.flow
            if flow is not None:
                flow.count += 1
                response.audit += flow.header
        if request.warnings:
            for header in warning_headers(request.warnings):
                response.add("Warning", header)
        plan.cell.observe(response.status, self.server.monotonic() - started)
        return response

    # --- who --------------------------------------------------------------------------------------------------------------------------

    def _identify(self, request: Request, plan: Plan, now: float) -> User:
        user = request.user
        if user is None:
            user = self._known(request, now)
        for name in request.headers:
            if name.startswith(b"impersonate-"):
                wanted = self.attributes(user, plan)
                return impersonation.impersonate(self.server.authorize, user, request, wanted)
        found: User = user
        return found

    def _known(self, request: Request, now: float) -> User:
        """Authenticate, or remember: a token that was good a moment ago is not verified again."""
        header = request.headers.get(b"authorization")
        if header is None or (request.connection is not None and request.connection.subject is not None):
            return self.authenticate(request)
        found = self._tokens.get(header)
        if found is not None and found[1] > now:
            return found[0]
        user = self.authenticate(request)
        if len(self._tokens) >= _TOKENS:
            self._tokens.clear()
        self._tokens[header] = (user, now + TOKEN_SECONDS)
        return user

    def authenticate(self, request: Request) -> User:
        """The identity behind a request; 401 for wrong credentials."""
        header = request.header(b"authorization")
        bearer = header.split(" ")[1] or None if header[:7].lower() == _BEARER else None
        if bearer is None and b"sec-websocket-protocol" in request.headers and websocket.wanted(request):
            bearer = websocket.bearer_of(request)
        certificate = request.connection.subject if request.connection is not None else None
        found = self.server.authenticate(Credentials(bearer, certificate))
        if found is not None:
            return found
        if not self.server.options.anonymous_auth:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        return ANONYMOUS

    # --- may it -------------------------------------------------------------------------------------------------------------------------

    def attributes(self, user: User, plan: Plan) -> Attributes:
        route = plan.route
        if not route.resource:
            return Attributes(user, route.method.lower(), path=route.path)
        return Attributes(
            user, route.verb, route.group, route.version, route.resource, route.subresource, route.namespace, plan.name, route.path,
            *(_selectors(route) if route.query else ()),
        )  # fmt: skip

    # --- where to -----------------------------------------------------------------------------------------------------------------------

    def _dispatch(self, request: Request, plan: Plan, user: User) -> Answer:
        if _SUPERUSERS not in user.groups:
            attributes = self.attributes(user, plan)
            verdict, reason = self.server.authorize(attributes)
            if verdict is not Verdict.ALLOW:
                raise forbidden_request(attributes, reason)
        if plan.served is None:
            return self._elsewhere(request, plan, user)
        if plan.fail is not None:
            raise plan.fail
        if not request.native and not plan.served.custom:
            negotiate.check_produced(request.header(b"accept"), plan.produced)
        if plan.late is not None:
            raise plan.late
        ask = Ask(request, plan.route, plan.served, user)
        if plan.served.strategy.deprecated:
            request.warnings.append(plan.served.strategy.deprecated)
        return self._call(plan, ask)

    def _call(self, plan: Plan, ask: Ask) -> Answer:
        if plan.special is not None:
            return self.handlers.special(ask, plan.special, plan.verb)
        target = self.handlers.scaling if plan.scale else self.handlers
        answer: Answer = getattr(target, plan.verb)(ask)
        return answer

    def _elsewhere(self, request: Request, plan: Plan, user: User) -> Answer:
        if self.server.api_services.is_remote(plan.route.path):
            return _unavailable()
        if plan.fail is not None:
            raise plan.fail
        return not_found_page() if plan.route.resource else self.server.paths.answer(request, plan.route, user)


def _too_deep(error: Exception) -> bool:
    """Whether something was nested deeper than it can be walked along, or (orjson's TypeError) written as JSON."""
    return isinstance(error, RecursionError) or (isinstance(error, TypeError) and str(error) == "Recursion limit reached")


def not_found_page() -> Response:
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", (("X-Content-Type-Options", "nosniff"),))


def _unavailable() -> Response:
    """Another server's group, which this one cannot reach."""
    return Response(503, b"service unavailable\n", "text/plain; charset=utf-8", (("X-Content-Type-Options", "nosniff"),))


def _too_many_requests() -> Response:
    text = b"Too many requests, please try again later.\n"
    return Response(429, text, "text/plain; charset=utf-8", (("Retry-After", "1"), ("X-Content-Type-Options", "nosniff")))


def _selectors(route: Route) -> tuple[str, str]:
    """The selectors of a request about many objects."""
    if route.verb not in ("list", "watch", "deletecollection"):
        return "", ""
    return route.first("fieldSelector"), route.first("labelSelector")


def forbidden_request(attributes: Attributes, reason: str) -> StatusError:
    """403, as the reference server says who may not do what where."""
    user = attributes.user.name
    if not attributes.resource:
        message = f'forbidden: User "{user}" cannot {attributes.verb} path "{attributes.path}"'
        return StatusError(403, "Forbidden", _because(message, reason), {})
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    why = f'User "{user}" cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}'
    return forbidden_error(attributes.group, attributes.resource, attributes.name, _because(why, reason))


def _because(message: str, reason: str) -> str:
    return f"{message}: {reason}" if reason else message

"""The chain that every request passes: who is it, as whom, how many at once, may it, and where does it go.

One place turns errors into answers and puts the headers on that every answer carries. What needs no waiting runs as a plain function
from the first byte to the last; the chain adds no task and no await to a read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import Obj, StatusError, forbidden_error
from pilothouse.apiserver import impersonation, negotiate, routes
from pilothouse.apiserver.handlers import Ask, Handlers, check_path_name, single_name, wants_pretty
from pilothouse.apiserver.http import Answer, Request, Response
from pilothouse.apiserver.interface import Attributes, Credentials, User, Verdict
from pilothouse.apiserver.registry import Registry, Served
from pilothouse.apiserver.render import status_response
from pilothouse.apiserver.routes import Route

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
_MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_ITEM_METHODS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_METHODS = {"POST": "create", "GET": "list", "HEAD": "list", "DELETE": "deletecollection"}
_SUBRESOURCE_METHODS = {**_ITEM_METHODS, "POST": "create"}
_BEARER = "bearer "
REQUEST_SECONDS = 60.0


class Chain:
    """The request path of one server."""

    def __init__(self, server: ApiServer, registry: Registry, handlers: Handlers) -> None:
        self.server = server
        self.registry = registry
        self.handlers = handlers
        self.metrics = server.metrics
        self.mutating = 0
        self.reading = 0
        self._audit_base = ""
        self._audit_count = 0

    # --- in and out -----------------------------------------------------------------------------------------------------------------

    def __call__(self, request: Request) -> Answer:
        """Answer, or begin to."""
        started = self.server.monotonic()
        route: Route | None = None
        user: User | None = None
        try:
            try:
                route = routes.parse(request.method, request.target)
            except ValueError:
                return Response(400, b"400 Bad Request", "text/plain; charset=utf-8")
            timeout = routes.timeout_of(route) if route.query else None
            user = self._identify(request, route)
            answer = self._dispatch(request, route, user)
        except Exception as error:
            return self._finish(request, route, self._failed(request, route, error), started)
        if isinstance(answer, Response):
            return self._finish(request, route, answer, started)
        return self._run(request, route, answer, started, timeout)

    async def _run(self, request: Request, route: Route, work: Coroutine[Any, Any, Response], started: float, timeout: float | None) -> Response:  # fmt: skip
        """The waiting kind of request: bounded in number and in time."""
        mutating = route.verb in _MUTATING
        try:
            if self._too_many(mutating, request):
                work.close()
                return self._finish(request, route, _too_many_requests(), started)
            self._count(mutating, 1)
            try:
                async with asyncio.timeout(min(timeout, REQUEST_SECONDS) if timeout else REQUEST_SECONDS):
                    response = await work
            finally:
                self._count(mutating, -1)
        except TimeoutError:
            error = StatusError(504, "Timeout", "Timeout: request did not complete within the allotted timeout", {})
            response = self._failed(request, route, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            response = self._failed(request, route, error)
        return self._finish(request, route, response, started)

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

    def _failed(self, request: Request, route: Route | None, error: Exception) -> Response:
        if not isinstance(error, StatusError):
            log.error("%s %s failed", request.method, request.target, exc_info=error)
            error = StatusError(500, "InternalError", f"Internal error occurred: {error}", {"causes": [{"message": str(error)}]})
        response = status_response(error, request.header(b"accept"), route is not None and wants_pretty(route, request))
        if error.code == 401:
            response.headers.append(("Www-Authenticate", 'Bearer realm="kubernetes-master"'))
        return response

    def _finish(self, request: Request, route: Route | None, response: Response, started: float) -> Response:
        if not request.native:
            headers = response.headers
            headers.append(("Audit-Id", request.header(b"audit-id") or self._audit_id()))
            if not any(name == "Cache-Control" for name, _ in headers):
                headers.append(("Cache-Control", "no-cache, private"))
            headers.extend(self.server.flow_headers)
        if route is not None:
            self.metrics.observe(route, response.status, self.server.monotonic() - started)
        return response

    def _audit_id(self) -> str:
        """A unique id, made of one random part and a counter."""
        if not self._audit_base:
            from pilothouse.clock import new_uid

            self._audit_base = new_uid(self.server.clock)[:24]
        self._audit_count += 1
        return f"{self._audit_base}{self._audit_count & 0xFFFFFFFFFFFF:012x}"

    # --- who --------------------------------------------------------------------------------------------------------------------------

    def _identify(self, request: Request, route: Route) -> User:
        user = self.authenticate(request)
        if any(name.startswith(b"impersonate-") for name, _ in request.headers):
            return impersonation.impersonate(self.server.authorize, user, request, self.attributes(user, route))
        return user

    def authenticate(self, request: Request) -> User:
        """The identity behind a request; 401 for wrong credentials."""
        if request.user is not None:
            return request.user
        header = request.header(b"authorization")
        bearer: str | None = None
        if header[:7].lower() == _BEARER:
            parts = header.split(" ")
            bearer = parts[1] or None
        certificate = request.connection.subject if request.connection is not None else None
        found = self.server.authenticate(Credentials(bearer, certificate))
        if found is not None:
            return found
        if not self.server.options.anonymous_auth:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        return ANONYMOUS

    # --- may it -------------------------------------------------------------------------------------------------------------------------

    def attributes(self, user: User, route: Route) -> Attributes:
        if not route.resource:
            return Attributes(user, route.method.lower(), path=route.path)
        name = route.name
        if not name and route.query and "fieldSelector" in route.query:
            name = single_name(route)
        return Attributes(
            user, route.verb, route.group, route.version, route.resource, route.subresource, route.namespace, name, route.path,
            *self._selectors(route),
        )  # fmt: skip

    def _selectors(self, route: Route) -> tuple[str, str]:
        if not route.query or route.verb not in ("list", "watch", "deletecollection"):
            return "", ""
        return route.first("fieldSelector"), route.first("labelSelector")

    def _authorize(self, user: User, route: Route) -> None:
        attributes = self.attributes(user, route)
        verdict, reason = self.server.authorize(attributes)
        if verdict is not Verdict.ALLOW:
            raise forbidden_request(attributes, reason)

    # --- where to -----------------------------------------------------------------------------------------------------------------------

    def _dispatch(self, request: Request, route: Route, user: User) -> Answer:
        self._authorize(user, route)
        if not route.resource:
            return self.server.paths.answer(request, route, user)
        served = self._find(route)
        if served is None:
            return self._unknown(route)
        ask = Ask(request, route, served, user)
        if served.strategy.deprecated:
            ask.warnings.append(served.strategy.deprecated)
        answer = self._handle(ask)
        if isinstance(answer, Response):
            return _with_warnings(answer, ask)
        return self._with_warnings_later(answer, ask)

    async def _with_warnings_later(self, work: Coroutine[Any, Any, Response], ask: Ask) -> Response:
        try:
            return _with_warnings(await work, ask)
        except StatusError as error:
            return _with_warnings(self._failed(ask.request, ask.route, error), ask)

    def _find(self, route: Route) -> Served | None:
        if route.malformed:
            return None
        return self.registry.find(route.group, route.version, route.resource)

    def _unknown(self, route: Route) -> Answer:
        if route.prefix == "api" or route.group in self.registry.groups:
            raise routes.unknown_path()
        return not_found_page()

    def _handle(self, ask: Ask) -> Answer:
        route, resource = ask.route, ask.served.resource
        verb = self._verb(route, ask.served)
        if not ask.request.native:
            produced = negotiate.OBJECT_TYPES + negotiate.WATCH_TYPES if verb in ("list", "watch") else negotiate.OBJECT_TYPES
            negotiate.check_produced(ask.request.header(b"accept"), produced)
        if route.name:
            check_path_name(route)
        special = ask.served.special(route.subresource)
        if special is not None:
            route.verb = verb
            return self.handlers.special(ask, special)
        if route.subresource and not ask.served.stored:
            raise routes.unknown_path()
        if verb == "get":
            return self.handlers.get(ask)
        if verb == "list":
            return self.handlers.list(ask)
        if verb == "watch":
            return self.handlers.watch(ask)
        if verb == "create" and resource.namespaced and not ask.route.namespace:
            raise routes.method_not_allowed()
        handler = getattr(self.handlers, verb)
        answer: Answer = handler(ask)
        return answer

    def _verb(self, route: Route, served: Served) -> str:
        """What the method means here; 404 and 405 as the reference's router has them."""
        resource = served.resource
        if route.subresource:
            return self._subresource_verb(route, served)
        if not resource.namespaced and route.namespace and route.resource != "namespaces":
            raise routes.unknown_path()
        if route.name:
            if resource.namespaced and not route.namespace:
                raise routes.unknown_path()
            methods = _ITEM_METHODS
            if not any(v in resource.verbs for v in methods.values()):
                raise routes.unknown_path()
        else:
            methods = _COLLECTION_METHODS
            if resource.namespaced and not route.namespace:
                if "list" not in resource.verbs:
                    raise routes.unknown_path()
                methods = {"GET": "list", "HEAD": "list"}
        verb = methods.get(route.method, "")
        if verb not in resource.verbs:
            raise routes.method_not_allowed()
        if route.verb == "watch" and verb in ("get", "list"):
            return "watch"
        return verb

    def _subresource_verb(self, route: Route, served: Served) -> str:
        subresource = served.resource.subresources.get(route.subresource)
        wrong_scope = served.resource.namespaced != bool(route.namespace) and route.resource != "namespaces"
        if subresource is None or wrong_scope:
            raise routes.unknown_path()
        verb = _SUBRESOURCE_METHODS.get(route.method, "")
        if verb not in subresource.verbs:
            raise routes.method_not_allowed()
        return verb


def _with_warnings(response: Response, ask: Ask) -> Response:
    """Warning headers, one for each text."""
    for text in ask.warnings:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append(("Warning", f'299 - "{quoted}"'))
    return response


def not_found_page() -> Response:
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", (("X-Content-Type-Options", "nosniff"),))


def _too_many_requests() -> Response:
    text = b"Too many requests, please try again later.\n"
    return Response(429, text, "text/plain; charset=utf-8", (("Retry-After", "1"), ("X-Content-Type-Options", "nosniff")))


def forbidden_request(attributes: Attributes, reason: str) -> StatusError:
    """403, as the reference server says who may not do what where."""
    user = attributes.user.name
    if not attributes.resource:
        message = f'forbidden: User "{user}" cannot {attributes.verb} path "{attributes.path}"'
        return StatusError(403, "Forbidden", _because(message, reason), {})
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    why = f'User "{user}" cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}'
    details: Obj = {}
    error = forbidden_error(attributes.group, attributes.resource, attributes.name, _because(why, reason))
    return StatusError(error.code, error.reason, error.message, error.details or details)


def _because(message: str, reason: str) -> str:
    return f"{message}: {reason}" if reason else message

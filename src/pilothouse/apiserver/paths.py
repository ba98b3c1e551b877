"""Everything that is not a resource: discovery, OpenAPI, version, health, metrics, and the list of all paths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api import discovery
from pilothouse.api.errors import Obj
from pilothouse.apiserver import negotiate
from pilothouse.apiserver.chain import not_found_page
from pilothouse.apiserver.handlers import wants_pretty
from pilothouse.apiserver.interface import User
from pilothouse.apiserver.messages import Answer, Request, Response
from pilothouse.apiserver.openapi_documents import OpenAPIDocuments
from pilothouse.apiserver.render import json_response
from pilothouse.apiserver.routes import MethodNotAllowed, Route, unknown_path

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_HEALTH = ("healthz", "livez", "readyz")
_AGGREGATED = "APIGroupDiscoveryList"
#: A handler registered by another part of the hub (service account issuer discovery, for example).
PathHandler = Callable[[Request, Route, User], Answer]


class Paths:
    """The non-resource endpoints of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._more: dict[str, PathHandler] = {}
        self._unlisted: dict[str, PathHandler] = {}
        self.openapi = OpenAPIDocuments(server)
        self._documents: dict[Any, tuple[bytes, str]] = {}
        self._others: Mapping[str, tuple[str, Obj]] | None = None

    def register(self, path: str, handler: PathHandler, listed: bool = True) -> None:
        """Serve another path; not `listed`: it is not named among all paths."""
        (self._more if listed else self._unlisted)[path] = handler

    def forget(self, group: str | None = None) -> None:
        """Resources have come or gone, in one group of custom resources or (None) anywhere: documents are made anew."""
        self._documents.clear()
        self.openapi.forget(group)

    def answer(self, request: Request, route: Route, user: User) -> Answer:
        path = route.path
        first = path[1:].partition("/")[0]
        if first in _HEALTH:
            return self._server.health.answer(route) or not_found_page()
        handler = self._more.get(path) or self._unlisted.get(path)
        if handler is not None:
            return handler(request, route, user)
        if first in ("api", "apis"):
            return self._discovery(request, route)
        if first == "openapi":
            return self.openapi.answer(request, route)
        if path in ("/version", "/version/"):
            return self._version(request, route)
        if path in ("/metrics", "/metrics/slis"):
            return Response(200, self._server.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
        document = self._more_documents().get(path)
        if document is not None:
            return self._other(request, document)
        if path == "/":
            return json_response(200, {"paths": self._all_paths()}, pretty=wants_pretty(route, request))
        return not_found_page()

    # --- discovery -------------------------------------------------------------------------------------------------------------------

    def _discovery(self, request: Request, route: Route) -> Response:
        parts = [p for p in route.path.split("/") if p]
        if len(parts) > (2 if parts[0] == "api" else 3):
            raise unknown_path()
        accept = request.header(b"accept")
        if len(parts) == 1:
            return self._root(request, route, parts[0], accept)
        registry = self._server.registry
        group = "" if parts[0] == "api" else parts[1]
        if group not in registry.groups:
            return not_found_page()
        if parts[0] == "apis" and len(parts) == 2:
            return self._document(request, route, discovery.api_group(registry.resources(), group))
        version = parts[-1]
        if (group, version) not in registry.versions:
            if group in registry.custom_groups:
                return not_found_page()
            raise unknown_path()
        self._only_get(route)
        negotiate.check_produced(accept, negotiate.OBJECT_TYPES)
        return self._document(request, route, discovery.api_resource_list(registry.resources(), group, version))

    def _root(self, request: Request, route: Route, prefix: str, accept: str) -> Response:
        if prefix == "api":
            self._only_get(route)
        if _wants_aggregated(accept):
            core = prefix == "api"
            media = f"application/json;g=apidiscovery.k8s.io;v=v2;as={_AGGREGATED}"
            return self._cached(
                request,
                ("aggregated", prefix),
                lambda: orjson.dumps(discovery.aggregated(self._server.registry.resources(), core)),
                media,
            )
        if prefix == "api":
            negotiate.check_produced(accept, negotiate.OBJECT_TYPES)
            return self._document(request, route, discovery.api_versions(self._server.address))
        return self._document(request, route, discovery.api_group_list(self._server.registry.resources()))

    def _only_get(self, route: Route) -> None:
        if route.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(("GET", "HEAD"))

    def _document(self, request: Request, route: Route, document: Obj | None) -> Response:
        fmt = negotiate.choose(request.header(b"accept"), transforms=False)
        return json_response(200, document, fmt, wants_pretty(route, request))

    # --- documents that are kept -----------------------------------------------------------------------------------------------------

    def _made(self, key: Any, make: Callable[[], bytes]) -> tuple[bytes, str]:
        found = self._documents.get(key)
        if found is None:
            body = make()
            found = self._documents[key] = (body, hashlib.sha512(body).hexdigest())
        return found

    def _cached(self, request: Request, key: Any, make: Callable[[], bytes], media: str) -> Response:
        """A document that is made once, with an ETag."""
        body, tag = self._made(key, make)
        headers = [("Etag", f'"{tag.upper()}"'), ("Vary", "Accept")]
        if request.header(b"if-none-match").strip('"').upper() == tag.upper():
            return Response(304, content_type="", headers=headers)
        response = Response(200, body, media, headers)
        if request.native:
            response.native = orjson.loads(body)
        return response

    # --- other documents -

    def _more_documents(self) -> Mapping[str, tuple[str, Obj]]:
        if self._others is None:
            self._others = self._server.options.documents(self._server)
        return self._others

    def _other(self, request: Request, document: tuple[str, Obj]) -> Response:
        media, body = document
        negotiate.check_produced(request.header(b"accept"), (media,))
        response = Response(200, orjson.dumps(body), media)
        response.cache = "public, max-age=3600"
        response.native = body
        return response

    # --- version, paths ----------------------------------------------------------------------------------------------------------------

    def _version(self, request: Request, route: Route) -> Response:
        self._only_get(route)
        negotiate.check_produced(request.header(b"accept"), (negotiate.JSON,))
        return json_response(200, self._server.version_info(), pretty=True)

    def _all_paths(self) -> list[str]:
        registry = self._server.registry
        groups = [f"/apis/{g}" for g in registry.groups if g]
        versions = [f"/apis/{g}/{v}" if g else f"/api/{v}" for g, v in registry.versions]
        health = self._server.health.paths()
        fixed = ["/.well-known/openid-configuration", "/api", "/apis", "/apis/", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3",
                 "/openapi/v3/", "/openid/v1/jwks", "/version"]  # fmt: skip
        return sorted({*fixed, *groups, *versions, *health, *self._more, *(f"/openapi/v3/{p}" for p in self.openapi.v3_paths())})


def _wants_aggregated(accept: str) -> bool:
    """Whether the first choice is the aggregated document."""
    if _AGGREGATED not in accept:
        return False
    for clause in negotiate.parse_accept(accept):
        if clause.media in (negotiate.JSON, "*/*"):
            return clause.param("as") == _AGGREGATED and clause.param("v") in ("v2", "")
    return False


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))

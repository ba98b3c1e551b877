"""Everything that is not a resource: discovery, OpenAPI, version, health, metrics, and the list of all paths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api import discovery, openapi, openapi_protobuf
from pilothouse.api.errors import Obj
from pilothouse.apiserver import negotiate
from pilothouse.apiserver.chain import not_found_page
from pilothouse.apiserver.handlers import wants_pretty
from pilothouse.apiserver.interface import User
from pilothouse.apiserver.messages import Answer, Request, Response
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
        self._documents: dict[Any, tuple[bytes, str]] = {}
        self._others: Mapping[str, tuple[str, Obj]] | None = None

    def register(self, path: str, handler: PathHandler, listed: bool = True) -> None:
        """Serve another path; not `listed`: it is not named among all paths."""
        (self._more if listed else self._unlisted)[path] = handler

    def forget(self) -> None:
        """Resources have come or gone: documents are made anew."""
        self._documents.clear()

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
            return self._openapi(request, route)
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

    # --- openapi ---------------------------------------------------------------------------------------------------------------------

    def _openapi(self, request: Request, route: Route) -> Response:
        path = route.path.rstrip("/")
        accept = request.header(b"accept")
        resources, custom = self._server.registry.resources, self._custom
        if path == "/openapi/v2":
            wanted = _openapi_format(accept)
            if wanted is None:
                return Response(406, content_type="")
            if wanted == openapi_protobuf.MEDIA_TYPE:
                return self._cached(request, wanted, lambda: openapi_protobuf.encode(openapi.v2(resources(), custom())), wanted)
            return self._cached(request, "v2", lambda: orjson.dumps(openapi.v2(resources(), custom())), negotiate.JSON)
        if path == "/openapi/v3":
            return self._cached(request, "v3", lambda: orjson.dumps(self._v3_index()), negotiate.JSON)
        if not path.startswith("/openapi/v3/"):
            return not_found_page()
        group_version = path.removeprefix("/openapi/v3/")
        if group_version not in self._v3_paths():
            return Response(404, content_type="")
        response = self._cached(request, group_version, lambda: self._v3(group_version), negotiate.JSON)
        if route.first("hash"):
            response.cache = "public, immutable"
            response.add("Expires", "Tue, 19 Jan 2038 03:14:07 GMT")
        return response

    def _custom(self, group: str = "", version: str = "") -> dict[tuple[str, str, str], Obj]:
        """The schemas of all kinds that are not built in."""
        server = self._server
        return {
            **server.extensions.schemas(group, version),
            **server.questions.schemas(group, version),
            **server.usage.schemas(group, version),
        }

    def _v3_paths(self) -> list[str]:
        return [f"apis/{g}/{v}" if g else f"api/{v}" for g, v in self._server.registry.versions]

    def _v3_index(self) -> Obj:
        out = {}
        for path in self._v3_paths():
            _, tag = self._made(path, lambda p=path: self._v3(p))  # type: ignore[misc]
            out[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={tag.upper()}"}
        return {"paths": out}

    def _v3(self, path: str) -> bytes:
        group, _, version = path.partition("/")[2].rpartition("/")
        registry, custom = self._server.registry, self._custom(group, version)
        return orjson.dumps(openapi.v3(registry.resources(), group, version, custom))

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
        if request.native and media != openapi_protobuf.MEDIA_TYPE:
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
        return sorted({*fixed, *groups, *versions, *health, *self._more, *(f"/openapi/v3/{p}" for p in self._v3_paths())})


def _wants_aggregated(accept: str) -> bool:
    """Whether the first choice is the aggregated document."""
    if _AGGREGATED not in accept:
        return False
    for clause in negotiate.parse_accept(accept):
        if clause.media in (negotiate.JSON, "*/*"):
            return clause.param("as") == _AGGREGATED and clause.param("v") in ("v2", "")
    return False


def _openapi_format(accept: str) -> str | None:
    """The first choice that the version 2 document is there in, JSON or protobuf."""
    for clause in negotiate.parse_accept(accept or "*/*"):
        if clause.media in (negotiate.JSON, "*/*", "application/*"):
            return negotiate.JSON
        if clause.media in openapi_protobuf.MEDIA_TYPES:
            return openapi_protobuf.MEDIA_TYPE
    return None


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))

"""/openapi/v2 and /openapi/v3: made when somebody asks, kept with an ETag until what they are about changes.

A definition that comes or goes costs its own group's part alone. What takes long, all parts after a start with many definitions, is
made between other requests.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api import openapi, openapi_protobuf
from pilothouse.api.errors import Obj
from pilothouse.apiserver import negotiate
from pilothouse.apiserver.chain import not_found_page
from pilothouse.apiserver.messages import Answer, Request, Response
from pilothouse.apiserver.routes import Route

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_V2, _V3 = "v2", "v3"
#: The part of the version 2 document that is about everything but custom resources.
_BUILT_IN = ""
_FAR = "Tue, 19 Jan 2038 03:14:07 GMT"


class OpenAPIDocuments:
    """The documents of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        #: Whole documents by name or path: bytes and their hash.
        self._made: dict[str, tuple[bytes, str]] = {}
        #: Parts of the version 2 document by group: paths and definitions, encoded.
        self._parts: dict[str, tuple[Obj, Obj]] = {}

    def forget(self, group: str | None = None) -> None:
        """Resources have come or gone: in one group of custom resources, or (None) anywhere."""
        if group is None:
            self._made.clear()
            self._parts.clear()
            return
        self._parts.pop(group, None)
        for key in [k for k in self._made if not k.startswith(("api/", "apis/")) or k.startswith(f"apis/{group}/")]:
            del self._made[key]

    def v3_paths(self) -> list[str]:
        """The group versions that have a document: `api/v1`, `apis/apps/v1`."""
        return [f"apis/{g}/{v}" if g else f"api/{v}" for g, v in self._server.registry.versions]

    def answer(self, request: Request, route: Route) -> Answer:
        path = route.path.rstrip("/")
        if path == "/openapi/v2":
            return self._v2(request)
        if path == "/openapi/v3":
            return self._send(request, _V3) if _V3 in self._made else self._v3_index(request)
        if not path.startswith("/openapi/v3/"):
            return not_found_page()
        group_version = path.removeprefix("/openapi/v3/")
        if group_version not in self.v3_paths():
            return Response(404, content_type="")
        self._tag(group_version)
        response = self._send(request, group_version)
        if route.first("hash"):
            response.cache = "public, immutable"
            response.add("Expires", _FAR)
        return response

    # --- version 3 ------------------------------------------------------------------------------------------------------------------

    async def _v3_index(self, request: Request) -> Response:
        for path in self.v3_paths():
            if path not in self._made:
                self._tag(path)
                await asyncio.sleep(0)
        index = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._tag(path).upper()}"} for path in self.v3_paths()}
        self._keep(_V3, orjson.dumps({"paths": index}))
        return self._send(request, _V3)

    def _tag(self, path: str) -> str:
        """The hash of a group version's document, which is there from now on."""
        if path not in self._made:
            group, _, version = path.partition("/")[2].rpartition("/")
            resources = [served.resource for served in self._server.registry.versions[(group, version)].values()]
            self._keep(path, orjson.dumps(openapi.v3(resources, group, version, self._custom(group, version))))
        return self._made[path][1]

    def _custom(self, group: str, version: str = "") -> dict[tuple[str, str, str], Obj]:
        """The schemas of a group's kinds that are not built in."""
        server = self._server
        return {
            **server.extensions.schemas(group, version),
            **server.questions.schemas(group, version),
            **server.usage.schemas(group, version),
        }

    # --- version 2 ------------------------------------------------------------------------------------------------------------------

    def _v2(self, request: Request) -> Answer:
        wanted = _v2_format(request.header(b"accept"))
        if wanted is None:
            return Response(406, content_type="")
        if wanted == openapi_protobuf.MEDIA_TYPE:
            if wanted not in self._made:
                resources, server = self._server.registry.resources(), self._server
                custom = {**server.extensions.schemas(), **server.questions.schemas(), **server.usage.schemas()}
                self._keep(wanted, openapi_protobuf.encode(openapi.v2(resources, custom)))
            return self._send(request, wanted, wanted)
        return self._send(request, _V2) if _V2 in self._made else self._whole(request)

    async def _whole(self, request: Request) -> Response:
        registry = self._server.registry
        whole = openapi.v2(())
        for group in (_BUILT_IN, *sorted(registry.custom_groups)):
            if group not in self._parts:
                self._parts[group] = self._part(group)
                await asyncio.sleep(0)
            paths, definitions = self._parts[group]
            whole["paths"] |= paths
            whole["definitions"] |= definitions
        whole["paths"] = dict(sorted(whole["paths"].items()))
        whole["definitions"] = dict(sorted(whole["definitions"].items()))
        self._keep(_V2, orjson.dumps(whole))
        return self._send(request, _V2)

    def _part(self, group: str) -> tuple[Obj, Obj]:
        """The paths and definitions of one group of custom resources, or of everything else."""
        registry, custom_groups = self._server.registry, self._server.registry.custom_groups
        if group == _BUILT_IN:
            resources = [r for r in registry.resources() if r.group not in custom_groups]
            custom = {**self._server.questions.schemas(), **self._server.usage.schemas()}
        else:
            versions = [plurals for (g, _), plurals in registry.versions.items() if g == group]
            resources, custom = [s.resource for plurals in versions for s in plurals.values()], self._custom(group)
        made = openapi.v2(resources, custom)
        return _encoded(made["paths"]), _encoded(made["definitions"])

    # --- sending --------------------------------------------------------------------------------------------------------------------

    def _keep(self, key: str, body: bytes) -> None:
        self._made[key] = (body, hashlib.sha512(body).hexdigest())

    def _send(self, request: Request, key: str, media: str = negotiate.JSON) -> Response:
        body, tag = self._made[key]
        headers = [("Etag", f'"{tag.upper()}"'), ("Vary", "Accept")]
        if request.header(b"if-none-match").strip('"').upper() == tag.upper():
            return Response(304, content_type="", headers=headers)
        response = Response(200, body, media, headers)
        if request.native and media == negotiate.JSON:
            response.native = orjson.loads(body)
        return response


def _encoded(parts: Obj) -> dict[str, Any]:
    return {name: orjson.Fragment(orjson.dumps(part)) for name, part in parts.items()}


def _v2_format(accept: str) -> str | None:
    """The first choice that the version 2 document is there in, JSON or protobuf."""
    for clause in negotiate.parse_accept(accept or "*/*"):
        if clause.media in (negotiate.JSON, "*/*", "application/*"):
            return negotiate.JSON
        if clause.media in openapi_protobuf.MEDIA_TYPES:
            return openapi_protobuf.MEDIA_TYPE
    return None

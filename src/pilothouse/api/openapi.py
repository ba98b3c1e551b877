"""OpenAPI documents: /openapi/v2 for everything, /openapi/v3 for each group and version.

Good for what clients do with them: `kubectl explain`, finding out that an endpoint understands fieldValidation, merge keys for patches
on the client, generated clients. Operations carry x-kubernetes-action and x-kubernetes-group-version-kind. Left out: prose, the
deprecated /watch/ paths, and documents of paths that serve no resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.openapi_schemas import V2, V3, CustomSchemas, Definitions, Dialect
from pilothouse.api.resource import Resource, Subresource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_JSON, _YAML, _PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_PRODUCED = (_JSON, _YAML, _PROTOBUF)
_WATCHED = (*_PRODUCED, _JSON + ";stream=watch", _PROTOBUF + ";stream=watch")
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
            "application/apply-patch+yaml")  # fmt: skip
#: Of custom resources, whose types tell no patch strategies.
_CUSTOM_PATCHES = tuple(media for media in _PATCHES if "strategic" not in media)
_CONNECTED = {"attach", "exec", "portforward", "proxy"}

_LIST = ("allowWatchBookmarks:boolean", "continue", "fieldSelector", "labelSelector", "limit:integer", "resourceVersion",
         "resourceVersionMatch", "sendInitialEvents:boolean", "timeoutSeconds:integer", "watch:boolean")  # fmt: skip
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds:integer", "ignoreStoreReadErrorWithClusterBreakingPotential:boolean", "orphanDependents:boolean",
           "propagationPolicy")  # fmt: skip
_QUERY: dict[str, tuple[str, ...]] = {
    "list": _LIST,
    "post": _WRITE,
    "put": _WRITE,
    "patch": (*_WRITE, "force:boolean"),
    "delete": _DELETE,
    "deletecollection": tuple(sorted({*_LIST, *_DELETE} - {"allowWatchBookmarks:boolean", "watch:boolean"})),
}
#: action -> (HTTP method, first word of the operation's id, the verb that must be served)
_ACTIONS = {"list": ("get", "list", "list"), "post": ("post", "create", "create"), "deletecollection": ("delete", "delete", "deletecollection"),
            "get": ("get", "read", "get"), "put": ("put", "replace", "update"), "patch": ("patch", "patch", "patch"),
            "delete": ("delete", "delete", "delete")}  # fmt: skip


def v2(resources: Iterable[Resource], custom: CustomSchemas | None = None, version: str = "v1.36.0") -> Obj:
    """The Swagger document of all resources."""
    definitions = Definitions(V2, custom)
    paths = _paths(_Writer(definitions), list(resources))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": definitions.all(),
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"BearerToken": []}],
    }


def v3(
    resources: Iterable[Resource], group: str, version: str, custom: CustomSchemas | None = None, release: str = "v1.36.0"
) -> Obj:
    """The OpenAPI document of one group and version."""
    definitions = Definitions(V3, custom)
    served = [r for r in resources if (r.group, r.version) == (group, version)]
    paths = _paths(_Writer(definitions), served)
    schemes = {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": release},
        "paths": paths,
        "components": {"schemas": definitions.all(), "securitySchemes": schemes},
        "security": [{"BearerToken": []}],
    }


def _paths(writer: _Writer, resources: list[Resource]) -> Obj:
    out: Obj = {}
    for group, version in dict.fromkeys((r.group, r.version) for r in resources):
        out[_root(group, version)] = writer.discovery(group, version)
    for resource in resources:
        out.update(writer.resource(resource))
    return dict(sorted(out.items()))


def _root(group: str, version: str) -> str:
    return f"/apis/{group}/{version}/" if group else f"/api/{version}/"


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.replace("-", ".").split("."))


def _operation_group(group: str, version: str) -> str:
    """As operation ids name it: CoreV1, RbacAuthorizationV1."""
    return _camel(group.removesuffix(".k8s.io") if group else "core") + _camel(version)


def _tag(group: str, version: str) -> str:
    head = _operation_group(group, "")
    return f"{head[:1].lower()}{head[1:]}_{version}"


class _Writer:
    """Writes path items in one dialect, and notes the definitions that they need."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._dialect: Dialect = definitions.dialect

    # --- paths ---------------------------------------------------------------------------------------------------------------------

    def resource(self, r: Resource) -> Iterator[tuple[str, Obj]]:
        """All paths of a resource and its subresources."""
        root = _root(r.group, r.version)
        base = f"{root}namespaces/{{namespace}}/{r.plural}" if r.namespaced else f"{root}{r.plural}"
        scope = ["namespace"] if r.namespaced else []
        if r.namespaced and "list" in r.verbs:
            yield f"{root}{r.plural}", self._item(r, ("list",), [], f"{r.kind}ForAllNamespaces")
        if any(_ACTIONS[a][2] in r.verbs for a in ("list", "post", "deletecollection")):
            yield base, self._item(r, ("list", "post", "deletecollection"), scope)
        if "get" in r.verbs:
            yield f"{base}/{{name}}", self._item(r, ("get", "put", "patch", "delete"), ["name", *scope])
        for sub in r.subresources.values():
            yield f"{base}/{{name}}/{sub.name}", self._subresource(r, sub, ["name", *scope])
            if sub.name == "proxy":
                yield f"{base}/{{name}}/proxy/{{path}}", self._subresource(r, sub, ["name", *scope, "path"])

    def discovery(self, group: str, version: str) -> Obj:
        """The path item of a resource list."""
        answers = {"200": self._answer(self._definitions.named(_META + "APIResourceList"), _PRODUCED)}
        operation = {"tags": [_tag(group, version)], "operationId": f"get{_operation_group(group, version)}APIResources"}
        return {"get": {**operation, **self._media(_PRODUCED), "responses": answers}}

    def _item(self, r: Resource, actions: tuple[str, ...], scope: list[str], subject: str = "") -> Obj:
        out: Obj = {}
        subject = subject or ("Namespaced" if r.namespaced else "") + r.kind
        for action in actions:
            method, word, verb = _ACTIONS[action]
            if verb in r.verbs:
                middle = "Collection" if action == "deletecollection" else ""
                name = f"{word}{_operation_group(r.group, r.version)}{middle}{subject}"
                out[method] = self._operation(r, action, name, (r.group, r.version, r.kind))
        return {**out, "parameters": self._shared(scope)}

    def _subresource(self, r: Resource, sub: Subresource, scope: list[str]) -> Obj:
        out: Obj = {}
        subject = f"{'Namespaced' if r.namespaced else ''}{r.kind}{_camel(sub.name)}{'WithPath' if 'path' in scope else ''}"
        gvk = (sub.group, sub.version, sub.kind)
        for verb in sub.verbs:
            method, action = next((m, a) for a, (m, _, v) in _ACTIONS.items() if v == verb)
            group = _operation_group(r.group, r.version)
            if sub.name in _CONNECTED:
                out[method] = self._connect(r, gvk, f"connect{group}{method.capitalize()}{subject}")
            else:
                out[method] = self._operation(r, action, f"{_ACTIONS[action][1]}{group}{subject}", gvk, text=sub.name == "log")
        return {**out, "parameters": self._shared(scope)}

    # --- operations ----------------------------------------------------------------------------------------------------------------

    def _operation(self, r: Resource, action: str, name: str, gvk: tuple[str, str, str], text: bool = False) -> Obj:
        read = _WATCHED if action == "list" else ("text/plain", *_PRODUCED) if text else _PRODUCED
        out = self._head(r, action, name, gvk)
        parameters = [self._query(p) for p in _QUERY.get(action, ())]
        patches = _CUSTOM_PATCHES if self._definitions.is_custom(r.group, r.version, r.kind) else _PATCHES
        body = self._body(action, gvk, patches)
        if body:
            if self._dialect.version == 2:
                parameters.append(body)
            else:
                out["requestBody"] = body
        out["parameters"] = parameters
        return {
            **out,
            **self._media(read, patches if action == "patch" else ("*/*",)),
            "responses": self._answers(action, gvk, read, text),
        }

    def _head(self, r: Resource, action: str, name: str, gvk: tuple[str, str, str]) -> Obj:
        kind = {"group": gvk[0], "kind": gvk[2], "version": gvk[1]}
        out: Obj = {"tags": [_tag(r.group, r.version)], "operationId": name, "x-kubernetes-action": action}
        return {**out, "x-kubernetes-group-version-kind": kind}

    def _connect(self, r: Resource, gvk: tuple[str, str, str], name: str) -> Obj:
        answers = {"200": self._answer({"type": "string"}, ("*/*",))}
        return {**self._head(r, "connect", name, gvk), **self._media(("*/*",), ("*/*",)), "responses": answers}

    def _media(self, produced: tuple[str, ...], consumed: tuple[str, ...] = ()) -> Obj:
        if self._dialect.version == 3:
            return {}
        return {"consumes": list(consumed or produced), "produces": list(produced), "schemes": ["https"]}

    def _body(self, action: str, gvk: tuple[str, str, str], patches: tuple[str, ...]) -> Obj | None:
        media: tuple[str, ...] = ("*/*",)
        if action in ("post", "put"):
            schema = self._definitions.kind(*gvk)
        elif action == "patch":
            schema, media = self._definitions.named(_META + "Patch"), patches
        elif action in ("delete", "deletecollection"):
            schema = self._definitions.named(_META + "DeleteOptions")
        else:
            return None
        needed: Obj = {"required": True} if action in ("post", "put", "patch") else {}
        if self._dialect.version == 2:
            return {"name": "body", "in": "body", **needed, "schema": schema}
        return {"content": {m: {"schema": schema} for m in media}, **needed}

    def _answers(self, action: str, gvk: tuple[str, str, str], read: tuple[str, ...], text: bool) -> Obj:
        if text:
            return {"200": self._answer({"type": "string"}, read)}
        if action in ("delete", "deletecollection"):
            answer = self._answer(self._definitions.named(_META + "Status"), read)
            return {"200": answer} if action == "deletecollection" else {"200": answer, "202": answer}
        kind = f"{gvk[2]}List" if action == "list" else gvk[2]
        answer = self._answer(self._definitions.kind(gvk[0], gvk[1], kind), read)
        codes = {"post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201")}.get(action, ("200",))
        return dict.fromkeys(codes, answer)

    def _answer(self, schema: Obj, media: tuple[str, ...]) -> Obj:
        if self._dialect.version == 2:
            return {"description": "OK", "schema": schema}
        return {"description": "OK", "content": {m: {"schema": schema} for m in media}}

    # --- parameters ------------------------------------------------------------------------------------------------------------------

    def _shared(self, scope: list[str]) -> list[Obj]:
        return [*(self._parameter(p, "path", "string") for p in scope), self._query("pretty")]

    def _query(self, spec: str) -> Obj:
        name, _, kind = spec.partition(":")
        return self._parameter(name, "query", kind or "string")

    def _parameter(self, name: str, place: str, kind: str) -> Obj:
        out: Obj = {"name": name, "in": place}
        if place == "path":
            out["required"] = True
        typed: dict[str, Any] = {"type": kind, "uniqueItems": True}
        return {**out, **typed} if self._dialect.version == 2 else {**out, "schema": typed}

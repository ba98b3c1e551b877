"""Endpoints that are not plain storage: how a request becomes a `SpecialRequest`, and its result an answer.

What is created but not stored (reviews, bindings, evictions, token requests) passes defaults, field ownership and admission like anything
else; what the endpoint does with it is in special/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pilothouse.api import apply as ssa
from pilothouse.api.errors import Obj
from pilothouse.apiserver import patching
from pilothouse.apiserver.interface import AdmissionRequest, SpecialRequest, SpecialResult
from pilothouse.apiserver.messages import Response
from pilothouse.apiserver.query import WriteParams, manager_of, write_params
from pilothouse.apiserver.render import ListMeta, Wish, json_response, object_response, objects_response

if TYPE_CHECKING:
    from pilothouse.apiserver.handlers import Ask, Handlers

Handler = Callable[[SpecialRequest], Any]
#: Bodies of an older version that are still understood.
_ALSO = {("policy", "v1", "Eviction"): (("policy", "v1beta1", "Eviction"),)}
_OPTIONS = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}


async def answer(handlers: Handlers, ask: Ask, handler: Handler, verb: str) -> Response:
    """Run a special endpoint."""
    wish = handlers.wish(ask)
    request = _request(handlers, ask, verb)
    if _kind(ask)[2].endswith("Options"):
        await _admit_connection(handlers, ask, request)
    elif verb == "create" and request.body is not None:
        await _admit(handlers, ask, request, handler)
    result: SpecialResult = await handler(request)
    return _response(handlers, ask, result, wish)


def _request(handlers: Handlers, ask: Ask, verb: str) -> SpecialRequest:
    route, sent = ask.route, ask.request
    params = _params(handlers, ask, verb)
    return SpecialRequest(
        resource=ask.served.resource,
        subresource=route.subresource,
        namespace=ask.namespace,
        name=route.name,
        verb=verb,
        body=_body(handlers, ask, verb, params),
        user=ask.user,
        query={k: v[0] for k, v in route.query.items()},
        dry_run=params.dry_run,
        manager=manager_of(params, sent.header(b"user-agent")),
        media=sent.header(b"content-type").partition(";")[0].strip().lower(),
        raw=handlers.body(ask),
        warnings=ask.warnings,
    )


def _params(handlers: Handlers, ask: Ask, verb: str) -> WriteParams:
    if verb == "patch":
        return handlers.patch_options(ask)[1]
    if verb not in ("create", "update"):
        return WriteParams()
    return write_params(ask.route, "CreateOptions" if verb == "create" else "UpdateOptions")


def _body(handlers: Handlers, ask: Ask, verb: str, params: WriteParams) -> Obj | None:
    gvk = _kind(ask)
    if verb not in ("create", "update") or gvk[2].endswith("Options"):
        return None  # what connections want is in their query
    schema = handlers.registry.schema(*gvk) if ask.route.subresource else ask.served.schema
    for older in _ALSO.get(gvk, ()):
        if f"{older[0]}/{older[1]}".encode() in handlers.body(ask):
            return handlers.decoded(ask, params, schema, older)
    return handlers.decoded(ask, params, schema, gvk)


def _kind(ask: Ask) -> tuple[str, str, str]:
    """The kind of the endpoint's body."""
    subresource = ask.served.resource.subresources.get(ask.route.subresource)
    if subresource is None:
        return patching.kind_of(ask.served).gvk
    return subresource.group, subresource.version, subresource.kind


async def _admit(handlers: Handlers, ask: Ask, request: SpecialRequest, handler: Handler) -> None:
    body = request.body
    assert body is not None
    default = getattr(handler, "default", None)
    if default is not None:
        default(body)
    group, version, kind = _kind(ask)
    schema = handlers.registry.schema(group, version, kind) if ask.route.subresource else ask.served.schema
    body.setdefault("metadata", {})
    ssa.track_update(
        body, None, schema, request.manager, api_version=f"{group}/{version}" if group else version,
        now=handlers.clock.now(), subresource=request.subresource,
    )  # fmt: skip
    name = request.name or body["metadata"].get("name", "")
    admission = AdmissionRequest(
        "CREATE", request.resource, request.subresource, request.namespace, name, body, None, request.user, _OPTIONS, request.dry_run,
        request.warnings,
    )  # fmt: skip
    await handlers.writer.chain.admit(admission)
    await handlers.writer.chain.validate(admission)


async def _admit_connection(handlers: Handlers, ask: Ask, request: SpecialRequest) -> None:
    """A connection is let in, too; its query is the object."""
    from pilothouse.apiserver.special.options import connect_options

    admission = AdmissionRequest(
        "CONNECT", request.resource, request.subresource, request.namespace, request.name,
        connect_options(_kind(ask)[2], ask.route.query), None, request.user, {}, False, request.warnings,
    )  # fmt: skip
    await handlers.writer.chain.admit(admission)
    await handlers.writer.chain.validate(admission)


def _response(handlers: Handlers, ask: Ask, result: SpecialResult, wish: Wish) -> Response:
    """Objects of the endpoint's own kind can be seen as Tables; everything else is written as it is."""
    body, resource = result.body, ask.served.resource
    headers = result.headers.items() or None
    if isinstance(body, bytes):
        return Response(result.code, body, "text/plain" if body else "", headers)
    if isinstance(body, dict) and body.get("kind") == ask.served.list_kind and wish.fmt.transform and not ask.request.native:
        return objects_response(ask.served, body.get("items") or (), ListMeta(handlers.storage.feed.revision), wish)
    own = isinstance(body, dict) and (body.get("apiVersion"), body.get("kind")) == (resource.api_version, resource.kind)
    if own and wish.fmt.transform and not ask.request.native:
        return object_response(ask.served, body, wish, result.code)
    return json_response(result.code, body, wish.fmt, wish.pretty, headers)

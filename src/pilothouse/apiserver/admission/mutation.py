"""What mutating webhooks and policies make of a request's object: a patched document becomes the object that the request goes on with.

It is decoded, pruned and given its defaults like a request's body. Whose fields the changes are is not recorded (KEP-555); managedFields that
no longer can be read are put back as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pilothouse.api import empties, tables
from pilothouse.api.apply import managed
from pilothouse.api.decode import decode_parsed
from pilothouse.api.errors import Obj, StatusError, internal, quote
from pilothouse.api.patch.jsonpatch import apply_json_patch
from pilothouse.apiserver.admission.versions import View, convert
from pilothouse.apiserver.interface import AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_SPOILT = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; "
    "please fix your requests"
)


class TestFailed(ValueError):
    """A `test` of a JSON Patch that does not hold."""


def patched(doc: Obj, operations: list[Obj]) -> Any:
    """The document after a JSON Patch. ValueError names the operation that cannot be carried out."""
    result: Any = doc
    for operation in operations:
        try:
            result = apply_json_patch(result, [operation])
        except StatusError:
            error = TestFailed if operation.get("op") == "test" else ValueError
            raise error(_why(operation)) from None
    return result


def _why(operation: Obj) -> str:
    what, path = operation.get("op"), quote(str(operation.get("path") or ""))
    if what == "test":
        return f"testing value {operation.get('path')} failed: test failed"
    return f"{what} operation does not apply: doc is missing path: {path}: missing value"


async def replace(hub: ApiServer, request: AdmissionRequest, view: View, document: Any, strict: bool = False) -> bool:
    """The patched document of a view becomes the request's object. Whether that changes it. StatusError 500 if it is no such object,
    with `strict` also for fields that a built-in kind does not have."""
    obj = _decoded(hub, view, document, strict)
    if view.resource is not request.resource and view.kind != request.kind:
        back = await convert(hub.registry, obj, view.resource, request.resource)
        assert back is not None
        obj = back
    before = request.obj
    assert before is not None
    _keep_owners(obj, before, request.warnings)
    if obj == before:
        return False
    before.clear()
    before.update(obj)
    return True


def _decoded(hub: ApiServer, view: View, document: Any, strict: bool) -> Obj:
    own = view.kind == (view.resource.group, view.resource.version, view.resource.kind)
    if not own and not tables.is_known_kind(*view.kind):  # the options of a connection
        return dict(document)
    served = hub.registry.of(view.resource.group, view.resource.plural, view.resource.version)
    schema = served.schema if own else hub.registry.schema(*view.kind)
    try:
        obj, unknown = decode_parsed(document, [], schema, view.kind, "Warn" if strict and not served.custom else "Ignore")
    except StatusError as error:
        raise internal(error.message) from None
    if unknown:
        raise internal(f"strict decoding error: {', '.join(unknown)}")
    if own:
        served.strategy.default(obj)
    empties.to_null(obj, schema)
    return obj


def _keep_owners(obj: Obj, before: Obj, warnings: list[str]) -> None:
    if "metadata" not in before:
        return
    metadata = obj.setdefault("metadata", {})
    had = (before.get("metadata") or {}).get("managedFields")
    if metadata.get("managedFields") == had or managed.decode(metadata.get("managedFields")) is not None:
        return
    if had is None:
        metadata.pop("managedFields", None)
    else:
        metadata["managedFields"] = had
    warnings.append(_SPOILT)

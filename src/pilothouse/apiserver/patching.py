"""PATCH: the four patch types, as pure functions from a document to an object, and as transforms of the write path.

The body is read when there is an object to patch: a missing object is told first. What a patch makes is decoded anew, so that it is
what a client could have sent; where it is no object of the kind any more, the answer is 422 and shows the result (or, for strategic
merge patches, the patch).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api import apply as ssa
from pilothouse.api.apply.config import decode_configuration
from pilothouse.api.decode import check_custom, decode_parsed, duplicate_fields, keep
from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.patch import convert, jsonpatch, merge, strategic, text
from pilothouse.api.schema import Schema
from pilothouse.apiserver import metadata as md
from pilothouse.apiserver import ownership
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.writes import Call, Transform
from pilothouse.clock import Clock

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_HANDLED = re.compile(r'^\S+ in version "[^"]*" cannot be handled as a \S+: ')
_OPERATION_FIELDS = frozenset(("op", "path", "from", "value"))
#: The order in which the reference writes metadata that a patch did not touch.
_METADATA_ORDER = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
                   "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers", "managedFields")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What a patch's result has to be."""

    schema: Schema
    gvk: tuple[str, str, str]
    custom: bool = False


def kind_of(served: Served) -> Kind:
    resource = served.resource
    return Kind(served.schema, (resource.group, resource.version, resource.kind), served.custom)


def transform_for(media: str, body: bytes, call: Call, clock: Clock) -> Transform:
    """A patch request as a transform."""
    kind = kind_of(call.served)

    async def transform(entry: Entry | None) -> Obj:
        served = call.served
        if media == APPLY_PATCH:
            obj = await ownership.settled(
                lambda: apply(served.fresh(entry) if entry is not None else None, body, kind, call, clock)
            )
        else:
            assert entry is not None
            obj = patch(media, served.fresh(entry), body, kind, call)
        identify(call, obj)
        return obj

    return transform


def identify(call: Call, obj: Obj) -> None:
    """The object is the one in the URL, in the URL's namespace. 400 if not."""
    metadata = md.metadata_of(obj)
    md.check_name(metadata, call.name)
    md.check_namespace(call.served, metadata, call.namespace)


# --- patches ----------------------------------------------------------------------------------------------------------------------


def patch(media: str, doc: Obj, body: bytes, kind: Kind, call: Call) -> Obj:
    """The document (the caller's own) with a JSON, merge or strategic merge patch applied, decoded."""
    checking = call.params.field_validation != "Ignore"
    if media == JSON_PATCH:
        operations = jsonpatch.decode_json_patch(body)
        problems = _operation_problems(body, operations) if checking else []
        return _decoded(jsonpatch.apply_json_patch(doc, operations), doc, problems, kind, call)
    if media == MERGE_PATCH:
        merge_patch = merge.decode_merge_patch(body)
        problems = _duplicates(body, merge_patch) if checking else []
        return _decoded(merge.apply_merge_patch(doc, merge_patch), doc, problems, kind, call)
    strategic_patch = strategic.decode_strategic_merge(body)
    problems = _duplicates(body, strategic_patch) if checking else []
    return _strategic(doc, strategic_patch, problems, kind, call)


def _duplicates(body: bytes, parsed: Any) -> list[str]:
    return [f'duplicate field "{path}"' for path in duplicate_fields(body, parsed)]


def _operation_problems(body: bytes, operations: list[Obj]) -> list[str]:
    unknown = [f"[{n}].{key}" for n, operation in enumerate(operations) for key in operation if key not in _OPERATION_FIELDS]
    out = [f'json patch duplicate field "{path}"' for path in duplicate_fields(body, operations)]
    return out + [f'json patch unknown field "{path}"' for path in unknown]


def _decoded(result: Any, doc: Obj, problems: list[str], kind: Kind, call: Call) -> Obj:
    if kind.custom and type(result) is dict:
        check_custom(result, kind.gvk)
    try:
        obj, found = decode_parsed(_kept(result, doc, kind), problems, kind.schema, kind.gvk, emptied=call.emptied)
    except StatusError as error:
        raise convert.patch_invalid(_shown(result, doc), _problem(error)) from None
    return _checked(obj, found, lambda: _shown(result, doc), call)


def _strategic(doc: Obj, patch: Obj, problems: list[str], kind: Kind, call: Call) -> Obj:
    result = strategic.apply_strategic_merge(doc, patch, kind.schema)
    result["kind"], result["apiVersion"] = doc["kind"], doc["apiVersion"]  # a patch does not say what the object is
    result = _kept(result, doc, kind)
    problem = convert.conversion_problem(result, kind.schema)
    if problem is not None:
        raise convert.patch_invalid(text.plain(patch), problem)
    try:
        obj, found = decode_parsed(result, [], kind.schema, kind.gvk, emptied=call.emptied)
    except StatusError as error:
        raise convert.patch_invalid(text.plain(patch), _problem(error)) from None
    return _checked(obj, problems + sorted(found), lambda: text.plain(patch), call)


def _kept(result: Any, doc: Obj, kind: Kind) -> Any:
    """The result, with what the patch did not reach marked as decoded already."""
    return keep(dict(doc) if result is doc else result, doc, kind.schema)


def _problem(error: StatusError) -> str:
    """What is wrong with the result, without the words for a body."""
    return _HANDLED.sub("", error.message)


def _checked(obj: Obj, problems: list[str], shown: Any, call: Call) -> Obj:
    """Tell of unknown and duplicate fields as the client wants it."""
    if problems and call.params.field_validation == "Strict":
        raise convert.patch_invalid(shown(), "strict decoding error: " + ", ".join(problems))
    if call.params.field_validation == "Warn":
        for problem in problems:
            call.warn(problem)
    return obj


def _shown(result: Any, doc: Obj) -> str:
    """A patched document as the reference server's message shows it."""
    if not isinstance(result, dict):
        return orjson.dumps(result).decode()
    out = _sorted_where_patched(result, doc)
    if result.get("metadata") is doc.get("metadata") and isinstance(out.get("metadata"), dict):
        out["metadata"] = {k: out["metadata"][k] for k in _METADATA_ORDER if k in out["metadata"]}
    return orjson.dumps(out).decode()


def _sorted_where_patched(result: Obj, doc: Obj) -> Obj:
    """Objects that a patch reached have their keys in order; the others are as they were."""
    out: Obj = {}
    for key in sorted(result):
        value, before = result[key], doc.get(key)
        if isinstance(value, dict) and isinstance(before, dict) and value is not before:
            value = _sorted_where_patched(value, before)
        out[key] = value
    return out


# --- server-side apply ------------------------------------------------------------------------------------------------------------


def apply(live: Obj | None, body: bytes, kind: Kind, call: Call, clock: Clock, subresource: str | None = None) -> Obj:
    """The object after the call's manager applied the configuration in the body, decoded."""
    config, repeated = decode_configuration(body, call.params.field_validation)
    group, version, name = kind.gvk
    assert call.apply_manager is not None
    out = ssa.apply(
        live, config, kind.schema, call.apply_manager, api_version=f"{group}/{version}" if group else version, kind=name,
        now=clock.now(), force=bool(call.params.force), subresource=call.subresource if subresource is None else subresource,
        reset_fields=call.served.strategy.reset_fields.get(call.subresource, ()), versions=call.versions,
    )  # fmt: skip
    obj, found = decode_parsed(out, [], kind.schema, kind.gvk)
    for problem in repeated + found:
        call.warn(problem)
    return obj

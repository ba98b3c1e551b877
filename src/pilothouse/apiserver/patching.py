"""PATCH: the four patch types as transforms of the write path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from pilothouse.api import apply as ssa
from pilothouse.api.decode import decode_parsed
from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.api.patch import convert, jsonpatch, merge, strategic
from pilothouse.apiserver import metadata as md
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.writes import Call, Transform
from pilothouse.clock import Clock

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def transform_for(media: str, body: bytes, call: Call, clock: Clock) -> Transform:
    """The transform of a patch. The body is read when there is an object to patch: a missing object is told first."""
    if media == APPLY_PATCH:
        return _apply(body, call, clock)
    served = call.served
    if media == JSON_PATCH:
        return _patched(call, lambda doc: jsonpatch.apply_json_patch(doc, jsonpatch.decode_json_patch(body)))
    if media == MERGE_PATCH:
        return _patched(call, lambda doc: merge.apply_merge_patch(doc, merge.decode_merge_patch(body)))
    return _patched(call, lambda doc: strategic.apply_strategic_merge(doc, strategic.decode_strategic_merge(body), served.schema))


def _patched(call: Call, change: Callable[[Obj], Any]) -> Transform:
    served = call.served

    async def transform(entry: Entry | None) -> Obj:
        assert entry is not None
        doc = change(served.fresh(entry))
        obj = decode_patched(served, doc, call)
        identify(call, obj)
        return obj

    return transform


def decode_patched(served: Served, doc: Any, call: Call) -> Obj:
    """What a patch made, decoded anew, so that it is what a client could have sent. 422 if it is no such object any more."""
    try:
        obj, warnings = decode_parsed(doc, [], served.schema, gvk_of(served), call.params.field_validation)
    except StatusError as error:
        raise convert.patch_invalid(orjson.dumps(doc).decode(), error.message) from None
    for text in warnings:
        call.warn(text)
    return obj


def gvk_of(served: Served) -> tuple[str, str, str]:
    resource = served.resource
    return resource.group, resource.version, resource.kind


def identify(call: Call, obj: Obj) -> None:
    """The object is the one in the URL, in the URL's namespace. 400 if not."""
    metadata = md.metadata_of(obj)
    md.check_name(metadata, call.name)
    md.check_namespace(call.served, metadata, call.namespace)


def _apply(body: bytes, call: Call, clock: Clock) -> Transform:
    served = call.served
    resource = served.resource
    assert call.apply_manager is not None
    manager = call.apply_manager

    async def transform(entry: Entry | None) -> Obj:
        live = served.fresh(entry) if entry is not None else None
        config = decode_apply(body)
        out = ssa.apply(
            live, config, served.schema, manager, api_version=resource.api_version, kind=resource.kind, now=clock.now(),
            force=bool(call.params.force), subresource=call.subresource,
            reset_fields=served.strategy.reset_fields.get(call.subresource, ()), versions=call.versions,
        )  # fmt: skip
        obj, warnings = decode_parsed(out, [], served.schema, gvk_of(served), call.params.field_validation)
        for text in warnings:
            call.warn(text)
        identify(call, obj)
        return obj

    return transform


def decode_apply(body: bytes) -> Obj:
    """An apply configuration: YAML, of which JSON is a part."""
    try:
        config = orjson.loads(body)
    except ValueError:
        config = _yaml(body)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise bad_request(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal it into an object"
        )
    return config


def _yaml(body: bytes) -> Any:
    import yaml

    try:
        return orjson.loads(orjson.dumps(yaml.safe_load(body)))
    except (yaml.YAMLError, TypeError) as error:
        problem = str(error).replace("\n", " ")
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: yaml: {problem}") from None

"""Conversion between versions of a custom resource by a webhook: ConversionReview of apiextensions.k8s.io/v1 and v1beta1.

The webhook may change everything but metadata, of which only labels and annotations are its own; what it returns is an object of the same
name, namespace and uid. Reference page: "Versions in CustomResourceDefinitions". Nothing is remembered between requests: each is converted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api import meta
from pilothouse.api.errors import Obj, StatusError, quote
from pilothouse.clock import new_uid

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_REVIEWS = ("v1", "v1beta1")
_SECONDS = 30


class _Bad(Exception):
    """An answer that does not do."""


class Conversion:
    """The conversion webhook of one definition."""

    def __init__(self, server: ApiServer, crd: Obj) -> None:
        spec = crd["spec"]["conversion"]["webhook"]
        self._server = server
        self._client = spec["clientConfig"]
        self._review = next(v for v in spec["conversionReviewVersions"] if v in _REVIEWS)

    async def convert(self, objects: Sequence[Obj], api_version: str) -> list[Obj]:
        """The objects (JSON, of one version) in another one. StatusError 500 says why they cannot be converted."""
        if not objects:
            return []
        who = f"conversion webhook for {objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
        found = await self._ask(objects, api_version, f"conversion webhook for {_kind(objects[0])}")
        who = f"conversion for {_kind(objects[0])} returned"
        if len(found) != len(objects):
            raise _failed(f"{who} {len(found)} objects, expected {len(objects)}")
        pairs = zip(objects, found, strict=True)
        return [_accepted(old, new, api_version, who, n) for n, (old, new) in enumerate(pairs, 1)]

    async def _ask(self, objects: Sequence[Obj], api_version: str, who: str) -> list[Any]:
        from pilothouse.apiserver.webhooks import BadClient, CallFailed

        uid, version = new_uid(self._server.clock), f"apiextensions.k8s.io/{self._review}"
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objects}
        body = orjson.dumps({"kind": "ConversionReview", "apiVersion": version, "request": request})
        try:
            return _objects(await self._server.webhooks.post(self._client, body, _SECONDS), uid, version)
        except (BadClient, CallFailed, _Bad) as error:
            raise _failed(f"{who} failed: {error}") from None


def _kind(obj: Obj) -> str:
    return f"{obj['apiVersion']}, Kind={obj['kind']}"


def _failed(text: str) -> StatusError:
    return StatusError(500, "", text)


def _objects(answer: Any, uid: str, version: str) -> list[Any]:
    """The converted objects of a decoded answer. v1beta1 does not ask for a version and the question's uid."""
    said = answer if isinstance(answer, dict) else {}
    response, strict = said.get("response"), version.endswith("/v1")
    if strict and (said.get("apiVersion"), said.get("kind")) != (version, "ConversionReview"):
        got = f"{said.get('apiVersion') or '/'}, Kind={said.get('kind') or ''}"
        raise _Bad(f"expected webhook response of {version}, Kind=ConversionReview, got {got}")
    if not isinstance(response, dict):
        raise _Bad("no response provided")
    if strict and response.get("uid") != uid:
        raise _Bad(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid') or ''))}")
    result = response.get("result")
    status = result if isinstance(result, dict) else {}
    if status.get("status") != "Success":
        raise _Bad(status.get("message") or f"response.result.status was '{status.get('status') or ''}', not 'Success'")
    found = response.get("convertedObjects")
    return found if isinstance(found, list) else []


def _accepted(old: Obj, new: Any, api_version: str, who: str, number: int) -> Obj:
    """The converted object with the original's metadata, but for labels and annotations."""
    wrong = _wrong(old, new, api_version)
    if wrong:
        raise _failed(f"{who} invalid converted object at index {number}: {wrong}")
    try:
        return {**new, "metadata": _metadata(old["metadata"], new.get("metadata"))}
    except _Bad as error:
        raise _failed(f"{who} invalid metadata in object at index {number}: {error}") from None


def _wrong(old: Obj, new: Any, api_version: str) -> str:
    """Why a converted object is not the one that was asked for."""
    if not isinstance(new, dict):
        return "it is no object"
    if new.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {new.get('apiVersion') or ''})"
    if new.get("kind") != old["kind"]:
        return f"invalid kind (expected {old['kind']}, received {new.get('kind') or ''})"
    before, after = old["metadata"], new.get("metadata")
    found = after if isinstance(after, dict) else {}
    for key, word in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if after is not None and (found.get(key) or "") != (before.get(key) or ""):
            return f"must have the same {word}: {before.get(key) or ''} != {found.get(key) or ''}"
    return ""


def _metadata(before: Obj, after: Any) -> Obj:
    if after is None:
        raise _Bad("missing metadata in converted object")
    if not isinstance(after, dict):
        raise _Bad("invalid metadata in converted object: not an object")
    kept = {k: v for k, v in before.items() if k not in ("labels", "annotations")}
    for key, check in (("labels", meta.validate_labels), ("annotations", meta.validate_annotations)):
        texts = after.get(key)
        if texts is None:
            continue
        if not isinstance(texts, dict):
            raise _Bad(f"invalid metadata.{key} in converted object: not an object")
        for name, value in texts.items():
            if not isinstance(value, str):
                raise _Bad(f"metadata.{key}[{name}] must be a string in converted object")
        errors = check(texts, f"metadata.{key}") if texts != before.get(key) else []
        if errors:
            raise _Bad(", ".join(map(str, errors)))
        if texts:
            kept[key] = texts
    return kept

"""AdmissionReview: how a webhook is asked, and what its answer has to look like. API reference: admission.k8s.io/v1 and v1beta1."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from pilothouse.api.errors import Obj, StatusError, quote
from pilothouse.api.kinds.webhook_checks import REVIEW_VERSIONS
from pilothouse.apiserver.admission.expressions import describe
from pilothouse.apiserver.admission.versions import View
from pilothouse.apiserver.interface import AdmissionRequest

_OMITTED_WHEN_EMPTY = ("subResource", "requestSubResource", "name", "namespace")


class BadAnswer(Exception):
    """An answer that is no answer to what was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook decided. `patch` is a JSON Patch as bytes, b"" for none."""

    allowed: bool
    status: Obj
    patch: bytes = b""
    patch_type: str = ""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def review(request: AdmissionRequest, view: View, version: str, uid: str) -> bytes:
    """The question as JSON."""
    asked: Obj = {"uid": uid, **describe(request, view)}
    for key in _OMITTED_WHEN_EMPTY:
        if not asked[key]:
            del asked[key]
    dry_run, options = asked.pop("dryRun"), asked.pop("options")
    asked |= {"object": view.obj, "oldObject": view.old, "dryRun": dry_run, "options": options or None}
    return orjson.dumps({"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": asked})


def version_for(webhook: Obj) -> str:
    """The first version of reviews that the webhook understands and that is spoken here."""
    return next(v for v in webhook["admissionReviewVersions"] if v in REVIEW_VERSIONS)


def answer(body: Any, version: str, uid: str, mutating: bool) -> Answer:
    """The decoded answer, held against the question. BadAnswer says what is wrong with it."""
    if not isinstance(body, dict):
        raise BadAnswer("the answer is no object")
    wanted, got = f"admission.k8s.io/{version}", body.get("apiVersion") or ""
    response = body.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":
        _check(body, response, wanted, got, uid, mutating)
    try:
        patch = base64.b64decode(response.get("patch") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise BadAnswer("response.patch is not base64") from None
    if not mutating:
        patch = b""
    status = response.get("status")
    return Answer(
        bool(response.get("allowed")),
        status if isinstance(status, dict) else {},
        patch,
        response.get("patchType") or ("JSONPatch" if version == "v1beta1" and patch else ""),
        [str(w) for w in response.get("warnings") or ()],
        {str(k): str(v) for k, v in (response.get("auditAnnotations") or {}).items()},
    )


def _check(body: Obj, response: Obj, wanted: str, got: str, uid: str, mutating: bool) -> None:
    """What v1 demands of an answer."""
    if response.get("uid") != uid:
        raise BadAnswer(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid') or ''))}")
    kind = body.get("kind") or ""
    if (got, kind) != (wanted, "AdmissionReview"):
        raise BadAnswer(f"expected webhook response of {wanted}, Kind=AdmissionReview, got {got or '/'}, Kind={kind}")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if not mutating:
        if patch:
            raise BadAnswer("validating webhook may not return response.patch")
        if patch_type is not None:
            raise BadAnswer("validating webhook may not return response.patchType")
        return
    if patch and patch_type is None:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if not patch and patch_type is not None:
        raise BadAnswer("webhook returned response.patchType but not response.patch")
    if patch_type == "":
        raise BadAnswer('webhook returned invalid response.patchType of ""')


def denial(name: str, status: Obj) -> StatusError:
    """What the client is told: the webhook's own Status, as a failure, with who denied the request in front."""
    by = f"admission webhook {quote(name)} denied the request"
    message, reason, code = status.get("message"), status.get("reason"), status.get("code")
    if message or reason:
        text = f"{by}: {message or reason}"
    else:
        text = f"{by} without explanation"
    error = StatusError(code if isinstance(code, int) and code >= 400 else 400, str(reason or ""), text, status.get("details"))
    if isinstance(status.get("metadata"), dict):
        error.metadata = status["metadata"]
    return error

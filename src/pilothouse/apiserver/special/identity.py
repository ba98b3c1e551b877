"""Who is somebody? TokenReview for a token, SelfSubjectReview for oneself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pilothouse.api.errors import Obj, bad_request
from pilothouse.apiserver.authn.serviceaccount import TokenRejected
from pilothouse.apiserver.interface import Hub, SpecialRequest, SpecialResult
from pilothouse.apiserver.special.body import body_of, user_info
from pilothouse.apiserver.special.parts import Parts
from pilothouse.clock import rfc3339

Handler = Callable[[SpecialRequest], Awaitable[SpecialResult]]


def token_review(parts: Parts) -> Handler:
    async def handle(request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        spec = body.get("spec") or {}
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        status = _token_status(parts, spec["token"], spec.get("audiences") or [])
        head = {k: body[k] for k in ("kind", "apiVersion")}
        return SpecialResult(201, {**head, "metadata": body.get("metadata") or {}, "spec": spec, "status": status})

    return handle


def _token_status(parts: Parts, token: str, audiences: list[str]) -> Obj:
    try:
        accepted = parts.authenticator.review(token, audiences)
    except TokenRejected as why:
        return {"user": {}, "error": str(why)}
    return {"authenticated": True, "user": user_info(accepted.user), "audiences": list(accepted.audiences)}


class SelfReview:
    """SelfSubjectReview: what the server takes the caller for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def default(self, body: Obj) -> None:
        """Only the server says what the status is."""
        body.pop("status", None)

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        head = {k: body[k] for k in ("kind", "apiVersion")}
        metadata = {**(body.get("metadata") or {}), "creationTimestamp": rfc3339(self._hub.clock.now())}
        return SpecialResult(201, {**head, "metadata": metadata, "status": {"userInfo": user_info(request.user)}})

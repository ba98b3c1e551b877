"""What all special endpoints do with their bodies."""

from __future__ import annotations

from pilothouse.api.errors import Obj, bad_request
from pilothouse.apiserver.interface import SpecialRequest, User


def body_of(request: SpecialRequest) -> Obj:
    assert request.body is not None
    return request.body


def in_namespace(request: SpecialRequest) -> Obj:
    """The body's metadata, in the request's namespace. 400 if it says another one."""
    metadata: Obj = body_of(request).setdefault("metadata", {})
    found = metadata.setdefault("namespace", request.namespace) or request.namespace
    if found != request.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = found
    return metadata


def success(code: int = 201) -> Obj:
    """The Status of an action that has no object to show."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


def user_info(user: User) -> Obj:
    """A user as reviews show one."""
    extra = {k: list(v) for k, v in user.extra.items()}
    out: Obj = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
    return {k: v for k, v in out.items() if v}

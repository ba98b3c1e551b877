"""Errors that map one to one to a Kubernetes `Status`, and the field errors that its causes are made of.

Raised where the rule is; turned into a response in one place (`apiserver`). Reasons, codes and wordings are those that
clients match on: see "API conventions: response status kind" in the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Obj = dict[str, Any]


#: For errors whose value says nothing: it is not shown.
OMIT: Any = object()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field: `type` is the cause's reason, `value` is shown unless the type has none."""

    type: str  # FieldValueRequired, FieldValueInvalid, FieldValueDuplicate, FieldValueNotSupported, FieldValueForbidden, ...
    field: str
    value: Any = None
    detail: str = ""
    #: For FieldValueNotSupported: the values that would have been right.
    supported: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The cause's message, without the field: `Invalid value: "x": must be ...`."""
        head = _HEADS[self.type]
        if self.type in _WITHOUT_VALUE or self.value is OMIT:
            return f"{head}: {self.detail}" if self.detail else head
        text = f"{head}: {show(self.value)}"
        if self.supported:
            detail = "supported values: " + ", ".join(show(v) for v in self.supported)
            return f"{text}: {detail}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


_HEADS = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueNotFound": "Not found",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
    "InternalError": "Internal error",
}
_WITHOUT_VALUE = {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "FieldValueTooMany", "InternalError"}


_SHORT_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\",
}  # fmt: skip


def quote(text: str) -> str:
    """A string as Kubernetes quotes it in a message: what can be printed stands for itself, the rest is escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_SHORT_ESCAPES.get(c) or (c if c.isprintable() else _escape(ord(c))) for c in text) + '"'


def _escape(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show(value: Any) -> str:
    """A value as Kubernetes prints it in a message: strings quoted, numbers bare, objects as JSON, None as null."""
    if isinstance(value, str):
        return quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = orjson.dumps(value).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def required(field: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, detail=detail)


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, value, detail)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", field, value)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    return FieldError("FieldValueNotSupported", field, value, supported=tuple(supported))


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, detail=detail)


def not_found(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", field, value)


def too_long(field: str, limit: int) -> FieldError:
    """Too long in bytes; the value itself is not repeated."""
    return FieldError("FieldValueTooLong", field, detail=f"may not be more than {limit} bytes")


def too_many(field: str, actual: int, limit: int) -> FieldError:
    return FieldError("FieldValueTooMany", field, detail=f"{actual}: must have at most {limit} items")


class StatusError(Exception):
    """An answer that is not success. `details` is the Status' details object (None: it has none, {}: an empty one)."""

    def __init__(self, code: int, reason: str, message: str, details: Obj | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        #: The Status' metadata: an expired list's continue token.
        self.metadata: Obj = {}

    def status(self) -> Obj:
        """The Status object that a client receives."""
        out: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure", "message": self.message}
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        out["code"] = self.code
        return out


def _details(group: str, kind: str, name: str = "", **more: Any) -> Obj:
    every = {"name": name, "group": group, "kind": kind, **more}
    return {k: v for k, v in every.items() if v}


def _qualified(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def not_found_error(group: str, resource: str, name: str) -> StatusError:
    message = f"{_qualified(group, resource)} {quote(name)} not found"
    return StatusError(404, "NotFound", message, _details(group, resource, name))


def already_exists(group: str, resource: str, name: str) -> StatusError:
    message = f"{_qualified(group, resource)} {quote(name)} already exists"
    return StatusError(409, "AlreadyExists", message, _details(group, resource, name))


def conflict(group: str, resource: str, name: str, why: str) -> StatusError:
    message = f"Operation cannot be fulfilled on {_qualified(group, resource)} {quote(name)}: {why}"
    return StatusError(409, "Conflict", message, _details(group, resource, name))


def forbidden_error(group: str, resource: str, name: str, why: str) -> StatusError:
    subject = f"{_qualified(group, resource)} {quote(name)}" if name else _qualified(group, resource)
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", _details(group, resource, name))


def method_not_supported(group: str, resource: str, action: str) -> StatusError:
    message = f'{action} is not supported on resources of kind "{_qualified(group, resource)}"'
    return StatusError(405, "MethodNotAllowed", message, _details(group, resource))


def gone(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def too_many_requests(message: str, retry_after: int = 1, **details: Any) -> StatusError:
    return StatusError(429, "TooManyRequests", message, {**details, "retryAfterSeconds": retry_after})


def internal(message: str) -> StatusError:
    text = f"Internal error occurred: {message}"
    return StatusError(500, "InternalError", text, {"causes": [{"message": message}]})


def invalid_object(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422 with one cause per field error (duplicates of one and the same error are told once)."""
    unique = list(dict.fromkeys(str(e) for e in errors))
    text = unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
    subject = f"{_qualified(group, kind)} {quote(name)}"
    causes = [{"reason": e.type, "message": e.message, "field": e.field} for e in errors]
    return StatusError(422, "Invalid", f"{subject} is invalid: {text}", _details(group, kind, name, causes=causes))

"""How a plugin says no."""

from __future__ import annotations

from pilothouse.api.errors import StatusError, forbidden_error
from pilothouse.apiserver.interface import AdmissionRequest


def refuse(request: AdmissionRequest, why: str) -> StatusError:
    """403 about the request's object."""
    metadata = (request.obj or {}).get("metadata") or {}
    name = metadata.get("name") or request.name or metadata.get("generateName") or ""
    return forbidden_error(request.resource.group, request.resource.plural, name, why)

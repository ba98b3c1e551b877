"""Reading the body of a patch request."""

from __future__ import annotations

from typing import Any

import orjson

from pilothouse.api.errors import StatusError, bad_request


def parse(body: bytes, prefix: str = "") -> Any:
    """The body's JSON value; 400 for anything that is not one."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        problem = f"invalid JSON: {error}" if body.strip() else "unexpected end of JSON input"
        raise bad_request(f"{prefix}{problem}") from error


def refused() -> StatusError:
    """422 without a cause: what a JSON Patch that cannot be carried out is answered with."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})

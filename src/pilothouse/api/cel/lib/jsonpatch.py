"""The Kubernetes JSON Patch library (API reference of MutatingAdmissionPolicy): keys as parts of a JSON pointer, RFC 6901."""

from __future__ import annotations

from typing import Any


def escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


FUNCTIONS: list[tuple[str, Any]] = [("jsonpatch::escapeKey(string) -> string", escape_key)]

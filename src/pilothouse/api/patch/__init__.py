"""The three patch formats that change an object by saying what differs: JSON Patch, JSON Merge Patch, strategic merge patch.

Each is one pure function `(document, patch[, schema]) -> document` that shares what it did not touch with the document it was
given, and never changes it. Server-side apply, the fourth format of PATCH, is `pilothouse.api.apply`.
"""

from pilothouse.api.patch.jsonpatch import apply_json_patch, decode_json_patch
from pilothouse.api.patch.merge import apply_merge_patch, decode_merge_patch
from pilothouse.api.patch.strategic import apply_strategic_merge, decode_strategic_merge

__all__ = [
    "apply_json_patch",
    "apply_merge_patch",
    "apply_strategic_merge",
    "decode_json_patch",
    "decode_merge_patch",
    "decode_strategic_merge",
]

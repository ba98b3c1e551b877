"""ConfigMap (v1)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, too_long
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age

LIMIT = 1024 * 1024


class ConfigMapStrategy(Strategy):
    columns = (NAME_COLUMN, Column("Data"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        total = 0
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        for key, value in data.items():
            out += [invalid(f"data[{key}]", key, m) for m in names.config_key(key)]
            if key in binary:
                out.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
            total += names.size(value)
        for key, value in binary.items():
            out += [invalid(f"binaryData[{key}]", key, m) for m in names.config_key(key)]
            total += decoded_size(value)
        return [*out, too_long("[]", LIMIT)] if total > LIMIT else out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return frozen(obj, old, ("data", "binaryData")) + self.validate(obj)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def decoded_size(text: str) -> int:
    """Bytes that a base64 text stands for."""
    return len(text) * 3 // 4 - text[-2:].count("=")


def frozen(obj: Obj, old: Obj, keys: tuple[str, ...]) -> list[FieldError]:
    """What may not change once `immutable` is set."""
    if not old.get("immutable"):
        return []
    out = [] if obj.get("immutable") else [forbidden("immutable", "field is immutable when `immutable` is set")]
    return out + [
        forbidden(k, "field is immutable when `immutable` is set") for k in keys if (obj.get(k) or {}) != (old.get(k) or {})
    ]

"""Secret (v1): `stringData` is folded into `data`, types ask for their keys."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, required, too_long
from pilothouse.api.kinds.configmap import LIMIT, decoded_size, frozen
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import age

_REQUIRED = {"kubernetes.io/dockercfg": (".dockercfg",), "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
             "kubernetes.io/tls": ("tls.crt", "tls.key")}  # fmt: skip
ACCOUNT = "kubernetes.io/service-account.name"


class SecretStrategy(Strategy):
    selectable = ("type",)
    columns = (NAME_COLUMN, Column("Type"), Column("Data"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        if not obj.get("type"):
            obj["type"] = "Opaque"
        for key, value in (obj.pop("stringData", None) or {}).items():
            obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        data = obj.get("data") or {}
        for key in data:
            out += [invalid(f"data[{key}]", key, m) for m in names.config_key(key)]
        if sum(decoded_size(v) for v in data.values()) > LIMIT:
            out.append(too_long("data", LIMIT))
        return out + _validate_type(obj, data)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = [] if obj["type"] == old["type"] else [invalid("type", obj["type"], "field is immutable")]
        return out + frozen(obj, old, ("data",)) + self.validate(obj)

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        """Certificates and keys that cannot be such are accepted, but told of."""
        if obj["type"] != "kubernetes.io/tls":
            return []
        data = obj.get("data") or {}
        for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
            if b"-----BEGIN " not in base64.b64decode(data.get(key) or ""):
                return [f"tls: failed to find any PEM data in {what} input"]
        return []

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"type": obj.get("type", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _validate_type(obj: Obj, data: dict[str, str]) -> list[FieldError]:
    kind = obj["type"]
    if kind == "kubernetes.io/service-account-token" and not (obj["metadata"].get("annotations") or {}).get(ACCOUNT):
        return [required(f"metadata.annotations[{ACCOUNT}]")]
    if kind == "kubernetes.io/basic-auth":
        missing = "username" not in data and "password" not in data
        return [required("data[username]"), required("data[password]")] if missing else []
    if kind == "kubernetes.io/ssh-auth":
        return [] if data.get("ssh-privatekey") else [required("data[ssh-privatekey]")]
    out = [required(f"data[{k}]") for k in _REQUIRED.get(kind, ()) if k not in data]
    if not out and kind in ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson"):
        key = _REQUIRED[kind][0]
        try:
            orjson.loads(base64.b64decode(data[key]))
        except ValueError as e:
            out.append(invalid(f"data[{key}]", "<secret contents redacted>", str(e)))
    return out

"""The definitions of OpenAPI documents, from the generated tables and from the schemas of custom resources.

Version 2 (Swagger) and version 3 differ in where definitions live, in how a reference carries extensions, and in the two types that are
one thing or another (quantities and IntOrString). Descriptions are left out: the tables hold facts, not prose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api import tables
from pilothouse.api.errors import Obj

GVK = tuple[str, str, str]
#: OpenAPI v3 schemas of custom resources' versions.
CustomSchemas = Mapping[GVK, Obj]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
#: Types of the tables that documents show as definitions of their own.
_NAMED = {"quantity": QUANTITY, "intorstring": INT_OR_STRING, "time": _META + "Time", "microtime": _META + "MicroTime"}
_EXTENSIONS = {"lt": "x-kubernetes-list-type", "lk": "x-kubernetes-list-map-keys", "mt": "x-kubernetes-map-type",
               "pk": "x-kubernetes-patch-merge-key"}  # fmt: skip
_SIMPLE: dict[str, Obj] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "duration": {"type": "string"},
    "number": {"type": "number", "format": "double"},
    "any": {"type": "object"},
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one version of OpenAPI says the same things."""

    version: int
    prefix: str
    named: dict[str, Obj]

    def ref(self, name: str, extensions: Obj | None = None) -> Obj:
        """A reference to a definition, with what else is known about the field."""
        link = {"$ref": self.prefix + name}
        if not extensions:
            return link
        return {**link, **extensions} if self.version == 2 else {"allOf": [link], **extensions}


_TIMES: dict[str, Obj] = {_META + name: {"type": "string", "format": "date-time"} for name in ("Time", "MicroTime")}
_PATCH: dict[str, Obj] = {_META + "Patch": {"type": "object"}}
V2 = Dialect(2, "#/definitions/", {
    QUANTITY: {"type": "string"}, INT_OR_STRING: {"type": "string", "format": "int-or-string"}, **_TIMES, **_PATCH,
})  # fmt: skip
V3 = Dialect(3, "#/components/schemas/", {
    QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}, **_TIMES, **_PATCH,
})  # fmt: skip


class Definitions:
    """The definitions that a document needs: ask for names, then take all that follow from them."""

    def __init__(self, dialect: Dialect, custom: CustomSchemas | None = None) -> None:
        self.dialect = dialect
        self._custom = {custom_name(*gvk): (gvk, schema) for gvk, schema in (custom or {}).items()}
        self._made: dict[str, Obj] = {}

    def kind(self, group: str, version: str, kind: str) -> Obj:
        """A reference to a kind, which becomes part of the document."""
        return self.named(tables.definition_name(group, version, kind) or custom_name(group, version, kind))

    def is_custom(self, group: str, version: str, kind: str) -> bool:
        """Whether a CustomResourceDefinition defines the kind."""
        return custom_name(group, version, kind) in self._custom

    def named(self, name: str) -> Obj:
        """A reference to a definition, which becomes part of the document."""
        pending = [name]
        while pending:
            wanted = pending.pop()
            if wanted not in self._made:
                self._made[wanted] = {}
                self._made[wanted] = self._make(wanted, pending.append)
        return self.dialect.ref(name)

    def all(self) -> dict[str, Obj]:
        """Everything asked for so far, by name."""
        return dict(sorted(self._made.items()))

    def _make(self, name: str, need: Callable[[str], None]) -> Obj:
        if name in self.dialect.named:
            return self.dialect.named[name]
        if name in self._custom:
            return self._custom_kind(*self._custom[name], need)
        listed = name.removesuffix("List")
        if listed in self._custom:
            return self._custom_list(listed, self._custom[listed][0], need)
        return self._built_in(name, need)

    def _built_in(self, name: str, need: Callable[[str], None]) -> Obj:
        raw = tables.raw_definition(name)
        out: Obj = {"type": "object"}
        if raw["p"]:
            out["properties"] = {field: self._field(sub, need) for field, sub in raw["p"].items()}
        if raw.get("q"):
            out["required"] = list(raw["q"])
        if raw.get("mt"):
            out["x-kubernetes-map-type"] = raw["mt"]
        if raw.get("g"):
            out["x-kubernetes-group-version-kind"] = [_gvk(*raw["g"])]
        return out

    def _field(self, raw: Obj, need: Callable[[str], None]) -> Obj:
        reference = raw.get("r") or _NAMED.get(raw.get("t", ""))
        extensions = _extensions(raw)
        if reference:
            need(reference)
            return self.dialect.ref(reference, extensions)
        return {**self._plain(raw, need), **extensions}

    def _plain(self, raw: Obj, need: Callable[[str], None]) -> Obj:
        kind = raw["t"]
        if kind == "list":
            return {"type": "array", "items": self._field(raw["i"], need)}
        if kind == "map":
            return {"type": "object", "additionalProperties": self._field(raw["i"], need)}
        if kind == "integer":
            return {"type": "integer", "format": raw.get("f", "int64")}
        return _SIMPLE[kind]

    def _custom_kind(self, gvk: GVK, schema: Obj, need: Callable[[str], None]) -> Obj:
        need(_META + "ObjectMeta")
        own = {k: v for k, v in (schema.get("properties") or {}).items() if k not in ("apiVersion", "kind", "metadata")}
        head = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": self.dialect.ref(_META + "ObjectMeta")}
        rest = {k: v for k, v in schema.items() if k != "properties"}
        made = {**rest, "type": "object", "properties": {**head, **own}, "x-kubernetes-group-version-kind": [_gvk(*gvk)]}
        found: Obj = swagger(made) if self.dialect.version == 2 else made
        return found

    def _custom_list(self, name: str, gvk: GVK, need: Callable[[str], None]) -> Obj:
        need(name)
        need(_META + "ListMeta")
        fields = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": self.dialect.ref(_META + "ListMeta"),
                  "items": {"type": "array", "items": self.dialect.ref(name)}}  # fmt: skip
        listed = (gvk[0], gvk[1], gvk[2] + "List")
        return {"type": "object", "required": ["items"], "properties": fields, "x-kubernetes-group-version-kind": [_gvk(*listed)]}


def _gvk(group: str, version: str, kind: str) -> Obj:
    return {"group": group, "kind": kind, "version": version}


def _extensions(raw: Obj) -> Obj:
    out: Obj = {
        long: raw[key] for key, long in _EXTENSIONS.items() if raw.get(key) and not (key == "mt" and raw.get("t") == "any")
    }
    if raw.get("ps"):
        out["x-kubernetes-patch-strategy"] = ",".join(raw["ps"])
    return out


def custom_name(group: str, version: str, kind: str) -> str:
    """The definition's name of a custom resource: com.example.stable.v1.CronTab."""
    return ".".join([*reversed(group.split(".")), version, kind])


#: What version 2 cannot say.
_NOT_SWAGGER = {"oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-validations"}


def swagger(schema: Any) -> Any:
    """A version 3 schema in version 2's words: what cannot be said is left out, so that nothing valid is refused."""
    if isinstance(schema, list):
        return [swagger(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
        return {k: v for k, v in schema.items() if k.startswith("x-kubernetes-") and k not in _NOT_SWAGGER}
    out = {k: v for k, v in schema.items() if k not in _NOT_SWAGGER}
    if isinstance(out.get("properties"), dict):
        out["properties"] = {k: swagger(v) for k, v in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in out:
            out[key] = swagger(out[key])
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        for key in ("type", "format"):
            out.pop(key, None)
    return out

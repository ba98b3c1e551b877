"""DeleteOptions: from the body if there is one, else from the query; checked as the reference server checks them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from pilothouse.api.errors import FieldError, Obj, bad_request, invalid, invalid_object, not_supported
from pilothouse.apiserver.negotiate import body_media
from pilothouse.apiserver.routes import Route, parse_int

_POLICIES = ("Foreground", "Background", "Orphan", "nil")
_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a client wants of a deletion. None: it does not say."""

    grace: int | None = None
    policy: str | None = None
    orphan: bool | None = None
    uid: str | None = None
    revision: str | None = None
    dry_run: tuple[str, ...] = ()

    @property
    def dry(self) -> bool:
        return bool(self.dry_run)

    @property
    def shown(self) -> Obj:
        """The options as admission sees them."""
        preconditions = {"uid": self.uid, "resourceVersion": self.revision}
        every: Obj = {
            "gracePeriodSeconds": self.grace,
            "preconditions": {k: v for k, v in preconditions.items() if v is not None} or None,
            "orphanDependents": self.orphan,
            "propagationPolicy": self.policy,
            "dryRun": list(self.dry_run) or None,
        }
        return {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", **{k: v for k, v in every.items() if v is not None}}

    def with_dry_run(self) -> DeleteOptions:
        return replace(self, dry_run=("All",))


def of_request(route: Route, body: bytes, content_type: str) -> DeleteOptions:
    """The options of a DELETE request. 400 for what cannot be read, 415 for an unknown format."""
    if body:
        options = of_object(_decode(body, body_media(content_type)))
    else:
        options = _of_query(route) if route.query else DeleteOptions()
    check(options)
    return options


def _decode(body: bytes, media: str) -> Obj:
    if media == "protobuf":
        from pilothouse.api import protobuf, tables

        try:
            return protobuf.read(body, tables.schema_of("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"))
        except protobuf.ProtobufError as error:
            raise bad_request(f"couldn't get version/kind: {error}") from None
    if media == "yaml":
        from pilothouse.api import yamltext

        try:
            obj, _ = yamltext.load(body)
        except yamltext.YamlError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    else:
        try:
            obj = orjson.loads(body)
        except ValueError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: invalid character: {error}") from None
    if obj is None:
        return {}
    if not isinstance(obj, dict):
        raise bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal it into DeleteOptions, which are an object"
        )
    return obj


def of_object(obj: Obj) -> DeleteOptions:
    """From a DeleteOptions object, as bodies and evictions carry it. Its apiVersion may be that of any group."""
    kind = obj.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        version = obj.get("apiVersion") or "v1"
        raise bad_request(f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"')
    preconditions = _typed(obj, "preconditions", dict, "v1.Preconditions") or {}
    return DeleteOptions(
        grace=_typed(obj, "gracePeriodSeconds", int, "int64"),
        policy=_typed(obj, "propagationPolicy", str, "string"),
        orphan=_typed(obj, "orphanDependents", bool, "bool"),
        uid=_typed(preconditions, "uid", str, "string"),
        revision=_typed(preconditions, "resourceVersion", str, "string"),
        dry_run=tuple(_typed(obj, "dryRun", list, "[]string") or ()),
    )


def _typed(obj: Obj, key: str, wanted: type, shown: str) -> Any:
    value = obj.get(key)
    if value is None:
        return None
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise bad_request(f"json: cannot unmarshal {_json_type(value)} into Go struct field DeleteOptions.{key} of type {shown}")
    return value


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {str: "string", int: "number", float: "number", list: "array", dict: "object"}.get(type(value), "null")


def _of_query(route: Route) -> DeleteOptions:
    query = route.query
    return DeleteOptions(
        grace=parse_int(query["gracePeriodSeconds"][0]) if "gracePeriodSeconds" in query else None,
        policy=query["propagationPolicy"][0] if "propagationPolicy" in query else None,
        orphan=route.flag("orphanDependents") if "orphanDependents" in query else None,
        uid=query["uid"][0] if "uid" in query else None,
        revision=query["resourceVersion"][0] if "resourceVersion" in query else None,
        dry_run=tuple(query.get("dryRun", ())),
    )


def check(options: DeleteOptions) -> None:
    """422 for values and combinations that make no sense."""
    errors: list[FieldError] = []
    if options.policy is not None and options.orphan is not None:
        errors.append(invalid("propagationPolicy", options.policy, "orphanDependents and deletionPropagation cannot be both set"))
    if options.policy is not None and options.policy not in _POLICIES[:3]:
        errors.append(not_supported("propagationPolicy", options.policy, _POLICIES))
    if any(value != "All" for value in options.dry_run):
        errors.append(not_supported("dryRun", list(options.dry_run), ("All",)))
    if errors:
        raise invalid_object("meta.k8s.io", "DeleteOptions", "", errors)

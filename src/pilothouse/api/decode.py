"""From bytes to an object: text is parsed (parse.py), held against the kind that the endpoint takes, and normalized (normalize.py).

`decode` is the way in for request bodies, `decode_parsed` for values that exist already, such as the results of patches.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import tables
from pilothouse.api.errors import Obj, StatusError, bad_request, invalid, invalid_object
from pilothouse.api.normalize import (
    Emptied,
    Findings,
    Mismatch,
    decoder,
    json_type,
    keep,
    normalize,
    unkept,
    unknown_fields,
    zero_of,
)
from pilothouse.api.parse import duplicate_fields, parse, shown, unrecognized
from pilothouse.api.schema import Schema

__all__ = [
    "check_custom",
    "decode",
    "decode_parsed",
    "decoder",
    "duplicate_fields",
    "keep",
    "normalize",
    "parse",
    "unknown_fields",
    "wrong_kind",
    "zero_of",
]

#: Where the reference server registers the kinds of groups that are not its own, as its messages call it.
_SCHEMES = {
    "apiregistration.k8s.io": "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
    "apiextensions.k8s.io": "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
}
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
#: More unknown and duplicate fields than these are not told of.
_MAX_PROBLEMS = 100
#: Older names of a kind that its endpoint still takes.
_ALIASES = {("policy", "v1beta1", "Eviction"): ("policy", "v1", "Eviction")}
#: Versions of a kind that are still understood, though nobody serves them.
_FORMER = frozenset((("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition"),))


def decode(
    body: bytes,
    media: str,
    schema: Schema,
    gvk: tuple[str, str, str],
    field_validation: str = "Warn",
    *,
    custom: bool = False,
    emptied: Emptied | None = None,
) -> tuple[Obj, list[str]]:
    """A request body as an object of the expected kind, with texts for Warning headers. 400 for everything that does not fit.

    `media` is json or yaml, `gvk` the kind that the endpoint takes (used where the body does not say), `field_validation` one of
    Strict, Warn, Ignore. A `custom` resource has to say what it is. Empty lists and maps that were dropped are added to `emptied`.
    """
    if media == "protobuf":
        return decode_parsed(_parse_protobuf(body, schema, gvk[2]), [], schema, gvk, "Ignore", emptied)
    parsed, problems = parse(body, media, gvk[2])
    if custom and type(parsed) is dict:
        _check_custom_body(parsed, body, gvk)
    return decode_parsed(parsed, problems, schema, gvk, field_validation, emptied)


def _parse_protobuf(body: bytes, schema: Schema, kind: str) -> Obj:
    from pilothouse.api import protobuf

    try:
        return protobuf.read(body, schema)
    except protobuf.ProtobufError as e:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {e} ({shown(body)})") from None


def decode_parsed(
    parsed: Any,
    problems: list[str],
    schema: Schema,
    gvk: tuple[str, str, str],
    field_validation: str = "Warn",
    emptied: Emptied | None = None,
) -> tuple[Obj, list[str]]:
    """The same for values that were parsed already (results of patches), with what reading them found."""
    group, version, kind = gvk
    if parsed is None:
        parsed = {}
    if type(parsed) is not dict:
        raise unrecognized(
            kind, f"json: cannot unmarshal {json_type(parsed)} into Go value of type struct with apiVersion and kind"
        )
    api_version = f"{group}/{version}" if group else version
    check_kind(parsed, gvk)
    findings = Findings()
    try:
        obj: Obj = decoder(schema)(parsed, findings)
    except Mismatch as e:
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {e.text()}') from None
    except RecursionError:
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: exceeded max depth') from None
    if emptied is not None and findings.emptied:
        emptied += findings.emptied
    if findings.unknown:
        check_kind(_said(parsed), gvk)
        problems = problems + [f'unknown field "{p}"' for p in unknown_fields(parsed, schema)]
    problems = problems[:_MAX_PROBLEMS]
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    obj = {"kind": kind, "apiVersion": api_version, **obj}
    if problems and field_validation == "Strict":
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {", ".join(problems)}'
        )
    return obj, problems if field_validation == "Warn" else []


def _said(parsed: Obj) -> Obj:
    """What a body says it is when the case of `kind` and `apiVersion` does not matter: the last one counts."""
    named = {key.lower(): value for key, value in parsed.items()}
    return {"kind": named.get("kind"), "apiVersion": named.get("apiversion")}


def check_kind(parsed: Obj, gvk: tuple[str, str, str]) -> None:
    """Refuse a body that says it is something else."""
    group, version, kind = gvk
    said_kind, said_version = parsed.get("kind") or kind, parsed.get("apiVersion") or (f"{group}/{version}" if group else version)
    if not isinstance(said_kind, str) or not isinstance(said_version, str):
        raise unrecognized(kind, "json: cannot unmarshal kind and apiVersion into strings")
    said_group, _, bare = said_version.rpartition("/")
    said = (said_group, bare, said_kind)
    if said != gvk and _ALIASES.get(said) != gvk:
        _read_as(said, parsed, kind)
        raise wrong_kind(*said, gvk)


def _read_as(said: tuple[str, str, str], parsed: Obj, kind: str) -> None:
    """A body is read as what it says it is before it is found to be of another kind: 400 if it is not even that."""
    if said[2] == kind or not tables.is_known_kind(*said):
        return
    try:
        decoder(tables.schema_for(*said))(unkept(parsed), Findings())
    except (Mismatch, RecursionError) as e:
        why = e.text() if isinstance(e, Mismatch) else "exceeded max depth"
        raise bad_request(f'{said[2]} in version "{said[1]}" cannot be handled as a {kind}: {why}') from None


def _check_custom_body(parsed: Obj, body: bytes, gvk: tuple[str, str, str]) -> None:
    group, version, kind = gvk
    if not parsed.get("kind"):
        why = f"Object 'Kind' is missing in '{body.decode(errors='replace')}' ({shown(body)})"
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}")
    said, expected = parsed.get("apiVersion") or "", f"{group}/{version}"
    if said != expected:
        raise bad_request(f"the API version in the data ({said}) does not match the expected API version ({expected})")
    check_custom(parsed, gvk)


def check_custom(obj: Any, gvk: tuple[str, str, str]) -> None:
    """422 for a custom resource that says it is something else."""
    group, version, kind = gvk
    said_kind, said_version, expected = obj.get("kind"), obj.get("apiVersion"), f"{group}/{version}"
    wrong = [] if said_kind == kind else [invalid("kind", said_kind, f"must be {kind}")]
    wrong += [] if said_version == expected else [invalid("apiVersion", said_version, f"must be {expected}")]
    if wrong:
        metadata = obj.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else ""
        raise invalid_object(str(said_version).rpartition("/")[0], str(said_kind), str(name or ""), wrong)


def wrong_kind(said_group: str, said_version: str, said_kind: str, gvk: tuple[str, str, str]) -> StatusError:
    """The 400 for a body of another kind."""
    group, version, kind = gvk
    full = f"{said_group}/{said_version}" if said_group else said_version
    known = tables.is_known_kind(said_group, said_version, said_kind) or (said_group, said_version, said_kind) in _FORMER
    if known and said_kind == kind and (said_group, said_version) != gvk[:2]:
        expected = f"{group}/{version}" if group else version
        return bad_request(f"the API version in the data ({full}) does not match the expected API version ({expected})")
    if not known:
        why = f'no kind "{said_kind}" is registered for version "{full}" in scheme "{_SCHEMES.get(group, _SCHEME)}"'
    else:
        why = f"converting ({said_version}.{said_kind}) to ({group.partition('.')[0] or 'core'}.{kind}): unknown conversion"
    return bad_request(f'{said_kind} in version "{said_version}" cannot be handled as a {kind}: {why}')

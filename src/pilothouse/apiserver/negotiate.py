"""Content negotiation: which representation a client gets, and which its bodies may have.

Two gates, as in the reference server: the container's (the media types that an endpoint produces at all) and the serializers'
(with the parameters `as`, `g`, `v` that ask for Tables or for metadata only). Protobuf is served for built-in kinds, custom resources are
JSON and YAML: clients that list protobuf first get their next choice.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pilothouse.api.errors import StatusError

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
OBJECT_TYPES = (JSON, YAML, PROTOBUF)
WATCH_TYPES = (JSON + ";stream=watch", PROTOBUF + ";stream=watch")
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


@dataclass(frozen=True, slots=True)
class Format:
    """How to write an answer: media type, and the kind of meta.k8s.io that it is to be turned into ("" for none)."""

    media: str = JSON
    transform: str = ""  # Table, PartialObjectMetadata, PartialObjectMetadataList
    version: str = "v1"
    pretty: bool = False

    @property
    def api_version(self) -> str:
        return f"meta.k8s.io/{self.version}"


PLAIN = Format()
PLAIN_YAML = Format(YAML)
PLAIN_PROTOBUF = Format(PROTOBUF)


@dataclass(frozen=True, slots=True)
class Clause:
    media: str
    params: tuple[tuple[str, str], ...]
    quality: float

    def param(self, name: str) -> str:
        for key, value in self.params:
            if key == name:
                return value
        return ""


@functools.lru_cache(maxsize=512)
def parse_accept(header: str) -> tuple[Clause, ...]:
    """The clauses of an Accept header, best first, ties in the order in which they were written."""
    clauses = [c for part in header.split(",") if (c := _clause(part)) is not None]
    return tuple(sorted(clauses, key=lambda c: -c.quality))


def _clause(text: str) -> Clause | None:
    media, *rest = (p.strip() for p in text.split(";"))
    if not media:
        return None
    params: list[tuple[str, str]] = []
    quality = 1.0
    for part in rest:
        key, _, value = part.partition("=")
        if key == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 1.0
        else:
            params.append((key, value))
    return Clause(media.lower(), tuple(params), quality)


@functools.lru_cache(maxsize=512)
def check_produced(header: str, produced: tuple[str, ...]) -> None:
    """The container's gate: 406 when no clause names, literally, something that the endpoint produces."""
    if not header:
        return
    accepted = [part.split(";")[0].strip() for part in header.split(",")]
    if any(a == "*/*" or a in produced for a in accepted):
        return
    message = "406: Not Acceptable\n\nAvailable representations: " + ", ".join(produced)
    raise StatusError(406, "NotAcceptable", message, {})


@functools.lru_cache(maxsize=1024)
def choose(header: str, watch: bool = False, transforms: bool = True, protobuf: bool = True) -> Format:
    """The serializers' gate: the first clause that can be served. `protobuf`: the endpoint's kinds can be written in it."""
    if not header:
        return PLAIN
    clauses = parse_accept(header)
    for clause in clauses:
        found = _serve(clause, transforms, watch, protobuf)
        if found is not None:
            return found
    if watch and any(_matches(c.media, YAML) and not c.param("as") for c in clauses):
        raise not_acceptable(WATCH_TYPES)
    raise not_acceptable(OBJECT_TYPES)


def _media(pattern: str, watch: bool, protobuf: bool) -> str:
    """The first media type that a clause's pattern stands for, "" for none."""
    if _matches(pattern, JSON):
        return JSON
    if pattern == YAML and not watch:
        return YAML
    return PROTOBUF if pattern == PROTOBUF and protobuf else ""


def _serve(clause: Clause, transforms: bool, watch: bool, protobuf: bool) -> Format | None:
    media = _media(clause.media, watch, protobuf)
    if not media:
        return None
    pretty = clause.param("pretty") == "1"
    transform = clause.param("as")
    if not transform:
        if media == PROTOBUF:
            return PLAIN_PROTOBUF
        return PLAIN if media == JSON and not pretty else Format(media, pretty=pretty)
    version = clause.param("v")
    if not transforms or clause.param("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    if transform not in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
        return None
    if transform == "Table" and media == PROTOBUF:
        return None
    return Format(media, transform, version, pretty)


def _matches(pattern: str, media: str) -> bool:
    return pattern == media or pattern in ("*/*", "application/*")


def not_acceptable(types: tuple[str, ...]) -> StatusError:
    return StatusError(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(types))


def error_format(header: str, protobuf: bool = True) -> Format:
    """The format of a Status: clauses that ask for a transformed object do not count; JSON where nothing acceptable can be served."""
    for clause in parse_accept(header) if header else ():
        if clause.param("as"):
            continue
        if _matches(clause.media, JSON):
            return PLAIN
        if clause.media == YAML:
            return PLAIN_YAML
        if clause.media == PROTOBUF and protobuf:
            return PLAIN_PROTOBUF
    return PLAIN


@functools.lru_cache(maxsize=256)
def body_media(header: str) -> str:
    """`json`, `yaml` or `protobuf`, from a request's Content-Type; 415 for what is not served."""
    media = header.split(";")[0].strip().lower()
    if media in ("", JSON):
        return "json"
    if media == YAML:
        return "yaml"
    if media == PROTOBUF:
        return "protobuf"
    raise unsupported_media(OBJECT_TYPES)


def unsupported_media(types: tuple[str, ...]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(types)
    return StatusError(415, "UnsupportedMediaType", message)

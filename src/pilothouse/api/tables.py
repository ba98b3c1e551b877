"""The API's tables, read from the generated files on first use: what is served, and what each kind looks like.

Schemas are loaded a package at a time (a Go package of the definitions), nodes are made as they are walked: starting a server that
nobody asks anything costs nothing.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import orjson

from pilothouse.api.resource import Resource, Subresource
from pilothouse.api.schema import Schema

_HERE = Path(__file__).parent
Raw = dict[str, Any]


def _load_resources() -> Raw:
    table: Raw = orjson.loads((_HERE / "_generated_resources.json").read_bytes())
    return table


_TABLE = _load_resources()

#: API groups in discovery order, with their priorities.
GROUP_PRIORITY: tuple[tuple[str, int], ...] = tuple((g, p) for g, p in _TABLE["groups"])


def _subresource(parent: Raw, name: str, raw: Raw) -> Subresource:
    group_version = raw.get("groupVersion")
    group, _, version = (group_version or "").rpartition("/")
    if not group_version:
        group, version = parent["group"], parent["version"]
    return Subresource(name, tuple(raw["verbs"]), group, version, raw["kind"])


def _resource(raw: Raw) -> Resource:
    subresources = {name: _subresource(raw, name, sub) for name, sub in raw["subresources"].items()}
    return Resource(
        group=raw["group"],
        version=raw["version"],
        plural=raw["plural"],
        kind=raw["kind"],
        singular=raw["singular"],
        namespaced=raw["namespaced"],
        verbs=tuple(raw["verbs"]),
        short_names=tuple(raw["shortNames"]),
        categories=tuple(raw["categories"]),
        subresources=subresources,
        prefix=raw["prefix"],
        storage=(raw["storage"][0], raw["storage"][1]),
        list_kind=raw["kind"] + "List",
    )


#: Every resource that a stock server serves by default.
RESOURCES: tuple[Resource, ...] = tuple(_resource(raw) for raw in _TABLE["resources"])

_BY_PLURAL = {(r.group, r.version, r.plural): r for r in RESOURCES}
_BY_KIND = {(r.group, r.version, r.kind): r for r in RESOURCES}


def resource_for(group: str, version: str, plural: str) -> Resource | None:
    """A built-in resource by its URL."""
    return _BY_PLURAL.get((group, version, plural))


def resource_for_kind(group: str, version: str, kind: str) -> Resource | None:
    """A built-in resource by its kind."""
    return _BY_KIND.get((group, version, kind))


def is_known_kind(group: str, version: str, kind: str) -> bool:
    """Whether a kind is part of the built-in API at all (resources, options and reviews)."""
    return f"{group}/{version}/{kind}" in _TABLE["kinds"]


def definition_name(group: str, version: str, kind: str) -> str | None:
    """The name of a built-in kind's definition, e.g. io.k8s.api.core.v1.Pod."""
    found: str | None = _TABLE["kinds"].get(f"{group}/{version}/{kind}")
    return found


# --- schemas -------------------------------------------------------------------------------------------------------------------


@functools.cache
def _package(name: str) -> Raw:
    table: Raw = orjson.loads((_HERE / "_generated_schemas" / f"{name}.json").read_bytes())
    return table


@functools.cache
def definition_fields(name: str) -> dict[str, Schema]:
    """The field nodes of a definition such as io.k8s.api.core.v1.PodSpec."""
    package, _, short = name.rpartition(".")
    raw = _package(package)[short]
    return {field: _node(sub) for field, sub in raw["p"].items()}


def raw_definition(name: str) -> Raw:
    """A definition in the generated form, for documents made from the tables (api/openapi_schemas.py). Not to be changed."""
    package, _, short = name.rpartition(".")
    found: Raw = _package(package)[short]
    return found


def _node(raw: Raw) -> Schema:
    flags: dict[str, Any] = {
        "list_type": raw.get("lt", "atomic"),
        "list_keys": tuple(raw.get("lk", ())),
        "patch_strategy": frozenset(raw.get("ps", ())),
        "patch_key": raw.get("pk", ""),
        "keep_zero": bool(raw.get("z")),
        "always": bool(raw.get("a")),
        "null_zero": raw.get("a") == 2,
    }
    reference = raw.get("r")
    if reference is not None:
        definition = raw_definition(reference)
        return Schema(
            "object",
            name=reference,
            required=frozenset(definition.get("q", ())),
            map_type=raw.get("mt") or definition.get("mt", "granular"),
            defaults=definition.get("d"),
            load=lambda: (definition_fields(reference), None),
            **flags,
        )
    items = raw.get("i")
    return Schema(
        raw["t"],
        format=raw.get("f", ""),
        map_type=raw.get("mt", "granular"),
        load=None if items is None else lambda: (None, _node(items)),
        **flags,
    )


@functools.cache
def schema_for(group: str, version: str, kind: str) -> Schema:
    """The schema of a built-in kind. KeyError if there is none."""
    name = _TABLE["kinds"][f"{group}/{version}/{kind}"]
    return _node({"r": name})


@functools.cache
def schema_of(definition: str) -> Schema:
    """The schema of a definition by its name, e.g. io.k8s.api.core.v1.PodTemplateSpec."""
    return _node({"r": definition})

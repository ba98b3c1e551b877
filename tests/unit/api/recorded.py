"""Conversations with a Kubernetes API server, recorded: the scripts about patches and server-side apply."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[2] / "golden" / "patch-and-apply.jsonl.gz"
SUBRESOURCE = re.compile(r"(.*/(?:namespaces/[^/]+/)?[a-z]+/[^/]+)/(status|scale|resize|ephemeralcontainers|finalize)$")


@dataclass
class Step:
    """One request on an object, what the object was before, and the answer."""

    script: str
    method: str
    subresource: str
    media: str
    query: dict[str, str]
    body: Any
    live: dict[str, Any] | None
    code: int
    answer: Any

    @property
    def is_object(self) -> bool:
        return isinstance(self.answer, dict) and "resourceVersion" in (self.answer.get("metadata") or {})


def scripts() -> list[dict[str, Any]]:
    with gzip.open(FILE, "rt") as lines:
        return [json.loads(line) for line in lines]


def steps(script: dict[str, Any]) -> Iterator[Step]:
    """The script's writes to objects, each with the object as the step before left it."""
    live: dict[str, Any] = {}
    for raw in script["steps"]:
        query = raw.get("q") or {}
        path, subresource = raw["p"].split("?")[0], ""
        if found := SUBRESOURCE.match(path):
            path, subresource = found[1], found[2]
        media = ((raw.get("h") or {}).get("Content-Type") or "").split(";")[0]
        body = build(raw.get("b"), script)
        step = Step(
            script["script"],
            raw["m"],
            subresource,
            media,
            query,
            body,
            live.get(path),
            raw["want"]["code"],
            raw["want"].get("body"),
        )
        yield step
        if raw["m"] == "DELETE" and not subresource:
            live.pop(path, None)
        if (
            step.is_object
            and step.code in (200, 201)
            and "dryRun" not in query
            and step.answer["kind"] not in ("Scale", "PartialObjectMetadata")
        ):
            live[f"{path}/{step.answer['metadata']['name']}" if raw["m"] == "POST" else path] = step.answer


def build(body: Any, script: dict[str, Any]) -> Any:
    """The body of a step, with {"$of": ...} resolved against the script's base objects."""
    if not (isinstance(body, dict) and "$of" in body):
        return body
    obj = json.loads(json.dumps(script["base"][body["$of"]]))
    for path, value in body.get("$set") or []:
        at = obj
        for part in path[:-1]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        at[path[-1]] = value
    for path in body.get("$del") or []:
        at = obj
        for part in path[:-1]:
            at = at[part]
        at.pop(path[-1])
    return obj


def configuration(step: Step) -> Any:
    """The object in an apply request."""
    if not isinstance(step.body, str):
        return step.body
    try:
        return yaml.safe_load(step.body.split("\n---")[0])
    except yaml.YAMLError:
        return None


def without_times(entries: Any) -> list[str]:
    """Managed fields in an order of their own, with times that only say that there is one."""
    return sorted(json.dumps({**e, **({"time": "T"} if "time" in e else {})}, sort_keys=True) for e in entries or [])

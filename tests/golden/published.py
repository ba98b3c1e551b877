"""Requests that Schemathesis makes up from the OpenAPI which the server publishes: nothing may be answered with 500.

Each goes twice. First as it is made: almost all of those are refused at once, for their namespace, their apiVersion or their name. Then steered
past that, so that the rules of kinds see what Schemathesis makes of their fields and some objects come to be.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode, openapi

NAMES = ("a", "b", "c-0", "kubernetes", "default", "system:basic-user", "books.shop.example.com")
#: Made by the client library and of no concern here.
_LEFT_OUT = ("authorization", "user-agent", "connection", "accept-encoding", "content-length", "x-schemathesis-testcaseid")

#: A definition with most of what a schema can say, so that custom resources are asked for as well.
DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "books.shop.example.com"},
    "spec": {
        "group": "shop.example.com",
        "scope": "Namespaced",
        "names": {"plural": "books", "kind": "Book"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.copies", "statusReplicasPath": ".status.copies"}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "title": {"type": "string", "maxLength": 20, "pattern": "^[a-z]"},
                                    "copies": {"type": "integer", "minimum": 0, "default": 1},
                                    "price": {"type": "number", "multipleOf": 0.5, "nullable": True},
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "free": {"x-kubernetes-preserve-unknown-fields": True},
                                    "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
                                    "printed": {"type": "string", "format": "date-time"},
                                    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                                    "authors": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                                    },
                                    "prices": {"type": "object", "additionalProperties": {"type": "integer"}},
                                },
                                "x-kubernetes-validations": [{"rule": "!has(self.copies) || self.copies < 1000"}],
                            },
                            "status": {"type": "object", "properties": {"copies": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def requests_of(document: dict[str, Any], count: int, number: int, share: float = 1.0) -> Iterator[Made]:
    """About `count` requests for each operation of a document, the same for the same `number`; for a `share` of the operations only."""
    draw = random.Random(number)
    for found in openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if draw.random() < share:
            kind = operation.definition.raw.get("x-kubernetes-group-version-kind") or {}
            for mode in GenerationMode:
                for case in _cases(operation, mode, -(-count // 4), number):
                    yield from filter(None, [_made(case)])
                    steer(case, kind, draw)
                    yield from filter(None, [_made(case)])


def _cases(operation: Any, mode: GenerationMode, count: int, number: int) -> list[Case]:
    out: list[Case] = []

    @settings(
        max_examples=max(count, 1), database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @seed(number)
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        out.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            collect()
        except Exception as error:
            if "Unsatisfiable" not in type(error).__name__:  # an operation that no input can violate
                raise
    return out[:count]


def steer(case: Case, kind: dict[str, str], draw: random.Random) -> None:
    """Give a request a place that exists, and a body the kind and a name that are wanted there."""
    path = case.path_parameters
    if path.get("namespace") is not None:
        path["namespace"] = "default"
    if path.get("name") is not None:
        path["name"] = draw.choice(NAMES)
    for name in ("fieldValidation", "dryRun", "fieldManager", "resourceVersion", "resourceVersionMatch", "continue", "pretty"):
        if isinstance(case.query, dict):
            case.query.pop(name, None)
    if isinstance(case.body, dict) and case.method in ("POST", "PUT", "PATCH"):
        group, version = kind.get("group", ""), kind.get("version", "")
        case.body["apiVersion"] = f"{group}/{version}" if group else version
        case.body["kind"] = kind.get("kind", "")
        given_meta = case.body.get("metadata")
        meta = dict(given_meta) if isinstance(given_meta, dict) and draw.random() < 0.3 else {}
        case.body["metadata"] = {**meta, "name": path.get("name") or draw.choice(NAMES)}
    if case.media_type and "patch" not in case.media_type:
        case.media_type = "application/json"


def _made(case: Case) -> Made | None:
    """The request as bytes; None for what no HTTP client can send."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepared = requests.Request(**case.as_transport_kwargs(base_url="https://server")).prepare()
    except (ValueError, requests.RequestException):
        return None
    headers = {}
    for name, value in prepared.headers.items():
        if name.lower() not in _LEFT_OUT:
            headers[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    body = prepared.body or b""
    if not isinstance(body, (str, bytes)):
        return None
    data = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    return Made(prepared.method or "GET", prepared.path_url, headers, data)


def offence(made: Made, code: int, answer: Any) -> str:
    """What is wrong with an answer; empty if nothing is. An error must be a Status that says so."""
    if code >= 500 and not (code in (501, 503, 504) and _is_status(answer)):
        return f"{made.method} {made.target} {made.headers} {made.body[:500]!r}: {code} {str(answer)[:300]}"
    return ""


def _is_status(answer: Any) -> bool:
    if isinstance(answer, (bytes, str)):
        try:
            answer = json.loads(answer)
        except ValueError:
            return False
    return isinstance(answer, dict) and answer.get("kind") == "Status"

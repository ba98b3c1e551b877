"""The Kubernetes authorizer library: may somebody do something (API reference of admissionregistration.k8s.io, "CEL Variables").

`Checker.decide` is what answers; it belongs to who evaluates the expression. Checks are values: each step gives a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_PREFIX = "kubernetes.authorization."


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of a check."""

    allow: bool
    why: str = ""
    cel_type = f"{_PREFIX}Decision"


#: (service account as (namespace, name) or None, what is asked) -> decision
Decide = Callable[[tuple[str, str] | None, Mapping[str, str]], Decision]


@dataclass(frozen=True, slots=True)
class Check:
    """Something asked for, as far as it is known: path, or group, resource, namespace, name, ..."""

    decide: Decide
    kind: str
    account: tuple[str, str] | None = None
    asked: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def cel_type(self) -> str:
        return _PREFIX + self.kind

    def step(self, kind: str, **more: str) -> Check:
        return replace(self, kind=kind, asked={**self.asked, **more})


def _sets(name: str, kind: str) -> Callable[[Check, str], Check]:
    return lambda check, value: check.step(kind, **{name: value})


def _check(check: Check, verb: str) -> Decision:
    return check.decide(check.account, {**check.asked, "verb": verb})


_AUTHORIZER, _GROUP, _RESOURCE, _PATH, _DECISION = (
    f"{_PREFIX}{n}" for n in ("Authorizer", "GroupCheck", "ResourceCheck", "PathCheck", "Decision")
)

FUNCTIONS: list[tuple[str, Any]] = [
    (f"({_AUTHORIZER}).path(string) -> {_PATH}", _sets("path", "PathCheck")),
    (f"({_AUTHORIZER}).group(string) -> {_GROUP}", _sets("group", "GroupCheck")),
    (
        f"({_AUTHORIZER}).serviceAccount(string, string) -> {_AUTHORIZER}",
        lambda a, space, name: replace(a, account=(space, name)),
    ),
    (f"({_GROUP}).resource(string) -> {_RESOURCE}", _sets("resource", "ResourceCheck")),
    (f"({_RESOURCE}).subresource(string) -> {_RESOURCE}", _sets("subresource", "ResourceCheck")),
    (f"({_RESOURCE}).namespace(string) -> {_RESOURCE}", _sets("namespace", "ResourceCheck")),
    (f"({_RESOURCE}).name(string) -> {_RESOURCE}", _sets("name", "ResourceCheck")),
    (f"({_RESOURCE}).fieldSelector(string) -> {_RESOURCE}", _sets("field_selector", "ResourceCheck")),
    (f"({_RESOURCE}).labelSelector(string) -> {_RESOURCE}", _sets("label_selector", "ResourceCheck")),
    (f"({_RESOURCE}).check(string) -> {_DECISION}", _check),
    (f"({_PATH}).check(string) -> {_DECISION}", _check),
    (f"({_DECISION}).allowed() -> bool", lambda d: d.allow),
    (f"({_DECISION}).reason() -> string", lambda d: d.why),
    (f"({_DECISION}).errored() -> bool", lambda d: False),
    (f"({_DECISION}).error() -> string", lambda d: ""),
]

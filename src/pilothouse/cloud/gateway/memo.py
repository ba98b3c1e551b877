"""Translations of routes, kept as long as neither the route nor anything that was looked up for it has changed.

A Gateway is decided on as a whole, also where one of its thousand routes has changed: the others then cost a few comparisons each. What did
not change is the same object as before, so that whoever compares plans is quick as well. Objects out of caches are never changed, only
replaced: it is enough to ask whether they are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.reconcile.kinds import Kind
from pilothouse.cloud.gateway.backend_tls import Verdict
from pilothouse.cloud.gateway.backends import Backends
from pilothouse.cloud.gateway.references import Lookup
from pilothouse.cloud.gateway.rules import Translated, translate
from pilothouse.cloud.provider import Backend
from pilothouse.dataplane.model import Host, Rule

Obj = dict[str, Any]


@dataclass(slots=True)
class _Recording:
    """A `Lookup` that remembers what it was asked and what it said."""

    lookup: Lookup
    objects: list[tuple[tuple[Kind, str, str], Obj | None]] = field(default_factory=list)
    grants_: list[tuple[str, tuple[Obj, ...]]] = field(default_factory=list)
    policies_: list[tuple[tuple[str, str], tuple[Obj, ...]]] = field(default_factory=list)

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        found = self.lookup.get(kind, namespace, name)
        self.objects.append(((kind, namespace, name), found))
        return found

    def grants(self, namespace: str) -> Iterable[Obj]:
        found = tuple(self.lookup.grants(namespace))
        self.grants_.append((namespace, found))
        return found

    def policies(self, namespace: str, service: str) -> Iterable[Obj]:
        found = tuple(self.lookup.policies(namespace, service))
        self.policies_.append(((namespace, service), found))
        return found

    def still_holds(self, lookup: Lookup) -> bool:
        return (
            all(lookup.get(*asked) is found for asked, found in self.objects)
            and all(_same(lookup.grants(asked), found) for asked, found in self.grants_)
            and all(_same(lookup.policies(*asked), found) for asked, found in self.policies_)
        )


def _same(one: Iterable[Obj], other: tuple[Obj, ...]) -> bool:
    now = tuple(one)
    return len(now) == len(other) and all(a is b for a, b in zip(now, other, strict=True))


@dataclass(frozen=True, slots=True)
class _Made:
    route: Obj
    of: Backends
    asked: _Recording
    translated: Translated
    found: dict[str, Backend]
    verdicts: dict[str, Verdict]


class Memo:
    """Of one Gateway. `turn` is called when a decision begins: what was not used in the last one is forgotten."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str, str], _Made] = {}
        self._now: dict[tuple[str, str, str], _Made] = {}
        self._hosts_before: dict[tuple[str, ...], Host] = {}
        self._hosts: dict[tuple[str, ...], Host] = {}

    def turn(self) -> None:
        self._before, self._now = self._now, {}
        self._hosts_before, self._hosts = self._hosts, {}

    def translate(self, route: Obj, kind: str, backends: Backends) -> Translated:
        """As `rules.translate`; what the route needs is added to the plan's backends."""
        meta = route["metadata"]
        key = (kind, meta["namespace"], meta["name"])
        made = self._before.get(key)
        if made is None or made.route is not route or not made.of.alike(backends) or not made.asked.still_holds(backends.lookup):
            asked = _Recording(backends.lookup)
            own = backends.over(asked)
            made = _Made(route, own, asked, translate(route, kind, own), own.found, own.verdicts)
        self._now[key] = made
        for name, backend in made.found.items():
            backends.found.setdefault(name, backend)
        backends.verdicts |= made.verdicts
        return made.translated

    def host(self, listener: tuple[str, ...], name: str, rules: tuple[Rule, ...]) -> Host:
        """A Host, the same as before if its rules are."""
        key = (*listener, name)
        made = self._hosts_before.get(key)
        if made is None or len(made.rules) != len(rules) or any(a is not b for a, b in zip(made.rules, rules, strict=True)):
            made = Host(name, rules)
        self._hosts[key] = made
        return made

"""Policy rules: what an RBAC rule permits, and when a set of rules covers another one.

A rule is a plain dict as it stands in a Role (verbs, apiGroups, resources, resourceNames, nonResourceURLs). "*" in verbs, groups
or resources means any; `*/scale` in resources means that subresource of any resource; a non-resource URL may end in "*".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from pilothouse.api.errors import Obj, show
from pilothouse.apiserver.interface import Attributes


def allows(rule: Obj, attributes: Attributes) -> bool:
    """Whether one rule permits one request."""
    if not _has(rule, "verbs", attributes.verb):
        return False
    if not attributes.resource:
        return any(_url_matches(pattern, attributes.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule, "apiGroups", attributes.group) or not _resource_matches(rule, attributes.resource, attributes.subresource):
        return False
    names = rule.get("resourceNames")
    return not names or attributes.name in names


def names_of(rule: Obj, attributes: Attributes) -> Sequence[str] | None:
    """Which objects' names a rule permits such a request on: None for none of them, an empty sequence for all."""
    if not _has(rule, "verbs", attributes.verb) or not _has(rule, "apiGroups", attributes.group):
        return None
    if not _resource_matches(rule, attributes.resource, attributes.subresource):
        return None
    return rule.get("resourceNames") or ()


def _has(rule: Obj, key: str, wanted: str) -> bool:
    values = rule.get(key) or ()
    return wanted in values or "*" in values


def _resource_matches(rule: Obj, resource: str, subresource: str) -> bool:
    full = f"{resource}/{subresource}" if subresource else resource
    for candidate in rule.get("resources") or ():
        if candidate in ("*", full) or (subresource and candidate == f"*/{subresource}"):
            return True
    return False


def _url_matches(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


# --- covering: may a user who holds these rules give away those? -----------------------------------------------------------------------


def uncovered(held: Sequence[Obj], wanted: Iterable[Obj]) -> list[Obj]:
    """The parts of `wanted`, one verb on one thing each, that no rule of `held` contains."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(h, part) for h in held)]


def _parts(rule: Obj) -> Iterable[Obj]:
    """A rule as rules of one verb on one thing."""
    for verb, group, resource in product(rule.get("verbs") or (), rule.get("apiGroups") or (), rule.get("resources") or ()):
        part = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
        names = rule.get("resourceNames")
        if not names:
            yield part
        else:
            yield from ({**part, "resourceNames": [n]} for n in names)
    for verb, url in product(rule.get("verbs") or (), rule.get("nonResourceURLs") or ()):
        yield {"verbs": [verb], "nonResourceURLs": [url]}


def _covers(held: Obj, part: Obj) -> bool:
    if not _has(held, "verbs", part["verbs"][0]):
        return False
    if "nonResourceURLs" in part:
        return any(_url_matches(pattern, part["nonResourceURLs"][0]) for pattern in held.get("nonResourceURLs") or ())
    if not _has(held, "apiGroups", part["apiGroups"][0]):
        return False
    resource, _, subresource = part["resources"][0].partition("/")
    if not _resource_matches(held, resource, subresource):
        return False
    names = held.get("resourceNames")
    return not names or ("resourceNames" in part and part["resourceNames"][0] in names)


def compact(parts: Iterable[Obj]) -> list[Obj]:
    """Single-verb rules about the same thing as one rule, the others as they are."""
    out: list[Obj] = []
    by_thing: dict[tuple[str, str, str | None], Obj] = {}
    for part in parts:
        if "nonResourceURLs" in part:
            out.append(part)
            continue
        thing = (part["apiGroups"][0], part["resources"][0], (part.get("resourceNames") or [None])[0])
        found = by_thing.get(thing)
        if found is None:
            by_thing[thing] = merged = {**part, "verbs": list(part["verbs"])}
            out.append(merged)
        elif part["verbs"][0] not in found["verbs"]:
            found["verbs"].append(part["verbs"][0])
    return out


_SHOWN = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("ResourceNames", "resourceNames"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("Verbs", "verbs"),
)


def text(rule: Obj) -> str:
    """A rule as refusals show it: {APIGroups:[""], Resources:["pods"], Verbs:["get"]}."""
    parts = [f"{title}:[{', '.join(show(v) for v in rule[key])}]" for title, key in _SHOWN if rule.get(key)]
    return "{" + ", ".join(parts) + "}"

"""Hostnames of listeners and routes: exact, `*.` and a suffix, or "" for any (API reference: Listener.hostname, HTTPRoute.spec.hostnames).

A wildcard stands for one label or more; the suffix alone does not match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def covers(pattern: str, hostname: str) -> bool:
    """Whether everything that `hostname` matches is matched by `pattern`. Either may have a wildcard or be ""."""
    if pattern in ("", hostname):
        return True
    return pattern.startswith("*.") and hostname.endswith(pattern[1:])


def wider(hostname: str) -> Iterator[str]:
    """The other patterns that cover it, from the closest to "": found without looking at all that there are."""
    if not hostname:
        return
    rest = hostname.removeprefix("*.") if hostname.startswith("*.") else hostname
    while dot := rest.find(".") + 1:
        rest = rest[dot:]
        yield f"*.{rest}"
    yield ""


def intersection(one: str, other: str) -> str | None:
    """The hostname that both match, which is the narrower of the two; None if there is none."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def intersections(listener: str, hostnames: Iterable[str]) -> dict[str, str]:
    """What a route with these hostnames serves at a listener, each with the route's own hostname that it comes from: the most specific one."""
    found: dict[str, str] = {}
    for own in list(hostnames) or [""]:
        common = intersection(listener, own)
        if common is not None and (common not in found or specificity(own) < specificity(found[common])):
            found[common] = own
    return found


def specificity(hostname: str) -> tuple[int, int]:
    """A sort key: exact names before wildcards before "", the longer ones first."""
    kind = 2 if not hostname else 1 if hostname.startswith("*") else 0
    return (kind, -len(hostname))

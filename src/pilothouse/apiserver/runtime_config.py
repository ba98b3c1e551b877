"""`--runtime-config`: which API versions and resources are served (kube-apiserver's command line reference).

Keys, from the weakest to the strongest: `api/all`, `api/ga` `api/beta` `api/alpha`, a group version (`apps/v1`; `v1` or `api/v1` for the
core group), a resource of one (`apps/v1/deployments`). Values are `true` (also when left out) and `false`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.api.resource import Resource

#: What the server itself keeps its own objects in, or asks at each request.
NEEDED = frozenset(
    ("v1", *(f"{group}.k8s.io/v1" for group in ("apiregistration", "coordination", "discovery", "flowcontrol.apiserver", "networking",
                                               "rbac.authorization", "scheduling")))
)  # fmt: skip
_LEVEL = re.compile(r"v\d+(alpha|beta)?\d*")
_ORDER = ("api/all", "api/ga", "api/beta", "api/alpha")


@dataclass(frozen=True, slots=True)
class _Key:
    text: str
    value: bool


def served(resources: Sequence[Resource], config: tuple[str, ...]) -> tuple[Resource, ...]:
    """The resources left on by `key=value` pairs. ValueError, in one line, for what is unknown or cannot be switched off."""
    if not config:
        return tuple(resources)
    keys = sorted((_parsed(pair, resources) for pair in config), key=lambda key: _rank(key.text))
    return tuple(r for r in resources if _is_on(r, keys))


def _is_on(resource: Resource, keys: Sequence[_Key]) -> bool:
    if resource.api_version in NEEDED:
        return True
    version = resource.api_version
    names = ("api/all", f"api/{_level(resource.version)}", version, f"{version}/{resource.plural}")
    return next((key.value for key in reversed(keys) if key.text in names), True)


def _level(version: str) -> str:
    match = _LEVEL.fullmatch(version)
    return (match and match.group(1)) or "ga"


def _rank(text: str) -> int:
    if text in _ORDER:
        return min(_ORDER.index(text), 1)
    return 2 + text.count("/")


def _parsed(pair: str, resources: Sequence[Resource]) -> _Key:
    name, equals, word = pair.partition("=")
    if equals and word.lower() not in ("true", "false"):
        raise ValueError(f"--runtime-config: the value of {name} must be true or false, not {word!r}")
    text = "v1" if name == "api/v1" else name
    value = word.lower() != "false"
    if text in _ORDER:
        return _Key(text, value)
    if not any(text in (r.api_version, f"{r.api_version}/{r.plural}") for r in resources):
        raise ValueError(f"--runtime-config: unknown API group version or resource: {name}")
    if not value and any(text == needed or text.startswith(needed + "/") for needed in NEEDED):
        raise ValueError(f"--runtime-config: {name} cannot be switched off: the API server itself needs it")
    return _Key(text, value)

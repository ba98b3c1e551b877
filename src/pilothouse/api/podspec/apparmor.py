"""AppArmor profiles of a new pod: what only the older annotation says, the field says as well (KEP-24).

A container that has only the annotation gets the field, and the client a warning; the other way nothing is copied any more. What cannot be
understood is left as it is and refused by validation. Windows pods have neither.
"""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.errors import Obj
from pilothouse.api.podspec.annotations import APPARMOR

_LOCALHOST = "localhost/"
_FIELDS = {"runtime/default": "RuntimeDefault", "unconfined": "Unconfined"}


def sync_apparmor(metadata: Obj, spec: Obj, warn: Callable[[str], None]) -> None:
    """Give a new pod the fields that its annotations stand for, in place."""
    of_pod = (spec.get("securityContext") or {}).get("appArmorProfile")
    annotations = metadata.get("annotations") or {}
    if (spec.get("os") or {}).get("name") == "windows":
        return
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            key = APPARMOR + (container.get("name") or "")
            own = (container.get("securityContext") or {}).get("appArmorProfile")
            if key in annotations and own is None:
                _take_annotation(container, annotations[key], of_pod, key, warn)


def _take_annotation(container: Obj, value: str, of_pod: Obj | None, key: str, warn: Callable[[str], None]) -> None:
    profile = _profile_for(value)
    if profile is None:
        return
    warn(f'metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead')
    if profile != of_pod:
        container.setdefault("securityContext", {})["appArmorProfile"] = profile


def _profile_for(value: str) -> Obj | None:
    if value.startswith(_LOCALHOST):
        name = value.removeprefix(_LOCALHOST)
        return {"type": "Localhost", "localhostProfile": name} if name.strip() == name and name else None
    return {"type": _FIELDS[value]} if value in _FIELDS else None

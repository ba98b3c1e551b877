"""Annotations that mean something to a pod (reference: "Well-Known Labels, Annotations and Taints")."""

from __future__ import annotations

import re

from pilothouse.api.errors import Obj, invalid
from pilothouse.api.podspec.checks import Errors

MIRROR = "kubernetes.io/config.mirror"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_is_integer = re.compile(r"[+-]?[0-9]+").fullmatch


def check_pod_annotations(annotations: dict[str, str], spec: Obj, path: str, out: Errors) -> None:
    """Values that are read by someone must be readable."""
    if MIRROR in annotations and not spec.get("nodeName"):
        told = "must set spec.nodeName if mirror pod annotation is set"
        out.append(invalid(f"{path}[{MIRROR}]", annotations[MIRROR], told))
    for key in sorted(annotations):
        if key.startswith(APPARMOR):
            _check_apparmor(key, annotations[key], spec, path, out)
        elif key == DELETION_COST:
            _check_cost(annotations[key], f"{path}[{key}]", out)


def _check_apparmor(key: str, value: str, spec: Obj, path: str, out: Errors) -> None:
    container = key.removeprefix(APPARMOR)
    known = (c.get("name") for field in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(field) or ())
    if container not in known:
        out.append(invalid(f"{path}[{key}]", container, "container not found"))
    if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
        out.append(invalid(f"{path}[{key}]", value, f'invalid AppArmor profile name: "{value}"'))


def _check_cost(value: str, path: str, out: Errors) -> None:
    if not _is_integer(value) or not -(2**31) <= int(value) < 2**31:
        out.append(invalid(path, value, "must be a 32bit integer"))

"""The Kubernetes semver library (semver.org 2.0.0)."""

from __future__ import annotations

import functools
import re
from typing import Any

from pilothouse.api.cel.errors import CelError

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII)


@functools.total_ordering
class Semver:
    """A version; build metadata plays no part in its order."""

    __slots__ = ("numbers", "pre")
    cel_type = "kubernetes.Semver"

    def __init__(self, numbers: tuple[int, int, int], pre: tuple[str, ...]) -> None:
        self.numbers = numbers
        self.pre = pre

    @property
    def key(self) -> Any:
        return self.numbers, not self.pre, [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and bool(self.key == other.key)

    def __lt__(self, other: Semver) -> bool:
        return bool(self.key < other.key)

    def __hash__(self) -> int:
        return hash((self.numbers, self.pre))


def semver(text: str, normalize: bool = False) -> Semver:
    """CelError for what is no version. `normalize` takes a leading v away, fills up to three numbers, and takes leading zeros away."""
    if normalize:
        text = _normalized(text)
    found = _VERSION.fullmatch(text)
    if found is None:
        few = len(re.split(r"[-+]", text)[0].split(".")) < 3
        raise CelError("No Major.Minor.Patch elements found" if few else f"Invalid character(s) found in version {text!r}")
    pre = tuple(found.group(4).split(".")) if found.group(4) else ()
    return Semver((int(found.group(1)), int(found.group(2)), int(found.group(3))), pre)


def _normalized(text: str) -> str:
    head, rest = re.fullmatch(r"v?([^-+]*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    numbers = [n.lstrip("0") or "0" if n.isdigit() else n for n in head.split(".")]
    return ".".join(numbers + ["0"] * (3 - len(numbers))) + rest


def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        semver(text, normalize)
    except CelError:
        return False
    return True


_S = "(kubernetes.Semver)"

FUNCTIONS: list[tuple[str, Any]] = [
    ("semver(string) -> kubernetes.Semver", semver),
    ("semver(string, bool) -> kubernetes.Semver", semver),
    ("isSemver(string) -> bool", is_semver),
    ("isSemver(string, bool) -> bool", is_semver),
    (f"{_S}.major() -> int", lambda v: v.numbers[0]),
    (f"{_S}.minor() -> int", lambda v: v.numbers[1]),
    (f"{_S}.patch() -> int", lambda v: v.numbers[2]),
    (f"{_S}.compareTo(kubernetes.Semver) -> int", lambda a, b: (a > b) - (a < b)),
    (f"{_S}.isGreaterThan(kubernetes.Semver) -> bool", lambda a, b: a > b),
    (f"{_S}.isLessThan(kubernetes.Semver) -> bool", lambda a, b: a < b),
]

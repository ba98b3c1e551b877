"""--authorization-mode: which authorizers, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pilothouse.apiserver.authz.alwaysallow import AlwaysAllow, AlwaysDeny
from pilothouse.apiserver.authz.node import NodeAuthorizer
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.interface import Authorizer, Hub

#: What an API server does when it is not told.
DEFAULT_MODES = ("AlwaysAllow",)

_MODES: dict[str, Callable[[Hub], Authorizer]] = {
    "AlwaysAllow": lambda hub: AlwaysAllow(),
    "AlwaysDeny": lambda hub: AlwaysDeny(),
    "Node": NodeAuthorizer,
    "RBAC": Rbac,
}
_UNSUPPORTED = ("ABAC", "Webhook")


def parse_modes(text: str) -> tuple[str, ...]:
    """The value of the flag as names. ValueError, in one line, for unknown, repeated and unsupported modes."""
    modes = tuple(m.strip() for m in text.split(",") if m.strip())
    if not modes:
        raise ValueError("at least one authorization-mode must be passed")
    for mode in modes:
        if mode in _UNSUPPORTED:
            raise ValueError(f"authorization-mode {mode} is not supported by pilothouse; use one of {', '.join(_MODES)}")
        if mode not in _MODES:
            raise ValueError(f'authorization-mode "{mode}" is not a valid mode')
    if len(set(modes)) != len(modes):
        raise ValueError(f"authorization-mode {text!r} has mode specified more than once")
    return modes


def build(hub: Hub, modes: Sequence[str]) -> tuple[Authorizer, ...]:
    """The authorizers of `modes`, in that order."""
    return tuple(_MODES[mode](hub) for mode in modes)


def find_rbac(authorizers: Sequence[Authorizer]) -> Rbac | None:
    """The RBAC authorizer, where it is among them."""
    return next((a for a in authorizers if isinstance(a, Rbac)), None)

"""What a connection asks for, as the object that admission sees: the query of exec, attach, port forwarding and proxies (API reference:
PodExecOptions and its like)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.api.errors import Obj

Values = Sequence[str]


def _flag(values: Values) -> bool:
    return values[0].lower() not in ("false", "0")


def _first(values: Values) -> str:
    return values[0]


def _numbers(values: Values) -> list[int]:
    return [int(part) for value in values for part in value.split(",") if part.isdigit()]


_STREAMS: dict[str, Callable[[Values], Any]] = {
    "stdin": _flag, "stdout": _flag, "stderr": _flag, "tty": _flag, "container": _first,
}  # fmt: skip
_FIELDS: dict[str, dict[str, Callable[[Values], Any]]] = {
    "PodExecOptions": {**_STREAMS, "command": list},
    "PodAttachOptions": _STREAMS,
    "PodPortForwardOptions": {"ports": _numbers},
    "PodProxyOptions": {"path": _first},
    "ServiceProxyOptions": {"path": _first},
    "NodeProxyOptions": {"path": _first},
}
#: Output is wanted, whoever asks.
_ALWAYS = {"PodExecOptions": ("stdout", "stderr"), "PodAttachOptions": ("stdout", "stderr")}


def connect_options(kind: str, query: Mapping[str, Values]) -> Obj:
    """The options of a connection, without what is false or empty."""
    out: Obj = {"kind": kind, "apiVersion": "v1"}
    found = {name: read(query[name]) for name, read in _FIELDS.get(kind, {}).items() if query.get(name)}
    found |= dict.fromkeys(_ALWAYS.get(kind, ()), True)
    out.update((name, value) for name, value in found.items() if value)
    return out

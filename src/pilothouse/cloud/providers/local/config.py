"""What `--cloud-config` says to the local provider: YAML with three keys, all of them optional.

addresses: 127.50.0.0/16   # each Service and each Gateway has one of them
engine: auto               # embedded, haproxy, or auto: HAProxy where it is installed
ports: auto                # elsewhere: all on 127.0.0.1, on ports of their own; auto: only where there is no loopback range
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from pilothouse.api.yamltext import settings
from pilothouse.client import loopback

Network = ipaddress.IPv4Network

WHERE = "--cloud-config"
ENGINES = ("auto", "embedded", "haproxy")
PORTS = ("auto", "elsewhere")
#: Where simulated pods, cluster IPs (10.64.0.0/10) and nodes (10.192.0.0/10) have their twins.
_TWINS = (Network("127.64.0.0/10"), Network("127.192.0.0/10"))
DEFAULT = Network("127.50.0.0/16")
#: The machine's own loopback address: where everything is that has no address of its own.
SHARED = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Config:
    """`elsewhere`: nothing has an address of its own; several share one and differ by their ports."""

    addresses: Network = DEFAULT
    engine: str = "auto"
    elsewhere: bool = False


def parse(text: str) -> Config:
    """ValueError, in one line, for what cannot be."""
    told = settings(text, WHERE) or {}
    if not isinstance(told, dict):
        raise ValueError(f"{WHERE}: keys and values are expected, not {type(told).__name__}")
    unknown = [str(k) for k in told if k not in ("addresses", "engine", "ports")]
    if unknown:
        raise ValueError(f"{WHERE}: {unknown[0]!r} is not one of addresses, engine, ports")
    ports, engine = _one_of(told, "ports", PORTS), _one_of(told, "engine", ENGINES)
    if engine == "haproxy":
        _check_haproxy()
    return Config(
        addresses=network(told.get("addresses", str(DEFAULT)), f"{WHERE}: addresses"),
        engine=engine,
        elsewhere=ports == "elsewhere" or not loopback.has_range(),
    )


def network(value: Any, where: str) -> Network:
    """A range to give addresses from. ValueError, in one line that begins with `where`."""
    try:
        out = Network(str(value))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if out.prefixlen > 30:
        raise ValueError(f"{where}: {out} has too few addresses; /30 is the smallest range")
    taken = next((t for t in _TWINS if t.overlaps(out)), None)
    if taken is not None:
        raise ValueError(f"{where}: {out} overlaps {taken}, where simulated pods and nodes are")
    return out


def _check_haproxy() -> None:
    from pilothouse.dataplane.haproxy import binary

    try:
        binary.check()
    except OSError as error:
        raise ValueError(f"{WHERE}: engine haproxy: {error}") from None


def _one_of(told: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = told.get(key, choices[0])
    if value not in choices:
        raise ValueError(f"{WHERE}: {key} is {value!r}, not one of {', '.join(choices)}")
    return str(value)

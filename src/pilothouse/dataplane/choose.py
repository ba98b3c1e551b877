"""Which engine carries the traffic."""

from __future__ import annotations

from pilothouse.clock import Clock
from pilothouse.dataplane.engine import Engine


def choose(wanted: str, clock: Clock) -> Engine:
    """`auto`, `embedded` or `haproxy`. ValueError, in one line, for one that cannot be here. Nothing of an engine is imported before."""
    if wanted == "haproxy":
        raise ValueError("engine haproxy: not there yet")
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine

    return EmbeddedEngine(clock)

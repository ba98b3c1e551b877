"""Which engine carries the traffic: by name, or the best that this machine has."""

from __future__ import annotations

import logging

from pilothouse.clock import Clock
from pilothouse.dataplane.engine import Engine

LOG = logging.getLogger(__name__)
ENGINES = ("auto", "embedded", "haproxy")


def make_engine(name: str, clock: Clock) -> Engine:
    """One of `ENGINES`; `auto` is HAProxy where it is installed and new enough, and the embedded engine elsewhere.

    ValueError for another name. An engine that was named and cannot be says so when it starts.
    """
    if name not in ENGINES:
        raise ValueError(f"{name!r} is no engine: {', '.join(ENGINES)}")
    if name == "haproxy" or (name == "auto" and _haproxy_is_there()):
        from pilothouse.dataplane.haproxy.engine import HaproxyEngine

        return HaproxyEngine(clock)
    from pilothouse.dataplane.embedded.engine import EmbeddedEngine

    return EmbeddedEngine(clock)


def _haproxy_is_there() -> bool:
    from pilothouse.dataplane.haproxy import binary

    try:
        binary.check()
    except OSError as error:
        LOG.info("the embedded engine carries traffic: %s", error)
        return False
    return True

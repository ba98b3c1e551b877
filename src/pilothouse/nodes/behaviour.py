"""How a simulated pod behaves towards those who ask it something: a value, read from annotations.

    pilothouse.dev/latency: 50ms            time until an answer; or a range, 20ms-80ms, from which each request draws
    pilothouse.dev/http-status: "503"       the status of all answers; or by path, longest prefix first: 200,/api=404,/healthz=500
    pilothouse.dev/cpu-per-request: 5m      CPU seconds that a request costs; they show in what the pod uses (`usage.py`)
    pilothouse.dev/body-size: 64Ki          bytes of each answer's body, which then says nothing else (at most 16Mi)
    pilothouse.dev/fail-readiness: "true"   the pod is not ready, its readiness probes fail

The paths in `HEALTH_PATHS` follow the readiness: they answer 503 while `fail-readiness` says so and from when the pod is asked to stop, unless
`http-status` names them. Liveness and startup probes do not see `fail-readiness`. What means nothing is ignored, as in `lifecycle.py`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from pilothouse.api import quantity
from pilothouse.nodes.usage import duration

Obj = dict[str, Any]

LATENCY = "pilothouse.dev/latency"
HTTP_STATUS = "pilothouse.dev/http-status"
CPU_PER_REQUEST = "pilothouse.dev/cpu-per-request"
BODY_SIZE = "pilothouse.dev/body-size"
FAIL_READINESS = "pilothouse.dev/fail-readiness"
ANNOTATIONS = (LATENCY, HTTP_STATUS, CPU_PER_REQUEST, BODY_SIZE, FAIL_READINESS)

#: Where applications tell whether they can take traffic.
HEALTH_PATHS = frozenset(("/health", "/healthz", "/health/ready", "/ready", "/readyz", "/-/ready"))
LARGEST_BODY = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`latency` in seconds, from and to; `paths` are prefixes with their status, longest first; `cpu` in seconds; `size` 0 means the usual body."""

    latency: tuple[float, float] = (0.0, 0.0)
    status: int = 200
    paths: tuple[tuple[str, int], ...] = ()
    cpu: float = 0.0
    size: int = 0
    fail_readiness: bool = False

    def delay(self, draw: float) -> float:
        """The latency for a number between 0 and 1."""
        low, high = self.latency
        return low + (high - low) * draw

    def status_of(self, path: str, ready: bool = True) -> int:
        """What a request for this path (without its query) is answered."""
        for prefix, status in self.paths:
            if path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/"):
                return status
        if not ready and path in HEALTH_PATHS:
            return 503
        return self.status


#: That of a pod without annotations.
PLAIN = Behaviour()


def behaviour(pod: Obj) -> Behaviour:
    """How this pod behaves."""
    notes = pod["metadata"].get("annotations")
    if not notes:
        return PLAIN
    texts = tuple(map(notes.get, ANNOTATIONS))
    return PLAIN if texts == _NOTHING else _parse(texts)


_NOTHING = (None,) * len(ANNOTATIONS)


@functools.lru_cache(maxsize=1024)
def _parse(texts: tuple[str | None, ...]) -> Behaviour:
    latency, status, cpu, size, unready = texts
    general, paths = _statuses(status or "")
    return Behaviour(_latency(latency or ""), general, paths, _cpu(cpu or ""), _size(size or ""), unready == "true")


def _latency(text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        first = duration(low.strip())
        last = duration(high.strip()) if dash else first
    except ValueError:
        return 0.0, 0.0
    return (first, last) if first <= last else (last, first)


def _statuses(text: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    general, paths = 200, {}
    for part in text.split(","):
        path, _, code = part.rpartition("=")
        if not code.strip().isdecimal() or not 200 <= int(code) <= 599:
            continue
        if path.strip().startswith("/"):
            paths[path.strip()] = int(code)
        elif not path:
            general = int(code)
    return general, tuple(sorted(paths.items(), key=lambda item: (-len(item[0]), item[0])))


def _cpu(text: str) -> float:
    try:
        return max(0.0, quantity.milli_value(text) / 1000)
    except ValueError:
        return 0.0


def _size(text: str) -> int:
    try:
        size = quantity.value(text)
    except ValueError:
        return 0
    return size if 0 < size <= LARGEST_BODY else 0


class Meter:
    """CPU by request as a rate: what was spent fades within seconds, as in the windows over which a node measures."""

    __slots__ = ("_at", "_rate")
    #: Seconds in which the weight of a moment falls to a third.
    FADING = 5.0

    def __init__(self) -> None:
        self._rate = 0.0
        self._at = 0.0

    def add(self, seconds: float, now: float) -> None:
        self._rate = self.rate(now) + seconds / self.FADING
        self._at = now

    def rate(self, now: float) -> float:
        """Cores in use."""
        return self._rate * math.exp((self._at - now) / self.FADING) if self._rate else 0.0

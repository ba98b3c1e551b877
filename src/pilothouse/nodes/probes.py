"""The probes of a simulated pod: what it would answer (`answers.py`), asked as a kubelet asks, as a pure function of pod and time. No sockets.

References: "Liveness, Readiness, and Startup Probes" and the API reference of Probe. A probe begins `initialDelaySeconds` after its container
and repeats each `periodSeconds`; liveness and readiness wait for the startup probe. `successThreshold` successes in a row make a container
ready, `failureThreshold` failures make it unready, or have it killed. httpGet and grpc follow status and latency, tcpSocket and exec succeed; all
readiness probes follow `fail-readiness`. A probe may name a port that is not declared, as on a cluster. Left out: probes of init containers, a probe's own grace period.

Pods whose annotations cannot make a probe fail are not followed here: `ready_at` and `started_at` say when they succeed.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

from pilothouse.nodes.behaviour import PLAIN, Behaviour

Obj = dict[str, Any]

STARTUP, LIVENESS, READINESS = "startup", "liveness", "readiness"


@dataclass(slots=True)
class Record:
    """One probe. `streak` counts equal results, below zero failures; `quiet`: nothing can change before the pod does."""

    due: float
    streak: int = 0
    quiet: bool = False


@dataclass(slots=True)
class Probing:
    """The probes of a container since its start at `begun`. `failures`: messages that nobody was told of yet."""

    begun: float
    started: float | None = None
    ready: bool = False
    records: dict[str, Record] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return self.ready and self.started is not None


def of(container: Obj, kind: str) -> Obj | None:
    return container.get(f"{kind}Probe")


def can_fail(container: Obj, how: Behaviour) -> bool:
    """Whether a container has to be followed at all."""
    if how is PLAIN:
        return False
    if how.fail_readiness and of(container, READINESS) is not None:
        return True
    if not (how.paths or how.status >= 400 or how.latency[1]):
        return False
    return any(
        p is not None and ("httpGet" in p or "grpc" in p) for p in (of(container, k) for k in (STARTUP, LIVENESS, READINESS))
    )


def _delay(container: Obj, kind: str) -> float:
    return float((of(container, kind) or {}).get("initialDelaySeconds") or 0)


def started_at(container: Obj, begun: float) -> float:
    """When a container whose probes succeed has started."""
    return begun + _delay(container, STARTUP)


def ready_at(container: Obj, begun: float) -> float:
    """When a container whose probes succeed is ready."""
    probe = of(container, READINESS)
    first = max(started_at(container, begun), begun + _delay(container, READINESS))
    return first if probe is None else first + ((probe.get("successThreshold") or 1) - 1) * _period(probe)


def after_success(container: Obj, begun: float, now: float) -> Probing:
    """The probes of a container that has run well until now."""
    out = Probing(begun, ready=ready_at(container, begun) <= now)
    if started_at(container, begun) <= now:
        out.started = started_at(container, begun)
    for kind in (LIVENESS, READINESS) if out.started is not None else (STARTUP,):
        begins = max(begun + _delay(container, kind), out.started or 0.0)
        out.records[kind] = Record(begins, 1, True) if begins <= now else Record(begins)
    return out


def follow(pod: Obj, ip: str, container: Obj, how: Behaviour, probing: Probing, now: float, wake: list[float]) -> str:
    """Do the probes that are due. Returns the kind of the one that has its container killed, or ""; appends when to come again."""
    if of(container, STARTUP) is None and probing.started is None:
        probing.started = probing.begun
    for kind in (STARTUP, LIVENESS, READINESS):
        probe = of(container, kind)
        if kind == STARTUP and probing.started is not None:
            continue
        if kind != STARTUP and probing.started is None:
            break
        if probe is not None and _probe(pod, ip, container, kind, probe, how, probing, now, wake):
            return kind
    if of(container, READINESS) is None:
        probing.ready = probing.started is not None and not how.fail_readiness
    return ""


def _probe(pod: Obj, ip: str, container: Obj, kind: str, probe: Obj, how: Behaviour, probing: Probing, now: float, wake: list[float]) -> bool:  # fmt: skip
    """One probe up to now. True if it kills its container."""
    record = probing.records.get(kind)
    if record is None:
        begin = max(probing.begun + (probe.get("initialDelaySeconds") or 0), probing.started or 0.0)
        record = probing.records[kind] = Record(begin)
    if record.quiet:
        record.due, record.quiet = _next(record.due, _period(probe), now), False
    if record.due <= now:
        draw = zlib.crc32(f"{pod['metadata'].get('uid', '')}/{container['name']}/{kind}/{record.due}".encode()) / 2**32
        failure = outcome(ip, container, probe, how, kind, draw)
        well = not failure
        record.streak = (max(record.streak, 0) + 1) if well else (min(record.streak, 0) - 1)
        record.due = _next(record.due, _period(probe), now, after=True)
        if failure:
            probing.failures.append(f"{kind.capitalize()} probe failed: {failure}")
        if _concludes(kind, probe, record, probing, now):
            return True
    if kind == STARTUP and probing.started is not None:
        return False
    if record.streak >= (probe.get("successThreshold") or 1) and _is_certain(ip, container, probe, how, kind):
        record.quiet = True
    else:
        wake.append(record.due)
    return False


def _concludes(kind: str, probe: Obj, record: Record, probing: Probing, now: float) -> bool:
    """What a result makes of the container. True: it is to be killed."""
    if record.streak >= (probe.get("successThreshold") or 1):
        if kind == STARTUP:
            probing.started = now
        elif kind == READINESS:
            probing.ready = True
    elif -record.streak >= (probe.get("failureThreshold") or 3):
        if kind != READINESS:
            return True
        probing.ready = False
    return False


def _period(probe: Obj) -> float:
    return float(probe.get("periodSeconds") or 10)


def _next(due: float, period: float, now: float, after: bool = False) -> float:
    """The first moment of a probe's rhythm that is not past (or, `after`, to come)."""
    steps = (now - due) / period
    return due + period * max(0, math.floor(steps) + 1 if after else math.ceil(steps))


def _is_certain(ip: str, container: Obj, probe: Obj, how: Behaviour, kind: str) -> bool:
    """Whether this probe succeeds whatever latency is drawn."""
    return not outcome(ip, container, probe, how, kind, 1.0)


def outcome(ip: str, container: Obj, probe: Obj, how: Behaviour, kind: str, draw: float) -> str:
    """Why one try fails, in the kubelet's words; "" for success. `draw` (0 to 1) says where in its range the latency is."""
    ready = kind != READINESS or not how.fail_readiness
    late = how.delay(draw) > (probe.get("timeoutSeconds") or 1)
    if "httpGet" in probe:
        return _get(ip, container, probe["httpGet"], how, ready, late)
    if "grpc" in probe:
        if late:
            return f"timeout: health rpc did not complete within {probe.get('timeoutSeconds') or 1}s"
        return "" if ready and how.status < 400 else 'service unhealthy (responded with "NOT_SERVING")'
    if "tcpSocket" in probe:
        return "" if ready else f"dial tcp {ip}:{_number(container, probe['tcpSocket']['port'])}: connect: connection refused"
    return "" if ready else "not ready"


def _get(ip: str, container: Obj, get: Obj, how: Behaviour, ready: bool, late: bool) -> str:
    path = get.get("path") or "/"
    if late:
        url = f"{(get.get('scheme') or 'HTTP').lower()}://{ip}:{_number(container, get['port'])}{path}"
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    status = how.status_of(path.partition("?")[0]) if ready else 503
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


def _number(container: Obj, port: int | str) -> int | str:
    """A port that may be named."""
    return next((p["containerPort"] for p in container.get("ports") or () if p.get("name") == port), port)

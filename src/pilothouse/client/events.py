"""The event recorder: core/v1 Events about objects, counted up when they repeat, combined when there are many, written by a worker that callers never wait for."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.interface import Obj, Transport
from pilothouse.clock import Clock, rfc3339

log = logging.getLogger("pilothouse.client")

CAPACITY = 2000
REMEMBERED = 4096
#: More different messages than this of one kind about one object within so many seconds become one event.
SIMILAR, SIMILAR_SECONDS = 10, 600.0
COMBINED = "(combined from similar events): "
#: Events about one object: so many at once, then one each so many seconds.
BURST, REFILL_SECONDS = 25, 300.0
#: How often an event is tried to be written while the server cannot be reached.
ATTEMPTS, RETRY_SECONDS = 12, 10.0

Key = tuple[str, ...]


@dataclass(slots=True)
class _Known:
    """An event that was written: where, and how often it has happened."""

    path: str
    count: int


@dataclass(slots=True)
class _Similar:
    """Different messages of one kind about one object."""

    since: float
    messages: set[str] = field(default_factory=set)


class _Flood:
    """Keeps a component from flooding the server: combines similar events, and drops what one object has too many of."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._similar: dict[Key, _Similar] = {}
        self._tokens: dict[Key, tuple[float, float]] = {}

    def combine(self, kind: Key, message: str) -> bool:
        """Whether this message is one too many of its kind."""
        now = self._clock.monotonic()
        known = self._similar.get(kind)
        if known is None or now - known.since > SIMILAR_SECONDS:
            _make_room(self._similar)
            known = self._similar[kind] = _Similar(now)
        if len(known.messages) <= SIMILAR:
            known.messages.add(message)
        return len(known.messages) > SIMILAR

    def allows(self, about: Key) -> bool:
        """Whether there may be another event about this object now."""
        now = self._clock.monotonic()
        tokens, at = self._tokens.get(about) or (float(BURST), now)
        tokens = min(float(BURST), tokens + (now - at) / REFILL_SECONDS)
        if about not in self._tokens:
            _make_room(self._tokens)
        self._tokens[about] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1


def _make_room(remembered: dict[Key, Any]) -> None:
    if len(remembered) >= REMEMBERED:
        del remembered[next(iter(remembered))]


def reference(obj: Obj, api_version: str = "", kind: str = "") -> Obj:
    """An ObjectReference."""
    meta = obj["metadata"]
    out = {"kind": obj.get("kind") or kind, "namespace": meta.get("namespace"), "name": meta["name"], "uid": meta.get("uid"),
           "apiVersion": obj.get("apiVersion") or api_version, "resourceVersion": meta.get("resourceVersion")}  # fmt: skip
    return {k: v for k, v in out.items() if v}


class EventRecorder:
    """Events of one component. `record` never waits: when the worker is behind by CAPACITY, the newest are dropped."""

    def __init__(self, transport: Transport, clock: Clock, component: str, host: str = "") -> None:
        self._transport = transport
        self._clock = clock
        self._component = component
        self._host = host
        self._queue: asyncio.Queue[tuple[Key, Obj, str, str, str, str, str]] = asyncio.Queue(CAPACITY)
        self._known: dict[Key, _Known] = {}
        self._flood = _Flood(clock)
        self.dropped = 0

    def record(self, about: Obj, type: str, reason: str, message: str, action: str = "", host: str = "") -> None:
        """`about` is an object or an ObjectReference-like dict with kind, apiVersion and metadata; `type` Normal or Warning.

        `host` is where it happened, if not at the recorder's.
        """
        ref = about if "metadata" not in about else reference(about)
        subject = (ref.get("kind", ""), ref.get("namespace", ""), ref["name"], ref.get("uid", ""))
        kind = (*subject, type, reason)
        combined = self._flood.combine(kind, message)
        if not self._flood.allows(subject):
            return
        key = (*kind, COMBINED if combined else message)
        try:
            self._queue.put_nowait(
                (key, ref, type, reason, COMBINED + message if combined else message, action, host or self._host)
            )
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            await self._deliver(*await self._queue.get())

    async def _deliver(self, key: Key, ref: Obj, type: str, reason: str, message: str, action: str, host: str) -> None:
        """Write an event, again and again while the server cannot be reached."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._write(key, ref, type, reason, message, action, host)
            except OSError as error:
                log.info("event %s about %s not written: %s (attempt %d)", reason, ref.get("name"), error, attempt)
            await self._clock.sleep(RETRY_SECONDS)

    async def _write(self, key: Key, ref: Obj, type: str, reason: str, message: str, action: str, host: str) -> None:
        now = rfc3339(self._clock.now())
        known = self._known.get(key)
        if known is not None:
            known.count += 1
            patch = {"count": known.count, "lastTimestamp": now, "message": message[:1024]}
            answer = await self._transport.request(
                "PATCH", known.path, body=patch, content_type="application/strategic-merge-patch+json"
            )
            if answer.status == 200:
                return
        await self._create(key, ref, type, reason, message, action, host, now)

    async def _create(self, key: Key, ref: Obj, type: str, reason: str, message: str, action: str, host: str, now: str) -> None:
        namespace = ref.get("namespace") or "default"
        name = f"{ref['name']}.{self._clock.random.getrandbits(60):x}"
        event = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace}, "involvedObject": ref, "reason": reason,
            "message": message[:1024], "type": type, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": self._component, **({"host": host} if host else {})},
            "reportingComponent": self._component, "reportingInstance": host,
        }  # fmt: skip
        if action:
            event["action"] = action
        path = f"/api/v1/namespaces/{namespace}/events"
        answer = await self._transport.request("POST", path, body=event)
        if answer.status == 201:
            _make_room(self._known)
            self._known[key] = _Known(f"{path}/{name}", 1)
        elif answer.status not in (403, 404):
            log.warning("event %s about %s refused with %d", reason, ref["name"], answer.status)


def default_identity() -> str:
    """A holder identity as Kubernetes' components make theirs: the host's name with something unique."""
    import uuid

    return f"{socket.gethostname()}_{uuid.uuid4()}"

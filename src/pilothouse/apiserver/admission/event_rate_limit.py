"""EventRateLimit: events come only so fast, from everybody together, a namespace, a user, or about one object from one source.

Configuration: `limits`, each with `type`, `qps`, `burst` and `cacheSize` (how many namespaces, users or objects are remembered). Each
limit is a token bucket that the server's clock fills.
"""

from __future__ import annotations

from collections import OrderedDict

from pilothouse.api.errors import Obj, StatusError
from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub

_TYPES = ("Server", "Namespace", "User", "SourceAndObject")
_USUAL_CACHE = 4096
_OBJECT = ("kind", "namespace", "name", "uid", "apiVersion")
_SOURCE = ("component", "host")


class Limit:
    """One limit: a bucket of tokens for each key."""

    def __init__(self, config: Obj) -> None:
        kind, qps, burst = config.get("type"), config.get("qps"), config.get("burst")
        if kind not in _TYPES:
            raise ValueError(f"EventRateLimit: limits: type {kind!r} is none of {', '.join(_TYPES)}")
        if not isinstance(qps, int) or not isinstance(burst, int) or qps <= 0 or burst <= 0:
            raise ValueError(f"EventRateLimit: limits: {kind}: qps and burst must be positive numbers")
        self.kind: str = kind
        self._rate, self._burst, self._size = float(qps), float(burst), int(config.get("cacheSize") or _USUAL_CACHE)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Whether there is a token for the key at this time, which it then has had."""
        tokens, since = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        self._buckets[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return tokens >= 1


class EventRateLimit(AdmissionPlugin):
    name = "EventRateLimit"
    needs_configuration = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._limits: list[Limit] = []

    def configure(self, config: Obj) -> None:
        """ValueError for limits that make no sense."""
        self._limits = [Limit(entry) for entry in config.get("limits") or ()]
        if not self._limits:
            raise ValueError("EventRateLimit: limits must not be empty")

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource.plural == "events" and resource.group in ("", "events.k8s.io")

    async def validate(self, request: AdmissionRequest) -> None:
        if request.dry_run:
            return
        now = self.hub.clock.monotonic()
        refused = [
            f"limit reached on type {limit.kind} for key {key}"
            for limit in self._limits
            if not limit.take(key := _key(limit.kind, request), now)
        ]
        if refused:
            told = refused[0] if len(refused) == 1 else f"[{', '.join(refused)}]"
            raise StatusError(429, "TooManyRequests", f"Too many requests: {told}")


def _key(kind: str, request: AdmissionRequest) -> str:
    """Whose tokens the event takes."""
    if kind == "Server":
        return ""
    if kind == "Namespace":
        return request.namespace
    if kind == "User":
        return request.user.name
    event = request.obj or {}
    source = event.get("source") or event.get("deprecatedSource") or {}
    about = event.get("involvedObject") or event.get("regarding") or {}
    return "".join([*(source.get(k, "") for k in _SOURCE), *(about.get(k, "") for k in _OBJECT)])

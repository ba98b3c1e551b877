"""What kube-proxy serves: /healthz and /livez at one port, /metrics and /proxyMode at another, over plain HTTP."""

from __future__ import annotations

import orjson

from pilothouse.client.plainserving import METRICS_TYPE, NOT_FOUND, Page
from pilothouse.clock import Clock, rfc3339
from pilothouse.nodes.proxy.proxier import Proxier


class ProxyPages:
    """The pages of a proxier."""

    def __init__(self, proxier: Proxier, clock: Clock) -> None:
        self._proxier = proxier
        self._clock = clock

    def health(self, path: str, address: str) -> Page:
        """Well once everything that there was is served, as long as changes are."""
        if path not in ("/healthz", "/livez"):
            return NOT_FOUND
        updated = self._proxier.metrics.last_synced
        told = {"lastUpdated": rfc3339(updated), "currentTime": rfc3339(self._clock.now()), "nodeEligible": True}
        return Page(200 if self._proxier.synced else 503, orjson.dumps(told).decode(), "application/json")

    def metrics(self, path: str, address: str) -> Page:
        if path == "/metrics":
            return Page(200, self._proxier.metrics.text(), METRICS_TYPE)
        if path == "/proxyMode":
            return Page(200, self._proxier.backend.name)
        return Page(200, "ok") if path == "/healthz" else NOT_FOUND

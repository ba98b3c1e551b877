"""What a user is told of ports that are elsewhere or nowhere: events, an annotation that names them, and a condition of the Service.

The condition is LoadBalancerPortsError (API reference, ServiceStatus; KEP-1435): True while a port is not where it was asked for, and gone when all are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client import loopback
from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.client.reconcile.kit import is_not_found
from pilothouse.client.reconcile.objects import Obj, annotations_of, condition, key
from pilothouse.clock import rfc3339
from pilothouse.cloud.provider import CloudError, Surroundings
from pilothouse.cloud.providers.local import ports

log = logging.getLogger(__name__)

CONDITION = "LoadBalancerPortsError"
MOVED, REFUSED = "LoadBalancerPortMoved", "LoadBalancerPortRefused"


def why_moved(address: str, port: int) -> str:
    """In words, why a port is not where it was asked for."""
    if port < loopback.first_port():
        return f"this process may not listen on ports below {loopback.first_port()}"
    return f"somebody else listens on {address}:{port}"


def about(address: str, found: ports.Moved, refused: Mapping[tuple[int, str], str]) -> dict[tuple[int, str], tuple[str, str]]:
    """By port that is not where it was asked for: the reason, and a sentence."""
    out = {}
    for (port, transport), there in sorted(found.items()):
        if there != port:
            out[port, transport] = (MOVED, f"Port {port}/{transport} is at {address}:{there}: {why_moved(address, port)}")
    for (port, transport), why in sorted(refused.items()):
        out[port, transport] = (REFUSED, f"Port {port}/{transport} is not to be had on {address}: {why}")
    return out


class Words:
    """Tells what changed, and nothing twice."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def tell(self, service: Obj, address: str, found: ports.Moved, refused: Mapping[tuple[int, str], str]) -> None:
        """CloudError where it could not be told, unless that is not allowed: the load balancer is there all the same."""
        sentences = about(address, found, refused)
        text = "; ".join(sentence for _, sentence in sentences.values())
        before = (condition(service, CONDITION) or {}).get("message", "")
        for reason, sentence in sentences.values():
            if sentence not in before:
                self._around.event(service, SERVICES, "Warning", reason, sentence)
        await self._write(service, ports.write(found), next(iter(sentences.values()))[0] if sentences else "", text)

    async def withdraw(self, service: Obj) -> None:
        """There is no load balancer any more."""
        await self._write(service, "", "", "")

    async def _write(self, service: Obj, moved: str, reason: str, text: str) -> None:
        if (condition(service, CONDITION) or {}).get("message", "") != text:
            await self._patch(service, {"status": {"conditions": [self._condition(service, reason, text)]}}, "status")
        if annotations_of(service).get(ports.ANNOTATION, "") != moved:
            await self._patch(service, {"metadata": {"annotations": {ports.ANNOTATION: moved or None}}})

    def _condition(self, service: Obj, reason: str, text: str) -> Obj:
        if not text:
            return {"type": CONDITION, "$patch": "delete"}
        old: dict[str, Any] = condition(service, CONDITION) or {}
        since = old.get("lastTransitionTime") or rfc3339(self._around.clock.now())
        return {"type": CONDITION, "status": "True", "reason": reason, "message": text, "lastTransitionTime": since}

    async def _patch(self, service: Obj, patch: Obj, subresource: str = "") -> None:
        meta = service["metadata"]
        try:
            await self._around.api.patch(SERVICES, meta["namespace"], meta["name"], patch, "strategic", subresource)
        except StatusError as error:
            if error.code == 403:
                log.warning("the ports of %s could not be told: %s", key(service), error.message)
            elif not is_not_found(error):
                raise CloudError(f"the ports of {key(service)} could not be told: {error.message}") from None

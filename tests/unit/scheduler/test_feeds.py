"""What plugins look up is read when it is first needed, from whatever the server has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Response, WatchEvent
from pilothouse.clock import VirtualClock
from pilothouse.scheduler.feeds import Feeds
from pilothouse.scheduler.stock import Stock

CLASS = {"metadata": {"name": "fast", "resourceVersion": "1"}, "provisioner": "p"}


class OldServer:
    """Knows storage classes, and nothing of devices."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def request(self, method: str, path: str, query: Mapping[str, str] | None = None, **more: Any) -> Response:
        self.asked.append(path)
        if path.endswith("/storageclasses"):
            return Response(200, {"metadata": {"resourceVersion": "1"}, "items": [CLASS]})
        return Response(404, {"message": "the server could not find the requested resource"})

    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        await asyncio.Event().wait()
        yield []

    async def close(self) -> None:
        pass


async def test_what_a_server_does_not_have_counts_as_empty() -> None:
    server, stock = OldServer(), Stock()
    clock = VirtualClock()
    informers = InformerFactory(server, clock)  # type: ignore[arg-type]
    following = asyncio.ensure_future(informers.run())
    await asyncio.sleep(0)
    feeds = Feeds(server, clock, informers, stock, lambda *event: None)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await feeds.ready({"storageclasses", "resourceclaims"})
        await feeds.ready({"storageclasses", "resourceclaims"})
        assert server.asked.count("/apis/resource.k8s.io/v1/resourceclaims") == 1
        await clock.advance(61)
        await feeds.ready({"resourceclaims"})
    following.cancel()
    assert [c["metadata"]["name"] for c in stock.all("storageclasses")] == ["fast"] and not stock.all("resourceclaims")
    assert server.asked.count("/apis/resource.k8s.io/v1/resourceclaims") == 2

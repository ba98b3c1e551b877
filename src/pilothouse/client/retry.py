"""When a request is sent again, as Kubernetes' clients decide it: told to by `Retry-After`, or a read whose connection failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pilothouse.client.interface import Response, Transport, WatchEvent
from pilothouse.clock import Clock

ATTEMPTS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


def retry_after(response: Response) -> float | None:
    """The seconds after which the server wants to be asked again (429, or 5xx with the header); None if it does not."""
    if response.status != 429 and response.status < 500:
        return None
    for name, value in response.headers.items():
        if name.lower() == "retry-after":
            return float(value) if value.isdigit() else None
    return None


class RetryingTransport:
    """A `Transport` over another one. The last answer or failure is the caller's after ATTEMPTS."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    async def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None,
                      content_type: str = "application/json", accept: str = "application/json") -> Response:  # fmt: skip
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._transport.request(method, path, query, body, content_type, accept)
            except OSError:
                if method != "GET" or attempt == ATTEMPTS:
                    raise
                pause = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
            else:
                wanted = retry_after(response)
                if wanted is None or attempt == ATTEMPTS:
                    return response
                pause = wanted
            await self._clock.sleep(pause)
        raise AssertionError("unreachable")

    def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        return self._transport.watch(path, query)

    async def close(self) -> None:
        await self._transport.close()

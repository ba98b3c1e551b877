"""Copies of requests: sent to another pool once the request is complete, and what comes back is thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.dataplane.embedded.exchange import Exchange
from pilothouse.dataplane.embedded.filters import Headers
from pilothouse.dataplane.embedded.routing import Action
from pilothouse.dataplane.embedded.upstream import Upstream
from pilothouse.dataplane.model import Rule, Share

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.edge import EdgeFront

#: A backend that does not answer a copy is not waited for any longer, in seconds.
_PATIENCE = 60.0


class Nobody:
    """A downstream that hears nothing. As far as the front is concerned it is a connection: it can be aborted."""

    server_name: bytes | None = None

    def __init__(self, front: EdgeFront, original: Exchange) -> None:
        self._front = front
        self.client = original.down.client
        self.scheme = original.down.scheme
        self.exchange: Exchange | None = None

    def respond(self, status: int, headers: Headers, bodyless: bool) -> None:
        """No."""

    def inform(self, status: int, headers: Headers) -> None:
        """No."""

    def body(self, data: bytes) -> None:
        """No."""

    def flush(self) -> None:
        """No."""

    def pause(self) -> None:
        """The request is complete."""

    def resume(self) -> None:
        """The request is complete."""

    def end(self, trailers: Headers) -> None:
        self._front.open.discard(self)

    def reset(self) -> None:
        self._front.open.discard(self)

    def switch(self, status: int, headers: Headers, backend: Upstream) -> None:
        """A copy never asks for it."""

    def abort(self) -> None:
        self._front.open.discard(self)
        if self.exchange is not None:
            self.exchange.gone()


class Copy(Exchange):
    """A request as its rule has made it, for another pool."""

    counted = False

    def __init__(self, front: EdgeFront, original: Exchange, pool: str, body: bytes) -> None:
        nobody = Nobody(front, original)
        nobody.exchange = self
        super().__init__(front, nobody, original.method, original.headers)
        self.action = Action(Rule(shares=(Share(pool),), backend_timeout=_PATIENCE))
        self.way = self.action.ways[0]
        self.host, self.path, self.query, self.target = original.host, original.path, original.query, original.target
        self.head, self.expects_trailers = list(original.head), original.expects_trailers
        self.length, self.asks_body, self.trailers = original.length, original.asks_body, original.trailers
        self.held = [body] if body else []
        self.ended = True
        front.open.add(nobody)

    def begin(self) -> None:
        self._go_on()

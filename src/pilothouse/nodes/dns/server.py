"""The name server's sockets: UDP and TCP on each of its addresses.

The UDP path is the one that counts. A socket is read until it is empty or a batch is done, so that many questions cost one wake-up of the event
loop, and what was asked before is answered without being looked at: the cache knows it by its bytes. (A datagram protocol of asyncio's costs a call
back, and a transport's buffer, for each.) Answers that a full socket does not take are lost, as UDP may.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from dataclasses import dataclass, field

from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.client.plainserving import METRICS_TYPE, NOT_FOUND, Page
from pilothouse.clock import Clock
from pilothouse.nodes.dns import zone
from pilothouse.nodes.dns.forward import Forwarder, resolvers
from pilothouse.nodes.dns.metrics import DnsMetrics
from pilothouse.nodes.dns.responder import Later, Responder
from pilothouse.nodes.dns.sockets import Address, Pair, Sockets
from pilothouse.nodes.dns.zone import ClusterZone

log = logging.getLogger("pilothouse.nodes")

#: Questions that are taken in one turn of the event loop, and those among them that nobody asked before; others get theirs after that.
BATCH, NEW = 128, 16
LONGEST_DATAGRAM = 4096
#: Seconds that a client may keep a connection and say nothing; connections at one time.
IDLE, CONNECTIONS = 10.0, 1_000
#: Questions that wait for other name servers at one time.
WAITING = 2_000


@dataclass(frozen=True, slots=True)
class Options:
    """`resolvers` are asked for other zones: None means the machine's own, none means nobody."""

    zone: zone.Options = field(default_factory=zone.Options)
    resolvers: tuple[Address, ...] | None = None


class ClusterDns:
    """Answers at the addresses of `sockets` from when `run` is called until it is cancelled; who made the sockets closes them."""

    def __init__(self, transport: Transport, clock: Clock, sockets: Sockets, options: Options | None = None) -> None:
        self._options = options or Options()
        self._clock = clock
        self._sockets = sockets
        others = self._options.resolvers
        servers = resolvers(but=sockets.addresses) if others is None else list(others)
        self._forwarder = Forwarder(servers, self._clock) if servers else None
        host, port = sockets.addresses[0] if sockets.addresses else ("", 0)
        self.responder = Responder(self._clock, DnsMetrics(f"dns://{host}:{port}"), self._forwarder)
        self._informers = InformerFactory(transport, clock)
        self.zone = self.responder.zone = ClusterZone(self._informers, clock, self.responder.cache.drop, self._options.zone)
        self._clients: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()

    def page(self, path: str, address: str) -> Page:
        """What CoreDNS serves at three ports: /metrics, /health and /ready."""
        if path == "/metrics":
            return Page(200, self.metrics(), METRICS_TYPE)
        if path == "/health":
            return Page(200, "OK")
        if path == "/ready":
            return Page(200, "OK") if self.zone.synced else Page(503, "kubernetes")
        return NOT_FOUND

    def metrics(self) -> str:
        """The text of /metrics."""
        self.responder.cache.count()
        return self.responder.metrics.text()

    async def run(self) -> None:
        """Follow the cluster and answer. Questions that come before everything is known wait in the sockets."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informers.run())
                await self.zone.wait_synced()
                self._sockets.follow(lambda pair: self._attend(group, pair))
        finally:
            self._sockets.ignore()
            for pair in self._sockets.pairs:
                asyncio.get_running_loop().remove_reader(pair.udp)
            tasks = (*self._clients, *self._waiting)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._forwarder is not None:
                await self._forwarder.close()

    def _attend(self, group: asyncio.TaskGroup, pair: Pair) -> None:
        asyncio.get_running_loop().add_reader(pair.udp, self._readable, pair.udp)
        group.create_task(self._accept(pair.tcp))

    # --- UDP -----------------------------------------------------------------------------------------------------------------------

    def _readable(self, udp: socket.socket) -> None:
        receive, send, known = udp.recvfrom, udp.sendto, self.responder.cache.answers
        began, hits, new = self._clock.monotonic(), 0, 0
        try:
            for _ in range(BATCH):
                data, client = receive(LONGEST_DATAGRAM)
                answer = known.get(data[2:])
                if answer is None:
                    self._new(udp, data, client)
                    new += 1
                    if new == NEW:
                        break
                    continue
                hits += 1
                answer.hits = turn = answer.hits + 1
                orders = answer.orders
                send(data[:2] + orders[turn % len(orders)], client)
        except BlockingIOError:
            pass  # empty, or full
        except OSError as error:  # an answer that could not be delivered comes back as an error of the socket
            log.debug("%s", error)
        if hits:
            self.responder.metrics.hits(hits, self._clock.monotonic() - began)

    def _new(self, udp: socket.socket, data: bytes, client: Address) -> None:
        answer = self.responder.at_once(data, tcp=False)
        if isinstance(answer, Later):
            if len(self._waiting) < WAITING:
                task = asyncio.get_running_loop().create_task(self._answer_later(udp, answer, client))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)
        elif answer is not None:
            udp.sendto(answer, client)

    async def _answer_later(self, udp: socket.socket, waiting: Later, client: Address) -> None:
        answer = await self.responder.later(waiting)
        try:
            udp.sendto(answer, client)
        except OSError as error:
            log.debug("%s", error)

    # --- TCP -----------------------------------------------------------------------------------------------------------------------

    async def _accept(self, tcp: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(tcp)
            except OSError as error:
                log.warning("no connection can be taken: %s", error)
                await self._clock.sleep(1.0)
                continue
            if len(self._clients) >= CONNECTIONS:
                connection.close()
                continue
            task = loop.create_task(self._serve(connection))
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

    async def _serve(self, connection: socket.socket) -> None:
        """Questions one after the other, until the client goes or says nothing for a while (RFC 7766)."""
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                answer = self.responder.at_once(data, tcp=True)
                if isinstance(answer, Later):
                    answer = await self.responder.later(answer)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                async with asyncio.timeout(IDLE):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

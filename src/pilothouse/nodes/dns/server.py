"""The name server's sockets: UDP and TCP on each of its addresses.

The UDP path is the one that counts. A socket is read until it is empty or a batch is done, so that many questions cost one wake-up of the event
loop, and what was asked before is answered without being looked at: the cache knows it by its bytes. (A datagram protocol of asyncio's costs a call
back, and a transport's buffer, for each.) Answers that a full socket does not take are lost, as UDP may.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.clock import Clock
from pilothouse.nodes.dns import zone
from pilothouse.nodes.dns.forward import Address, Forwarder, resolvers
from pilothouse.nodes.dns.metrics import DnsMetrics
from pilothouse.nodes.dns.responder import Later, Responder
from pilothouse.nodes.dns.zone import ClusterZone

log = logging.getLogger("pilothouse.nodes")

#: Questions that are taken in one turn of the event loop; others get theirs after that.
BATCH = 128
LONGEST_DATAGRAM = 4096
RECEIVE_BUFFER = 4 << 20
#: Seconds that a client may keep a connection and say nothing; connections at one time.
IDLE, CONNECTIONS = 10.0, 1_000
#: Questions that wait for other name servers at one time.
WAITING = 2_000


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen: port 0 is any that is free. `resolvers` are asked for other zones: None means the machine's own, none means nobody."""

    listen: tuple[Address, ...] = (("127.0.0.1", 10_053),)
    zone: zone.Options = field(default_factory=zone.Options)
    resolvers: tuple[Address, ...] | None = None


class ClusterDns:
    """`start` takes the addresses, `run` answers until cancelled, `stop` gives them back."""

    def __init__(self, transport: Transport, clock: Clock, options: Options | None = None) -> None:
        self.options = options or Options()
        self._transport = transport
        self._clock = clock
        self.addresses: tuple[Address, ...] = ()
        self.responder: Responder
        self.zone: ClusterZone | None = None
        self._udp: list[socket.socket] = []
        self._tcp: list[socket.socket] = []
        self._clients: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._forwarder: Forwarder | None = None

    def start(self) -> None:
        """OSError where an address cannot be had."""
        try:
            for address in self.options.listen:
                self._bind(address)
        except OSError:
            self.close()
            raise
        self.addresses = tuple(s.getsockname()[:2] for s in self._udp)
        others = self.options.resolvers
        servers = resolvers(but=self.addresses) if others is None else list(others)
        self._forwarder = Forwarder(servers, self._clock) if servers else None
        first = self.addresses[0] if self.addresses else ("", 0)
        self.responder = Responder(self._clock, DnsMetrics(f"dns://{first[0]}:{first[1]}"), self._forwarder)

    def _bind(self, address: Address) -> None:
        host, port = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        self._udp.append(udp)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        udp.setblocking(False)
        udp.bind((host, port))
        tcp = socket.socket(family, socket.SOCK_STREAM)
        self._tcp.append(tcp)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.setblocking(False)
        tcp.bind((host, udp.getsockname()[1]))
        tcp.listen(128)

    def close(self) -> None:
        for each in (*self._udp, *self._tcp):
            each.close()
        self._udp.clear()
        self._tcp.clear()

    def metrics(self) -> str:
        """The text of /metrics."""
        self.responder.cache.count()
        return self.responder.metrics.text()

    async def run(self) -> None:
        """Follow the cluster and answer. Questions that come before everything is known wait in the sockets."""
        informers = InformerFactory(self._transport, self._clock)
        self.zone = self.responder.zone = ClusterZone(informers, self._clock, self.responder.cache.drop, self.options.zone)
        async with asyncio.TaskGroup() as group, self._closing():
            group.create_task(informers.run())
            await self.zone.wait_synced()
            loop = asyncio.get_running_loop()
            for udp in self._udp:
                loop.add_reader(udp, self._readable, udp)
            for tcp in self._tcp:
                group.create_task(self._accept(tcp))
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            loop = asyncio.get_running_loop()
            for udp in self._udp:
                loop.remove_reader(udp)
            for task in (*self._clients, *self._waiting):
                task.cancel()
            await asyncio.gather(*self._clients, *self._waiting, return_exceptions=True)
            if self._forwarder is not None:
                await self._forwarder.close()
            self.close()

    # --- UDP -----------------------------------------------------------------------------------------------------------------------

    def _readable(self, udp: socket.socket) -> None:
        receive, send, known = udp.recvfrom, udp.sendto, self.responder.cache.answers
        began, hits = self._clock.monotonic(), 0
        try:
            for _ in range(BATCH):
                data, client = receive(LONGEST_DATAGRAM)
                answer = known.get(data[2:])
                if answer is None:
                    self._new(udp, data, client)
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

"""Where simulated pods listen: on their twin (`client/loopback.py`), at each port that a running container declares.

A pod of the host's network listens at its node's twin, and so does a `hostPort`. A socket is opened when its container runs and closed when it has
ended; pods without ports cost nothing. Where a socket cannot be had (none left, the address taken, no range of loopback addresses on this
system), the log says so once for each reason, and the pod runs all the same. Left out: SCTP, IPv6.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from pilothouse.client import loopback
from pilothouse.clock import Clock
from pilothouse.nodes.behaviour import Obj
from pilothouse.nodes.serve import tls
from pilothouse.nodes.serve.connection import TURNS, Connection, UdpEcho
from pilothouse.nodes.serve.pod import ServedPod

log = logging.getLogger("pilothouse.nodes")

#: What may wait to be accepted, and how many file descriptors are left to the rest of the process.
BACKLOG, RESERVE = 512, 512
#: Seconds that a request may take to its end after its container has ended.
LAST_WORDS = 30.0
#: A port with something held there tells other processes that this block of addresses is taken.
CLAIM_PORT = 49_151
BLOCKS = 64

#: Protocol, address, port.
Where = tuple[str, str, int]


@dataclass(slots=True)
class _Pod:
    served: ServedPod
    open: dict[Where, asyncio.Server | asyncio.DatagramTransport] = field(default_factory=dict)
    containers: dict[Where, str] = field(default_factory=dict)
    opening: set[Where] = field(default_factory=set)
    closed: bool = False


def wanted(pod: Obj, running: Iterable[str], ip: str, host_ip: str) -> dict[Where, tuple[str, int, bool]]:
    """Where a pod listens while these containers run: by protocol, address and port there, the container, its port, and whether over TLS."""
    spec, out = pod["spec"], dict[Where, tuple[str, int, bool]]()
    names = set(running)
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        if container["name"] not in names:
            continue
        for port in container.get("ports") or ():
            protocol, number = port.get("protocol") or "TCP", port["containerPort"]
            if protocol == "SCTP":
                continue
            secure = protocol == "TCP" and tls.speaks(pod, port)
            out.setdefault((protocol, ip, number), (container["name"], number, secure))
            if port.get("hostPort") and not spec.get("hostNetwork"):
                out.setdefault((protocol, host_ip, port["hostPort"]), (container["name"], number, secure))
    return out


async def _nothing(namespace: str, name: str) -> Obj | None:
    return None


class Listeners:
    """The sockets of all pods of this process. `read` gets Secrets for their certificates."""

    def __init__(self, clock: Clock, read: tls.Read = _nothing) -> None:
        self._clock = clock
        self._read = read
        self._pods: dict[str, _Pod] = {}
        self._ending: set[Connection] = set()
        self._told: set[int] = set()
        self._room = 0
        self._claimed: socket.socket | None = None
        #: Which of the blocks of addresses is this process's.
        self.block = 0

    def start(self) -> None:
        """Make room for many sockets, and choose the first block of addresses that no other process on this machine uses."""
        self._room = _raise_limit() - RESERVE
        for block in range(BLOCKS):
            claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                claim.bind((f"127.{64 + block}.0.1", CLAIM_PORT))
            except OSError as error:
                claim.close()
                if error.errno != errno.EADDRINUSE:
                    self._tell(error)
                    return
                continue
            self._claimed, self.block = claim, block
            return

    def stop(self) -> None:
        """Close everything at once."""
        for uid in list(self._pods):
            self.close(uid, at_once=True)
        for connection in list(self._ending):
            connection.abort()
        if self._claimed is not None:
            self._claimed.close()

    # --- pods ---------------------------------------------------------------------------------------------------------------------------

    async def follow(self, uid: str, pod: Obj, running: Iterable[str], ip: str, host_ip: str) -> None:
        """Listen where this pod is to listen now, and nowhere else."""
        want = wanted(pod, running, ip, host_ip)
        known = self._pods.get(uid)
        if known is None:
            if not want:
                return
            known = self._pods[uid] = _Pod(ServedPod(pod, ip, self._clock))
        known.served.update(pod)
        if leaving := [w for w in known.open if w not in want]:
            await self._leave(known, leaving)
        for where, (container, port, secure) in want.items():
            if where in known.open or where in known.opening:
                continue
            known.opening.add(where)
            try:
                context = await tls.context(pod, self._read, self._clock.now()) if secure else None
                await self._listen(known, where, container, port, context)
            finally:
                known.opening.discard(where)

    def close(self, uid: str, at_once: bool = False) -> None:
        """This pod is gone."""
        known = self._pods.pop(uid, None)
        if known is None:
            return
        known.closed = True
        for where in list(known.open):
            known.open.pop(where).close()
            self._room += 1
        self._end(known, set(known.served.connections.values()))
        if at_once:
            for connection in list(known.served.connections):
                connection.abort()

    def last_arrival(self, uid: str) -> float | None:
        """When somebody came last to this pod although it is to stop, by the clock's `now`; None: nobody did."""
        known = self._pods.get(uid)
        return known.served.last_arrival if known is not None else None

    def loads(self) -> Mapping[str, Mapping[str, int]]:
        """What requests cost: thousandths of a core, by pod uid and container."""
        return {uid: load for uid, known in self._pods.items() if (load := known.served.load())}

    # --- sockets ------------------------------------------------------------------------------------------------------------------------

    async def _listen(self, known: _Pod, where: Where, container: str, port: int, context: ssl.SSLContext | None) -> None:
        protocol, address, number = where
        place = known.served.place(container, port, context is not None)
        loop = asyncio.get_running_loop()
        try:
            if self._room <= 0:
                raise OSError(errno.EMFILE, "no file descriptors are left for more simulated pods")
            bound = _bind(protocol, address, number)
        except OSError as error:
            self._tell(error, where)
            return
        self._room -= 1
        opened: asyncio.Server | asyncio.DatagramTransport
        if protocol == "UDP":
            opened, _ = await loop.create_datagram_endpoint(partial(UdpEcho, known.served, place), sock=bound)
        else:
            opened = await loop.create_server(partial(Connection, known.served, place), sock=bound, backlog=BACKLOG, ssl=context)
        if known.closed:
            opened.close()
            self._room += 1
            return
        known.open[where], known.containers[where] = opened, container

    async def _leave(self, known: _Pod, leaving: Iterable[Where]) -> None:
        """Listen there no more. On a busy machine clients may have connected, or asked, unseen: they are heard first."""
        opened = [known.open.pop(where) for where in leaving]
        ended = {known.containers.pop(where) for where in leaving} - set(known.containers.values())
        await self._turns()
        for each in opened:
            each.close()
            self._room += 1
        await self._turns()
        self._end(known, ended)

    async def _turns(self) -> None:
        for _ in range(TURNS):
            await self._clock.sleep(0)

    def _end(self, known: _Pod, containers: Collection[str]) -> None:
        """Connections of these end when nothing is due on them, and at last in any case."""
        for connection in [c for c, of in known.served.connections.items() if of in containers]:
            connection.end()
            if not connection.transport.is_closing():
                self._ending.add(connection)
                self._clock.call_later(LAST_WORDS, partial(self._abort, connection))

    def _abort(self, connection: Connection) -> None:
        self._ending.discard(connection)
        connection.abort()

    def _tell(self, error: OSError, where: Where | None = None) -> None:
        number = error.errno or 0
        if number not in self._told:
            self._told.add(number)
            at = f"{where[0]} {where[1]}:{where[2]} " if where else ""
            log.warning("a simulated pod cannot listen: %s%s (told once)", at, error.strerror or error)


def _bind(protocol: str, address: str, number: int) -> socket.socket:
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    bound = socket.socket(socket.AF_INET, kind | getattr(socket, "SOCK_CLOEXEC", 0))
    try:
        bound.setblocking(False)
        if protocol != "UDP":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((loopback.twin(address), loopback.port(number)))
    except BaseException:
        bound.close()
        raise
    return bound


def _raise_limit() -> int:
    """As many file descriptors as this process may have; how many those are."""
    if os.name != "posix":
        return 512 + RESERVE
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        wish = 1_048_576 if hard == resource.RLIM_INFINITY else hard
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wish, hard))
            soft = wish
        except (OSError, ValueError) as error:
            log.info("the limit of open files stays at %d: %s", soft, error)
    return soft

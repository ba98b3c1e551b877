"""Names outside the cluster: asked of the machine's own resolvers, and remembered for a short while.

As CoreDNS' `forward . /etc/resolv.conf` and `cache 30` do: the resolvers in turn until one answers, over the client's own transport, so that a
truncated answer sends the client to TCP and on from there; NOERROR and NXDOMAIN are kept for as long as their records say, half a minute at most. Each question goes out from a
socket and with an id of its own, and only an answer to it comes back (RFC 5452). Same questions at one time are asked once.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from pilothouse.clock import Clock
from pilothouse.nodes.dns.message import HEADER, NOERROR, NXDOMAIN
from pilothouse.nodes.dns.sockets import Address, parse_address

TIMEOUT = 2.0
LONGEST, LARGEST = 30, 2_048
#: Questions that wait at one time; others fail at once.
WAITING = 1_000


def resolvers(path: Path = Path("/etc/resolv.conf"), but: Iterable[Address] = ()) -> list[Address]:
    """The name servers that a file such as resolv.conf lists, without our own addresses."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = [parse_address(words[1]) for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]
    return [address for address in found if address is not None and address not in but]


class Forwarder:
    """Asks `servers` in turn."""

    def __init__(self, servers: Sequence[Address], clock: Clock) -> None:
        self.servers = tuple(servers)
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, float, bytes]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[bytes | None]] = {}

    async def ask(self, wire: bytes, question_end: int, tcp: bool = False) -> bytes | None:
        """The answer to a whole question, with its id; None if nobody answers. `question_end` is where its first section ends."""
        key = _key(wire, question_end, tcp)
        answer = self._remembered(key)
        if answer is None:
            waiting = self._asking.get(key)
            if waiting is None:
                if len(self._asking) >= WAITING:
                    return None
                waiting = self._asking[key] = asyncio.ensure_future(self._fetch(wire, question_end, tcp))
                waiting.add_done_callback(lambda _: self._asking.pop(key, None))
            answer = await asyncio.shield(waiting)
            if answer is not None:
                self._remember(key, answer)
        if answer is None:
            return None
        return wire[:2] + answer[2:HEADER] + wire[HEADER:question_end] + answer[question_end:]

    async def close(self) -> None:
        for waiting in list(self._asking.values()):
            waiting.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _fetch(self, wire: bytes, question_end: int, tcp: bool) -> bytes | None:
        sent = self._clock.random.getrandbits(16).to_bytes(2, "big") + wire[2:]
        for server in self.servers:
            try:
                async with asyncio.timeout(TIMEOUT):
                    answer = await (_over_tcp(server, sent) if tcp else _over_udp(server, sent, question_end))
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            if _answers(sent, answer, question_end):
                return answer
        return None

    def _remembered(self, key: bytes) -> bytes | None:
        known = self._known.get(key)
        if known is None:
            return None
        at, until, answer = known
        now = self._clock.monotonic()
        if now >= until:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return aged(answer, int(now - at))

    def _remember(self, key: bytes, answer: bytes) -> None:
        seconds = min(LONGEST, lifetime(answer))
        if seconds <= 0 or key in self._known:
            return
        now = self._clock.monotonic()
        self._known[key] = (now, now + seconds, answer)
        if len(self._known) > LARGEST:
            self._known.popitem(last=False)


def _key(wire: bytes, end: int, tcp: bool) -> bytes:
    """What makes two questions the same: names are compared without case, flags and options as they are."""
    return bytes((tcp,)) + wire[2:HEADER] + wire[HEADER : end - 4].lower() + wire[end - 4 :]


def _answers(sent: bytes, answer: bytes, question_end: int) -> bool:
    if len(answer) < question_end or answer[:2] != sent[:2] or not answer[2] & 0x80 or answer[4:6] != b"\0\1":
        return False
    return answer[HEADER:question_end].lower() == sent[HEADER:question_end].lower()


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, sent: bytes, question_end: int) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._sent, self._end = sent, question_end

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done() and _answers(self._sent, data, self._end):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(server: Address, sent: bytes, question_end: int) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Asking(sent, question_end), remote_addr=server)
    try:
        transport.sendto(sent)
        return await protocol.answer
    finally:
        transport.close()
        await asyncio.sleep(0)  # it closes in the next turn


async def _over_tcp(server: Address, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(sent)) + sent)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# --- how long an answer holds ------------------------------------------------------------------------------------------------------


def lifetime(wire: bytes) -> int:
    """Seconds for which an answer may be told again: the shortest of its records'; 0 if it is truncated, a failure, or says nothing."""
    if wire[2] & 0x02 or wire[3] & 0xF not in (NOERROR, NXDOMAIN):
        return 0
    try:
        return min((int.from_bytes(wire[at : at + 4], "big") for at in _ttls(wire)), default=0)
    except (IndexError, struct.error):
        return 0


def aged(wire: bytes, seconds: int) -> bytes:
    """The answer after so many seconds."""
    out = bytearray(wire)
    for at in _ttls(wire):
        out[at : at + 4] = max(0, int.from_bytes(wire[at : at + 4], "big") - seconds).to_bytes(4, "big")
    return bytes(out)


def _ttls(wire: bytes) -> list[int]:
    """Where the times to live of all records are, but for those of EDNS, which are something else."""
    questions, *sections = struct.unpack_from("!4H", wire, 4)
    at, found = HEADER, []
    for _ in range(questions):
        at = _after_name(wire, at) + 4
    for _ in range(sum(sections)):
        at = _after_name(wire, at)
        kind, _, _, length = struct.unpack_from("!HHIH", wire, at)
        if kind != 41:
            found.append(at + 4)
        at += 10 + length
    return found


def _after_name(wire: bytes, at: int) -> int:
    while wire[at]:
        if wire[at] >= 0xC0:
            return at + 2
        at += wire[at] + 1
    return at + 1

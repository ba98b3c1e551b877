"""From a question's bytes to an answer's: out of the cache, out of the zone, or, for other names, from the machine's resolvers. No sockets.

What needs nobody else is answered at once; the rest waits in `Later`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import dnslib

from pilothouse.clock import Clock
from pilothouse.nodes.dns import message
from pilothouse.nodes.dns.cache import Answer, AnswerCache
from pilothouse.nodes.dns.forward import Forwarder
from pilothouse.nodes.dns.message import Query
from pilothouse.nodes.dns.metrics import DROPPED, DnsMetrics, code_name
from pilothouse.nodes.dns.zone import ClusterZone, Found, Record

log = logging.getLogger("pilothouse.nodes")

_REVERSE = ("in-addr", "ip6")


@dataclass(frozen=True, slots=True)
class Later:
    """A question that others have to be asked about: all of it, or where a chain of CNAMEs leads."""

    data: bytes
    query: Query
    found: Found | None
    tcp: bool
    began: float


class Responder:
    """Answers questions. `forwarder` None: names outside the zone are refused."""

    def __init__(self, clock: Clock, metrics: DnsMetrics, forwarder: Forwarder | None) -> None:
        self.metrics = metrics
        self.cache = AnswerCache(metrics.count_answer)
        self.zone: ClusterZone
        self._clock = clock
        self._forwarder = forwarder

    def at_once(self, data: bytes, tcp: bool) -> bytes | Later | None:
        """The answer to what is not in the cache, if it can be given now; None for what gets none."""
        began = self._clock.monotonic()
        query = None
        try:
            query = message.read(data)
            if query is None:
                return None
            return self._answer(data, query, tcp, began)
        except message.Refused as refused:
            return self._told(data, message.refusal(data, refused), query, DROPPED, tcp, began)
        except Exception:  # one question must not stop the others
            log.exception("a question could not be answered")
            self.metrics.panics.add()
            failed = message.refusal(data, message.Refused(message.SERVFAIL, query))
            return self._told(data, failed, query, DROPPED, tcp, began)

    async def later(self, waiting: Later) -> bytes:
        """The answer to the rest."""
        query, found, tcp = waiting.query, waiting.found, waiting.tcp
        if found is not None:
            answer, zone = await self._follow(query, found, self._limit(query, tcp)), self.zone.name + "."
        else:
            assert self._forwarder is not None
            outside = await self._forwarder.ask(waiting.data, query.end, tcp)
            answer, zone = outside or message.failure(query, message.SERVFAIL), "."
        return self._told(waiting.data, answer, query, zone, tcp, waiting.began)

    def _answer(self, data: bytes, query: Query, tcp: bool, began: float) -> bytes | Later:
        if query.qclass != 1:
            return self._told(data, message.failure(query, message.REFUSED), query, DROPPED, tcp, began)
        found = self.zone.resolve(query.labels, query.type)
        if found is None:
            if self._forwarder is not None:
                return Later(data, query, None, tcp, began)
            found = self._nobody(query)
        elif found.elsewhere and self._forwarder is not None:
            return Later(data, query, found, tcp, began)
        if found.rcode == "REFUSED":
            return self._told(data, message.failure(query, message.REFUSED), query, DROPPED, tcp, began)
        self._shuffle(found)
        wire = message.write(query, found, self._limit(query, tcp))
        zone = self.zone.name + "."
        self._told(data, wire, query, zone, tcp, began)
        if not tcp and found.lasting:
            kept = tuple(each[2:] for each in message.orders(wire, query))
            told = (zone, "udp", query.type, code_name(message.RCODES[found.rcode]))
            self.cache.add(data[2:], Answer(kept, len(data), told), found.depends)
        return wire

    def _shuffle(self, found: Found) -> None:
        """Which addresses an answer begins with, and which ones fit into it, is left to chance."""
        if len(found.answers) > 1 and all(r.type in ("A", "AAAA") for r in found.answers):
            self._clock.random.shuffle(found.answers)

    def _nobody(self, query: Query) -> Found:
        """Nobody is asked about other names; of addresses it can be said that they have none."""
        if query.labels[-1:] == ("arpa",) and query.labels[-2:-1] and query.labels[-2] in _REVERSE:
            soa = self.zone.soa()
            authority = [Record(".".join(query.labels[-2:]), soa.type, soa.ttl, soa.data)]
            return Found("NXDOMAIN", authority=authority, lasting=False)
        return Found("REFUSED")

    async def _follow(self, query: Query, found: Found, limit: int) -> bytes:
        """An ExternalName's CNAME with what the name outside stands for, or alone if that cannot be found out."""
        assert self._forwarder is not None
        question = dnslib.DNSRecord(dnslib.DNSHeader(id=0, bitmap=0, rd=1))
        question.add_question(dnslib.DNSQuestion(dnslib.DNSLabel(found.elsewhere.encode()), query.qtype))
        wire = bytes(question.pack())
        end = len(wire)
        for tcp in (False, True):
            outside = await self._forwarder.ask(wire, end, tcp)
            if outside is None or not outside[2] & 0x02:
                break
        own = message.records(query, found.answers)
        if outside is None:
            return message.fit(query, message.NOERROR, own, (), (), limit)
        try:
            parsed = dnslib.DNSRecord.parse(outside)
            return message.fit(query, parsed.header.rcode, own + parsed.rr, parsed.auth, (), limit)
        except Exception as error:  # as many as there are ways to be no message
            log.info("the answer about %s cannot be read: %s", found.elsewhere, error)
            return message.fit(query, message.NOERROR, own, (), (), limit)

    def _limit(self, query: Query, tcp: bool) -> int:
        return message.LARGEST_TCP if tcp else query.size

    def _told(self, data: bytes, wire: bytes, query: Query | None, zone: str, tcp: bool, began: float) -> bytes:
        """The answer, counted."""
        proto, seconds = "tcp" if tcp else "udp", self._clock.monotonic() - began
        type = query.type if query is not None else "other"
        self.metrics.count(zone, proto, type, code_name(wire[3] & 0xF), len(data), len(wire), seconds)
        if query is not None and query.do:
            self.metrics.signed.add(self.metrics.server, zone, "")
        return wire

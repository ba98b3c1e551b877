"""Messages: questions read from bytes, answers written to bytes, with dnslib. What may come in is RFC 1035, EDNS(0) is RFC 6891.

A question is refused as name servers do: FORMERR for what cannot be read and for more or fewer than one question (RFC 9619), NOTIMP for other
operations, BADVERS for another EDNS, nothing at all for what is itself an answer or has no whole header. An answer repeats the question's bytes, so
that its case stays (0x20). What does not fit is left out, records besides first, and the answer marked as truncated if one of its own is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dnslib
from dnslib import DNSLabel, DNSRecord

from pilothouse.nodes.dns.names import Labels
from pilothouse.nodes.dns.zone import Found, Record

#: Bytes of a header, of an answer over UDP without EDNS, of the largest one that is sent over UDP, of the largest over TCP.
HEADER, PLAIN_UDP, LARGEST_UDP, LARGEST_TCP = 12, 512, 4096, 65_535
#: The size that is offered to clients (dnsflagday.net/2020).
OFFERED = 1232
LONGEST_NAME = 253
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
RCODES = {"NOERROR": NOERROR, "NXDOMAIN": NXDOMAIN, "REFUSED": REFUSED}
#: Types as metrics name them; all others are "other".
COUNTED = frozenset(
    [
        "A",
        "AAAA",
        "MX",
        "SOA",
        "CNAME",
        "PTR",
        "TXT",
        "NS",
        "SRV",
        "DS",
        "DNSKEY",
        "RRSIG",
        "NSEC",
        "NSEC3",
        "HTTPS",
        "IXFR",
        "AXFR",
        "ANY",
    ]
)
#: Answers with several addresses come in so many orders in turn.
ORDERS = 8
_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}
_ADDRESS_BYTES = {1: 16, 28: 28}


@dataclass(frozen=True, slots=True)
class Query:
    """A question: `size` is what the client takes over UDP; `edns` whether it says so, `do` whether it wants signatures."""

    id: int
    name: DNSLabel
    labels: Labels
    qtype: int
    qclass: int
    recursion: bool
    checking_disabled: bool = False
    edns: bool = False
    do: bool = False
    size: int = PLAIN_UDP

    @property
    def type(self) -> str:
        """The type's name."""
        return _type_name(self.qtype)

    @property
    def end(self) -> int:
        """Where the question ends in its message: its name is never compressed."""
        return HEADER + sum(len(label) + 1 for label in self.name.label) + 5


class Refused(Exception):
    """Cannot be answered but by this code. `query` where the question could be read."""

    def __init__(self, rcode: int, query: Query | None = None) -> None:
        super().__init__(rcode)
        self.rcode = rcode
        self.query = query


def _type_name(number: int) -> str:
    name = dnslib.QTYPE.forward.get(number)
    return str(name) if name else f"TYPE{number}"


def read(data: bytes) -> Query | None:
    """The question in a datagram; None for what gets no answer. Refused with the code of what is wrong."""
    if len(data) < HEADER or data[2] & 0x80:
        return None
    if (data[2] >> 3) & 0xF:
        raise Refused(NOTIMP)
    if data[4:6] != b"\0\1":
        raise Refused(FORMERR)
    try:
        record = DNSRecord.parse(data)
        question = record.questions[0]
        labels = tuple(label.decode("latin-1").lower() for label in question.qname.label)
    except Exception as error:  # dnslib fails in many ways on what is no message, and all mean this
        raise Refused(FORMERR) from error
    if len(question.qname) > LONGEST_NAME or not _is_plain(data, question):
        raise Refused(FORMERR)
    options = [r for r in record.ar if r.rtype == 41]
    if len(options) > 1 or record.rr:
        raise Refused(FORMERR)
    header = record.header
    known = (header.id, question.qname, labels, question.qtype, question.qclass, bool(header.rd), bool(header.cd))
    if not options:
        return Query(*known)
    size = min(max(PLAIN_UDP, options[0].rclass), LARGEST_UDP)
    query = Query(*known, edns=True, do=bool(options[0].ttl & 0x8000), size=size)
    if (options[0].ttl >> 16) & 0xFF:
        raise Refused(BADVERS, query)
    return query


def _is_plain(data: bytes, question: dnslib.DNSQuestion) -> bool:
    """Whether the name stands there as it is: nothing before it that it could point to."""
    name = b"".join(bytes((len(label),)) + label for label in question.qname.label) + b"\0"
    return data[HEADER : HEADER + len(name)] == name


def write(query: Query, found: Found, limit: int) -> bytes:
    """The answer in at most so many bytes."""
    answers, authority, extra = (records(query, part) for part in (found.answers, found.authority, found.extra))
    return fit(query, RCODES[found.rcode], answers, authority, extra, limit)


def records(query: Query, found: Iterable[Record]) -> list[dnslib.RR]:
    """Our records as dnslib's."""
    return [_record(query, r) for r in found]


def fit(query: Query, rcode: int, answers: Sequence[dnslib.RR], authority: Sequence[dnslib.RR], extra: Sequence[dnslib.RR],
        limit: int) -> bytes:  # fmt: skip
    """As much as fits, in the order in which it is needed."""

    def packed(count: int, more: Sequence[dnslib.RR], truncated: bool) -> bytes:
        reply = _reply(query, rcode, True, truncated)
        reply.add_answer(*answers[:count])
        reply.add_auth(*(authority if not truncated else ()))
        for each in more:
            reply.add_ar(each)
        _add_edns(reply, query, rcode)
        return bytes(reply.pack())

    for more in (extra, ()):
        whole = packed(len(answers), more, False)
        if len(whole) <= limit:
            return whole
    fits, too_many = 0, len(answers)
    best = packed(0, (), True)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        tried = packed(middle, (), True)
        if len(tried) <= limit:
            fits, best = middle, tried
        else:
            too_many = middle
    return best


def refusal(data: bytes, refused: Refused) -> bytes:
    """The answer to what cannot be answered: with the question if that could be read, else the bare header."""
    if refused.query is not None:
        return failure(refused.query, refused.rcode)
    flags = bytes((0x80 | data[2] & 0x79, refused.rcode))
    return data[:2] + flags + bytes(8)


def failure(query: Query, rcode: int) -> bytes:
    """An answer that is only a code."""
    reply = _reply(query, rcode, False, False)
    _add_edns(reply, query, rcode)
    return bytes(reply.pack())


def orders(wire: bytes, query: Query) -> tuple[bytes, ...]:
    """The same answer with its addresses in other orders, where it has several and nothing else: they all begin with a pointer to the question."""
    count, length = int.from_bytes(wire[6:8], "big"), _ADDRESS_BYTES.get(query.qtype, 0)
    begin = query.end
    end = begin + count * length
    if count < 2 or not length or any(wire[at : at + 2] != b"\xc0\x0c" for at in range(begin, end, length)):
        return (wire,)
    step = max(1, count // ORDERS)
    cuts = range(begin, end, step * length)
    return tuple(wire[:begin] + wire[cut:end] + wire[begin:cut] + wire[end:] for cut in cuts)[:ORDERS]


def _reply(query: Query, rcode: int, authoritative: bool, truncated: bool) -> DNSRecord:
    header = dnslib.DNSHeader(id=query.id, bitmap=0, qr=1, aa=int(authoritative), tc=int(truncated), rd=int(query.recursion),
                              cd=int(query.checking_disabled), rcode=rcode & 0xF)  # fmt: skip
    return DNSRecord(header, questions=[dnslib.DNSQuestion(query.name, query.qtype, query.qclass)])


def _add_edns(reply: DNSRecord, query: Query, rcode: int) -> None:
    if query.edns:
        reply.add_ar(dnslib.EDNS0(udp_len=OFFERED, flags="do" if query.do else "", ext_rcode=rcode >> 4))


def _record(query: Query, record: Record) -> dnslib.RR:
    name = _name(record.name) if record.name else query.name
    return dnslib.RR(name, _TYPES[record.type], 1, record.ttl, _data(record))


def _data(record: Record) -> object:
    data = record.data
    match record.type, data:
        case "A", str():
            return dnslib.A(data)
        case "AAAA", str():
            return dnslib.AAAA(data)
        case "TXT", str():
            return dnslib.TXT(data)
        case "CNAME", str():
            return dnslib.CNAME(_name(data))
        case "NS", str():
            return dnslib.NS(_name(data))
        case "PTR", str():
            return dnslib.PTR(_name(data))
        case "SRV", (priority, weight, port, target):
            return dnslib.SRV(priority, weight, port, _name(str(target)))
        case "SOA", (server, mail, *times):
            return dnslib.SOA(_name(str(server)), _name(str(mail)), tuple(times))
    raise ValueError(f"no record can be made of {record}")


def _name(text: str) -> DNSLabel:
    """Without the detour over internationalised names, which these are not."""
    return DNSLabel([label.encode("latin-1") for label in text.split(".")])

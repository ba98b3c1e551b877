"""Messages: what is refused and how, sizes, and that nothing that comes in breaks anything."""

from __future__ import annotations

import random

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import pytest
from dns_cluster import Objects, asker, endpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.nodes.dns import cache, message

WEB = "web.default.svc.cluster.local"


@pytest.fixture
def objects() -> Objects:
    out = Objects()
    out.namespace("default")
    out.service("web")
    out.service("big", ip="None")
    out.slice("big", *(endpoint(f"10.64.1.{n}") for n in range(200)))
    return out


def query(name: str = WEB, type: str = "A", **how: object) -> bytes:
    return dns.message.make_query(name, type, id=7, **how).to_wire()  # type: ignore[arg-type]


async def test_the_case_of_the_question_stays(objects: Objects) -> None:
    async with asker(objects) as to:
        answer = to.wire(query("wEb.DEFAULT.svc.clUSTer.local"))
        assert answer is not None
        assert b"\x03wEb\x07DEFAULT\x03svc\x07clUSTer\x05local" in answer
        assert str(dns.message.from_wire(answer).answer[0].name) == "wEb.DEFAULT.svc.clUSTer.local."


async def test_a_question_that_was_asked_before_is_answered_under_its_own_id(objects: Objects) -> None:
    async with asker(objects) as to:
        first, second = (to.wire(number + query()[2:]) for number in (b"ab", b"cd"))
        assert first is not None and second is not None
        assert (first[:2], second[:2]) == (b"ab", b"cd")
        assert first[2:] == second[2:]


async def test_what_is_too_large_for_a_datagram_is_truncated_and_whole_over_tcp(objects: Objects) -> None:
    async with asker(objects) as to:
        name = "big.default.svc.cluster.local"
        for size, how in ((512, {}), (512, {"use_edns": 0, "payload": 100}), (1400, {"use_edns": 0, "payload": 1400})):
            wire = to.wire(query(name, **how))
            assert wire is not None
            assert size - 32 <= len(wire) <= size
            assert dns.message.from_wire(wire).flags & dns.flags.TC
        for whole in (to.ask(name, tcp=True), to.ask(name, use_edns=0, payload=4096)):
            assert not whole.flags & dns.flags.TC
            assert len(whole.answer[0]) == 200


async def test_records_besides_are_left_out_before_an_answer_is_truncated(objects: Objects) -> None:
    objects.service("some", ip="None")
    objects.slice("some", *(endpoint(f"10.64.2.{n}") for n in range(6)))
    async with asker(objects) as to:
        answer = to.ask("_http._tcp.some.default.svc.cluster.local", "SRV")
        assert len(answer.answer[0]) == 6
        assert not answer.flags & dns.flags.TC
        assert answer.additional == []


async def test_edns_is_answered_by_edns(objects: Objects) -> None:
    async with asker(objects) as to:
        assert to.ask(WEB).edns == -1
        answer = to.ask(WEB, use_edns=0, want_dnssec=True)
        assert (answer.edns, answer.payload, bool(answer.ednsflags & dns.flags.DO)) == (0, 1232, True)
        assert to.ask(WEB, use_edns=1).rcode() == dns.rcode.BADVERS


async def test_what_is_no_question_of_ours_is_refused(objects: Objects) -> None:
    async with asker(objects) as to:

        def code(data: bytes) -> str:
            answer = to.wire(data)
            assert answer is not None
            assert answer[:2] == data[:2]
            return dns.rcode.to_text(dns.message.from_wire(answer, ignore_trailing=True).rcode())

        assert code(query("example.com")) == "REFUSED"
        assert code(query("cluster.local", "AXFR")) == "REFUSED"
        assert code(query("version.bind", "TXT", rdclass=dns.rdataclass.CH)) == "REFUSED"
        assert code(query("9.9.9.9.in-addr.arpa", "PTR")) == "NXDOMAIN"
        assert code(b"ab" + bytes((0x10, 0)) + query()[4:]) == "NOTIMP"
        assert code(query()[:4] + b"\0\2" + query()[6:]) == "FORMERR"
        assert code(query()[:4] + b"\0\0" + query()[6:]) == "FORMERR"
        assert code(query()[:-3]) == "FORMERR"
        assert code(query()[:12] + b"\xc0\x0c" + query()[-4:]) == "FORMERR"
        long = b"".join(b"\x3f" + b"a" * 63 for _ in range(5)) + b"\0\0\1\0\1"
        assert code(query()[:12] + long) == "FORMERR"
        assert to.wire(b"short") is None
        assert to.wire(query()[:2] + b"\x81\0" + query()[4:]) is None


@settings(max_examples=300)
@given(st.binary(max_size=120), st.integers(0, 2**32))
def test_no_bytes_break_the_reader(noise: bytes, seed: int) -> None:
    chance = random.Random(seed)
    whole = bytearray(query(use_edns=0))
    for _ in range(chance.randrange(8)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    for data in (noise, query()[:12] + noise, query() + noise, bytes(whole), bytes(whole[: chance.randrange(len(whole))])):
        try:
            read = message.read(data)
        except message.Refused as refused:
            assert len(message.refusal(data, refused)) >= 12
            continue
        if read is not None:
            assert len(message.failure(read, message.REFUSED)) >= 12


async def test_no_bytes_break_the_server(objects: Objects) -> None:
    chance = random.Random(5)
    async with asker(objects) as to:
        for _ in range(5_000):
            whole = bytearray(
                query(chance.choice([WEB, "_http._tcp.big.default.svc.cluster.local", "cluster.local"]), use_edns=0)
            )
            for _ in range(chance.randrange(1, 6)):
                whole[chance.randrange(2, len(whole))] = chance.randrange(256)
            answer = to.wire(bytes(whole))
            assert answer is None or (answer[:2] == whole[:2] and len(answer) >= 12)
        assert "coredns_panics_total 0" in to.responder.metrics.text()
        assert to.told(WEB) == ["A 10.96.0.7"]


async def test_what_search_paths_make_of_a_name_is_remembered_too(objects: Objects) -> None:
    async with asker(objects) as to:
        for name in (
            "www.example.com.default.svc.cluster.local",
            "www.example.com.svc.cluster.local",
            "www.example.com.cluster.local",
        ):
            assert to.told(name, id=1) == ["NXDOMAIN"]
        assert len(to.responder.cache.answers) == 3
        to.told("cluster.local", "SOA", id=1)
        assert len(to.responder.cache.answers) == 3


async def test_the_cache_stays_small_however_many_names_are_asked_for(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 200)
    async with asker(objects) as to:
        template = query("00000.default.svc.cluster.local")
        for n in range(210):
            to.wire(template.replace(b"00000", b"%05d" % n))
        assert len(to.responder.cache.answers) == 10


async def test_answers_are_counted_under_coredns_names(objects: Objects) -> None:
    async with asker(objects) as to:
        for name in (WEB, WEB, "none.default.svc.cluster.local"):
            to.wire(query(name))
        to.wire(query("example.com"), tcp=True)
        to.responder.cache.count()
        to.responder.cache.count()
        text = to.responder.metrics.text()
        server = 'server="dns://127.0.0.1:53"'
        zone = f'{server},zone="cluster.local.",view=""'
        assert f'coredns_dns_requests_total{{{zone},proto="udp",family="1",type="A"}} 3\n' in text
        assert f'coredns_dns_responses_total{{{zone},rcode="NOERROR",plugin="kubernetes"}} 2\n' in text
        assert f'coredns_dns_responses_total{{{zone},rcode="NXDOMAIN",plugin="kubernetes"}} 1\n' in text
        assert f"coredns_dns_request_duration_seconds_count{{{zone}}} 3\n" in text
        assert f'coredns_dns_response_size_bytes_count{{{zone},proto="udp"}} 3\n' in text

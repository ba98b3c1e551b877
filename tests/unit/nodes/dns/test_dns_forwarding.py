"""Other zones: asked of other name servers, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from pilothouse.clock import SystemClock, VirtualClock
from pilothouse.nodes.dns import forward
from pilothouse.nodes.dns.forward import Forwarder, resolvers
from pilothouse.nodes.dns.sockets import Address, bind, parse_address


class Upstream(asyncio.DatagramProtocol):
    """A name server that knows one address, and truncates over UDP what begins with `big`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False
        self.wrong_id = False

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not self.silent:
            if self.wrong_id:
                self.transport.sendto(bytes((data[0] ^ 1,)) + self.answer(data, udp=True)[1:], addr)
            self.transport.sendto(self.answer(data, udp=True), addr)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length), udp=False)
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
        writer.close()

    def answer(self, data: bytes, udp: bool) -> bytes:
        question = dns.message.from_wire(data)
        name = question.question[0].name
        self.asked.append(("udp " if udp else "tcp ") + name.to_text())
        answer = dns.message.make_response(question, recursion_available=True)
        if name.to_text().lower().startswith("none"):
            answer.set_rcode(3)
        elif udp and name.to_text().startswith("big"):
            answer.flags |= dns.flags.TC
        else:
            answer.answer.append(dns.rrset.from_text(name, 20, "IN", "A", "192.0.2.1"))
        return answer.to_wire()


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Upstream, Address]]:
    loop = asyncio.get_running_loop()
    pair = bind(("127.0.0.1", 0))
    transport, server = await loop.create_datagram_endpoint(Upstream, sock=pair.udp)
    address = pair.address
    tcp = await asyncio.start_server(server.serve, sock=pair.tcp)
    try:
        yield server, address
    finally:
        transport.close()
        await asyncio.sleep(0)  # it closes in the next turn
        tcp.close()
        await tcp.wait_closed()


async def ask(to: Forwarder, name: str, tcp: bool = False, id: int = 7) -> dns.message.Message | None:
    question = dns.message.make_query(name, "A", id=id).to_wire()
    answer = await to.ask(question, len(question), tcp)
    return None if answer is None else dns.message.from_wire(answer)


async def test_an_answer_comes_back_under_the_id_and_in_the_case_of_the_question() -> None:
    async with upstream() as (server, address):
        to = Forwarder([address], VirtualClock())
        for name in ("www.example.com.", "WWW.example.com."):
            answer = await ask(to, name)
            assert answer is not None
            assert (answer.id, answer.question[0].name.to_text()) == (7, name)
            assert str(answer.answer[0][0]) == "192.0.2.1"
        assert server.asked == ["udp www.example.com."]


async def test_an_answer_grows_old_and_is_forgotten() -> None:
    async with upstream() as (server, address):
        clock = VirtualClock()
        to = Forwarder([address], clock)
        await ask(to, "a.example.com")
        await clock.advance(8)
        answer = await ask(to, "a.example.com")
        assert answer is not None
        assert answer.answer[0].ttl == 12
        await clock.advance(13)
        await ask(to, "a.example.com")
        assert len(server.asked) == 2


async def test_same_questions_at_one_time_are_asked_once() -> None:
    async with upstream() as (server, address):
        to = Forwarder([address], VirtualClock())
        answers = await asyncio.gather(*(ask(to, "a.example.com", id=n) for n in range(20)))
        assert [a.id for a in answers if a] == list(range(20))
        assert len(server.asked) == 1


async def test_what_is_truncated_is_told_so_and_whole_over_tcp() -> None:
    async with upstream() as (server, address):
        to = Forwarder([address], VirtualClock())
        short, whole = await ask(to, "big.example.com"), await ask(to, "big.example.com", tcp=True)
        assert short is not None and whole is not None
        assert short.flags & dns.flags.TC
        assert len(whole.answer) == 1
        assert server.asked == ["udp big.example.com.", "tcp big.example.com."]


async def test_an_answer_to_something_else_is_not_believed() -> None:
    async with upstream() as (server, address):
        server.wrong_id = True
        answer = await ask(Forwarder([address], VirtualClock()), "a.example.com")
        assert answer is not None
        assert len(answer.answer) == 1


async def test_the_next_server_is_asked_when_one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "TIMEOUT", 0.5)
    async with upstream() as (first, one), upstream() as (_, two):
        first.silent = True
        assert await ask(Forwarder([one, two], SystemClock()), "a.example.com") is not None
        assert await ask(Forwarder([one], SystemClock()), "a.example.com") is None


def test_the_machines_resolvers_are_those_of_its_file_without_ourselves(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# a comment\nsearch x\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver fd00::1\nnameserver nonsense\nnameserver\n"
    )
    assert resolvers(file, but=[("127.0.0.1", 53)]) == [("192.0.2.1", 53), ("fd00::1", 53)]
    assert resolvers(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", ("1.2.3.4", 53)),
        ("1.2.3.4:5353", ("1.2.3.4", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
        ("example.com", None),
        ("1.2.3.4:x", None),
    ],
)
def test_addresses_of_resolvers_can_have_ports(text: str, address: Address | None) -> None:
    assert parse_address(text) == address

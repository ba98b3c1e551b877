"""Names in TLS handshakes, read from what Python's ssl sends."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.dataplane.embedded.clienthello import NotTls, server_name


def hello(name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """A client's first flight."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_is_found(version: ssl.TLSVersion) -> None:
    assert server_name(hello("www.Example.com", version)) == b"www.example.com"


def test_a_client_may_give_no_name() -> None:
    assert server_name(hello(None)) == b""


def test_every_beginning_asks_for_more() -> None:
    whole = hello("www.example.com")
    assert all(server_name(whole[:size]) is None for size in range(len(whole)))


@given(st.integers(1, 400))
def test_a_hello_may_come_in_several_records(size: int) -> None:
    message = hello("www.example.com")[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    records = b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)
    assert server_name(records) == b"www.example.com"


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x16\x02", b"\x15\x03\x01\x00\x02\x01\x00", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"]
)
def test_what_is_no_hello_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NotTls):
        server_name(data)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    framed = b"\x16\x03\x01" + len(data).to_bytes(2) + data
    for text in (data, framed):
        try:
            assert server_name(text) is None or isinstance(server_name(text), bytes)
        except NotTls:
            continue

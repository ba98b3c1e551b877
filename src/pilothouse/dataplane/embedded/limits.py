"""What one client may take: sizes, times and numbers, in one place so that tests and users can set them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds."""

    #: Of a front at once; more are closed as they come.
    connections: int = 20_000
    #: Of a request line and its headers together; 431 beyond.
    head: int = 65_536
    #: What is kept of a request's body while its backend is sought, and for another try.
    held: int = 65_536
    #: A mirrored request with a longer body is not mirrored.
    mirrored: int = 1_048_576
    #: What is read and thrown away of a body whose answer has been sent already; the connection is closed beyond.
    unread: int = 1_048_576
    connect: float = 5.0
    #: For a TLS handshake, and for a request's head to arrive.
    greeting: float = 10.0
    #: A connection over which no request runs; the backends' side is shorter, so that they seldom close first.
    idle: float = 75.0
    idle_upstream: float = 30.0
    #: A UDP session without a datagram in either direction.
    datagrams: float = 60.0
    streams: int = 256

"""Heads of HTTP/1.1 answers, and the bodies of those that no backend gives."""

from __future__ import annotations

from http import HTTPStatus

from pilothouse.dataplane.embedded.filters import Headers

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_LINES[421] = b"HTTP/1.1 421 Misdirected Request\r\n"


def status_line(status: int) -> bytes:
    return _LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


def body(status: int) -> bytes:
    """What an answer of ours says: its status in words."""
    return status_line(status)[9:-2] + b"\n"


def lines(headers: Headers) -> list[bytes]:
    """Headers or trailers as lines."""
    return [b"%b: %b\r\n" % pair for pair in headers]

"""What of a head is passed on, in either direction. No I/O.

What belongs to one connection stays there (RFC 9110 section 7.6.1): the headers listed here and those that `Connection` names. Framing and
`Host` are written anew by whoever sends; where a request came from is added.
"""

from __future__ import annotations

import re

from pilothouse.dataplane.embedded.filters import Change, Headers

_AUTHORITY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")
_METHOD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TARGET = re.compile(rb"[!-~\x80-\xff]+")

_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
_WRITTEN = _HOP | {b"te", b"http2-settings", b"host", b"content-length"}
_OWN = _WRITTEN | _FORWARDED
#: What `Connection` may name without it being dropped for that: these are dealt with by themselves, or are not its to drop.
_KNOWN = _OWN | {b"close"}


def to_backend(headers: Headers, client: bytes, scheme: bytes, host: bytes) -> tuple[Headers, bool]:
    """A request's headers for a backend, and whether its client takes trailers. A client's word on `X-Forwarded-Proto` and `-Host` is not taken."""
    head: Headers = []
    forwarded = b""
    dropped: frozenset[bytes] = frozenset()
    trailers = False
    for pair in headers:
        name = pair[0]
        if name not in _OWN:
            head.append(pair)
        elif name == b"x-forwarded-for":
            forwarded = forwarded + b", " + pair[1] if forwarded else pair[1]
        elif name == b"connection":
            dropped |= _named(pair[1])
        elif name == b"te":
            trailers = b"trailers" in pair[1].lower()
    if dropped:
        head = [pair for pair in head if pair[0] not in dropped]
    head.append((b"x-forwarded-for", forwarded + b", " + client if forwarded else client))
    head.append((b"x-forwarded-proto", scheme))
    head.append((b"x-forwarded-host", host))
    return head, trailers


def to_client(headers: Headers) -> Headers:
    """An answer's headers for the client, its length among them."""
    passed: Headers = []
    dropped: frozenset[bytes] = frozenset()
    for pair in headers:
        if pair[0] not in _HOP:
            passed.append(pair)
        elif pair[0] == b"connection":
            dropped |= _named(pair[1])
    if dropped:
        return [pair for pair in passed if pair[0] not in dropped]
    return passed


def changed(head: Headers, host: bytes, change: Change) -> tuple[Headers, bytes]:
    """A request's headers and host after a filter. Filters may set `Host`; what frames the message is not theirs."""
    head = change.apply([*head, (b"host", host)])
    hosts = [value for name, value in head if name == b"host"]
    return [pair for pair in head if pair[0] not in _WRITTEN], hosts[0] if hosts else host


def trailers(received: Headers) -> Headers:
    """What of a message's trailers is passed on: nothing that frames it or says where it goes (RFC 9110 section 6.5.1)."""
    return [pair for pair in received if pair[0] not in _OWN] if received else received


def is_authority(host: bytes) -> bool:
    """Whether a host with or without its port can be one (RFC 3986 section 3.2)."""
    return _AUTHORITY.fullmatch(host) is not None


def fits_http1(method: bytes, target: bytes, length: bytes | None) -> bool:
    """Whether HTTP/2's version of a request line can stand in one of HTTP/1.1, where spaces and ends of lines would mean something else."""
    fits = _METHOD.fullmatch(method) is not None and _TARGET.fullmatch(target) is not None
    return fits and (length is None or length.isdigit())


def _named(connection: bytes) -> frozenset[bytes]:
    return frozenset(token.strip() for token in connection.lower().split(b",")) - _KNOWN

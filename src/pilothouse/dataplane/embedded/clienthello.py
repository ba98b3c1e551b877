"""The name a TLS client asks for, read from its first message before anything answers it (RFC 8446 section 4.1.2, RFC 6066 section 3).

Nothing is decrypted: the ClientHello is in the clear. It may come in several records.
"""

from __future__ import annotations

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
#: A ClientHello that is longer is none.
LONGEST = 65_536


class NotTls(ValueError):
    """What came is no ClientHello."""


def server_name(data: bytes) -> bytes | None:
    """The name in lower case, b"" if the client gives none; None if more data is needed. NotTls for anything else."""
    message = _message(data)
    if message is None:
        return None
    try:
        return _name(message)
    except IndexError as error:
        raise NotTls("a ClientHello that ends in the middle") from error


def _message(data: bytes) -> bytes | None:
    """The handshake message out of its records."""
    message = b""
    at = 0
    while True:
        header = data[at : at + 5]
        if (header and header[0] != _HANDSHAKE) or (len(header) > 1 and header[1] != 3):
            raise NotTls("no TLS handshake")
        if len(header) < 5:
            return None
        size = int.from_bytes(header[3:5])
        message += data[at + 5 : at + 5 + size]
        if message and message[0] != _CLIENT_HELLO:
            raise NotTls("no ClientHello")
        if len(message) >= 4:
            wanted = 4 + int.from_bytes(message[1:4])
            if wanted > LONGEST:
                raise NotTls("a ClientHello that is too long")
            if len(message) >= wanted:
                return message[4:wanted]
        if len(data) < at + 5 + size:
            return None
        at += 5 + size


def _name(hello: bytes) -> bytes:
    at = 2 + 32  # version, random
    at += 1 + hello[at]  # session id
    at += 2 + _short(hello, at)  # cipher suites
    at += 1 + hello[at]  # compression methods
    if at >= len(hello):
        return b""  # no extensions
    end = at + 2 + _short(hello, at)
    at += 2
    while at + 4 <= end:
        kind, size = _short(hello, at), _short(hello, at + 2)
        if kind == _SERVER_NAME:
            return _host(hello[at + 4 : at + 4 + size])
        at += 4 + size
    return b""


def _host(extension: bytes) -> bytes:
    at = 2
    while at + 3 <= len(extension):
        size = _short(extension, at + 1)
        if extension[at] == 0:
            return extension[at + 3 : at + 3 + size].lower().rstrip(b".")
        at += 3 + size
    return b""


def _short(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]

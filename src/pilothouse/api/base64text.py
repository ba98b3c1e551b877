"""Base64 as JSON carries bytes: the standard alphabet with padding, line breaks allowed (RFC 4648).

Messages say at which byte a text stops being base64, counted as the reference server counts.
"""

from __future__ import annotations

import base64
import binascii
import string

_ALPHABET = frozenset(string.ascii_letters + string.digits + "+/")


def canonical(text: str) -> str:
    """The same bytes without line breaks. ValueError says where the text is not base64."""
    return base64.b64encode(decode(text)).decode()


def decode(text: str) -> bytes:
    """The bytes. ValueError says where the text is not base64."""
    if "\n" in text or "\r" in text:
        text_alone = text.replace("\n", "").replace("\r", "")
    else:
        text_alone = text
    try:
        if len(text_alone) % 4:
            raise ValueError(text)
        return base64.b64decode(text_alone, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"illegal base64 data at input byte {_fault(text)}") from None


def _fault(text: str) -> int:
    """The position of the first byte that cannot be, in a text that is not base64."""
    data = text.encode()
    filled = 0  # places taken in the present group of four
    for at, byte in enumerate(data):
        char = chr(byte)
        if char in "\r\n":
            continue
        if char == "=":
            return _padding_fault(data, at, filled)
        if char not in _ALPHABET:
            return at
        filled = (filled + 1) % 4
    return len(data) - filled


def _padding_fault(data: bytes, at: int, filled: int) -> int:
    if filled < 2:
        return at
    rest = [n for n in range(at + 1, len(data)) if data[n] not in b"\r\n"]
    if filled == 3:
        return rest[0] if rest else len(data)
    if not rest:
        return len(data)
    if data[rest[0]] != ord("="):
        return rest[0]
    return rest[1] if len(rest) > 1 else len(data)

"""Ends what the kernel remembers of UDP sessions with endpoints that are gone: their clients go on sending, and would for ever be sent there.

Spoken to over netlink (ctnetlink, linux/netfilter/nfnetlink_conntrack.h), where the tool `conntrack` need not be installed.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Collection, Iterator

log = logging.getLogger("pilothouse.nodes")

_NETFILTER, _CONNTRACK, _GET, _DELETE = 12, 1, 1, 2
_REQUEST, _ACK, _DUMP, _DONE, _ERROR = 0x1, 0x4, 0x300, 3, 2
#: Attributes: tuples of both directions, the address and the protocol part of a tuple, and what is in those.
_ORIGINAL, _REPLY, _IP, _PROTO, _SOURCE, _NUMBER, _SOURCE_PORT = 1, 2, 1, 2, 1, 1, 2
_UDP = 17


def cut(endpoints: Collection[tuple[str, int]]) -> int:
    """End the sessions of these UDP endpoints; how many there were."""
    wanted = {(socket.inet_aton(host), port) for host, port in endpoints}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as sock:
            sock.settimeout(2.0)
            sock.send(_message(_GET, _REQUEST | _DUMP, b""))
            found = [original for original, source in _sessions(sock) if source in wanted]
            for original in found:
                sock.send(_message(_DELETE, _REQUEST | _ACK, original))
                sock.recv(65_536)
            return len(found)
    except OSError as error:
        log.warning("UDP sessions of endpoints that are gone could not be ended: %s", error)
        return 0


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), _CONNTRACK << 8 | kind, flags, 1, 0) + body


def _sessions(sock: socket.socket) -> Iterator[tuple[bytes, tuple[bytes, int]]]:
    """Each UDP session: what it is named by, and who answers in it."""
    while True:
        data = sock.recv(1 << 20)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (_DONE, _ERROR):
                return
            parts = dict(_attributes(data[20:length]))
            reply = dict(_attributes(parts.get(_REPLY, b"")))
            proto = dict(_attributes(reply.get(_PROTO, b"")))
            if proto.get(_NUMBER, b"\0")[0] == _UDP:
                source = dict(_attributes(reply.get(_IP, b""))).get(_SOURCE, b"")
                port = int.from_bytes(proto[_SOURCE_PORT][:2], "big")
                yield _attribute(_ORIGINAL | 0x8000, parts[_ORIGINAL]), (source, port)
            data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[max(4, (length + 3) & ~3) :]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

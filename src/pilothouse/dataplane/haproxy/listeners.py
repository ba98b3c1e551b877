"""The sockets of fronts. This process opens them and HAProxy inherits them, so that each HAProxy accepts from the same queue: none is refused
while one takes over from another, nor while one that has died is started again. An address that cannot be had is known before HAProxy is asked.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.dataplane.haproxy.sections import Listener
from pilothouse.dataplane.haproxy.text import identifier
from pilothouse.dataplane.model import Edge, Forward, Front

BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Held:
    """A front's sockets."""

    front: socket.socket
    hop: socket.socket | None = None
    hop_path: str = ""

    @property
    def sockets(self) -> Sequence[socket.socket]:
        return [self.front, self.hop] if self.hop else [self.front]

    @property
    def listener(self) -> Listener:
        return Listener(self.front.fileno(), self.hop.fileno() if self.hop else -1, self.hop_path)


def hold(front: Front, folder: str, before: Held | None) -> Held:
    """Sockets for a front; those that it had before where they serve. OSError where the address cannot be had."""
    hop, path = (before.hop, before.hop_path) if before else (None, "")
    taken = (
        before.front
        if before and before.front.getsockname()[:2] == (front.address, front.port)
        else _tcp(front.address, front.port, front.interface if isinstance(front, Forward) else "")
    )
    if isinstance(front, Edge) and hop is None:
        path = f"{folder}/{identifier('hop_', front.name)}"
        hop = unix(path)
    return Held(taken, hop, path) if isinstance(front, Edge) else Held(taken)


def release(sockets: Sequence[socket.socket]) -> None:
    """End listening at once, for all who share the sockets."""
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # ended already
        finally:
            name = each.getsockname() if each.family == socket.AF_UNIX else ""
            each.close()
            if name:
                _unlink(name)


def unix(path: str) -> socket.socket:
    _unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _tcp(address: str, port: int, interface: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.create_server((address, port), family=family, backlog=BACKLOG)
    if interface:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    return made

"""A network of one's own for a test: its addresses, routes and nftables are nobody else's and go with it. Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

_NEW_NETWORK = 0x40000000


def problem(*programs: str) -> str:
    """Why there cannot be one; "" if there can."""
    if os.geteuid() != 0:
        return "only root may have a network namespace"
    for program in programs:
        try:
            subprocess.run([program, "-V" if program == "ip" else "--version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return f"{program} is not installed"
    try:
        with private_network():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"this machine makes no network namespaces: {error}"


@contextlib.contextmanager
def private_network() -> Iterator[None]:
    """This thread is in a new network namespace, with a loopback interface that is up. OSError where that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare failed")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
            yield
        finally:
            if libc.setns(before, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns failed")
    finally:
        os.close(before)

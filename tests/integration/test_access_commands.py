"""`pilothouse proxy` and `pilothouse dns` as processes of their own, against an API server over HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import dns.asyncquery
import dns.exception
import dns.message
import pytest
from private_network import private_network, problem

from pilothouse.testing.plugin import TestCluster


@pytest.fixture
def network() -> Iterator[None]:
    """One that a proxier may change, where that can be had."""
    with contextlib.nullcontext() if problem("ip") else private_network():
        yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def command(kubeconfig: Path, *arguments: str, lines: int = 1) -> AsyncIterator[str]:
    """The command's first lines; it ends well when it is asked to."""
    line = [sys.executable, "-m", "pilothouse", arguments[0], "--kubeconfig", str(kubeconfig), *arguments[1:]]
    process = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            told = [(await process.stdout.readline()).decode() for _ in range(lines)]
        yield "".join(told)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def page(url: str, wanted: int = 200) -> str:
    """Its text, once it answers so."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(url) as answer:
                    if answer.status == wanted:
                        return await answer.text()
            await asyncio.sleep(0.05)


async def test_the_proxier_runs_alone_and_tells_how_it_is(network: None, cluster: TestCluster) -> None:
    health, metrics = free_port(), free_port()
    ports = ("--healthz-bind-address", f"127.0.0.1:{health}", "--metrics-bind-address", f"127.0.0.1:{metrics}")
    async with command(cluster.kubeconfig, "proxy", "--proxy-mode", "userspace", *ports) as told:
        assert told == "Services are served by userspace\n"
        assert '"nodeEligible":true' in await page(f"http://127.0.0.1:{health}/healthz")
        assert await page(f"http://127.0.0.1:{metrics}/proxyMode") == "userspace"
        text = await page(f"http://127.0.0.1:{metrics}/metrics")
        changes = re.search(r"^kubeproxy_sync_proxy_rules_service_changes_total (\d+)$", text, re.MULTILINE)
        assert changes is not None and int(changes[1]) >= 1
        assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in text


async def test_the_name_server_runs_alone_and_tells_how_it_is(network: None, cluster: TestCluster) -> None:
    port, metrics = free_port(), free_port()
    flags = ("--dns-port", str(port), "--metrics-port", str(metrics), "--dns-resolvers", "none", "--cluster-domain", "k8s.test")
    async with command(cluster.kubeconfig, "dns", *flags) as told:
        assert told == f"Names are answered at 127.0.0.1:{port}\n"
        await page(f"http://127.0.0.1:{metrics}/ready")
        question = dns.message.make_query("kubernetes.default.svc.k8s.test", "A")
        answer = await dns.asyncquery.udp(question, "127.0.0.1", port=port, timeout=10)
        assert str(answer.answer[0][0]) == "10.96.0.1"
        text = await page(f"http://127.0.0.1:{metrics}/metrics")
        assert f'coredns_dns_requests_total{{server="dns://127.0.0.1:{port}",zone="k8s.test."' in text
        assert await page(f"http://127.0.0.1:{metrics}/health") == "OK"


async def first_address(name: str, where: tuple[str, int]) -> str:
    """What a name stands for, once it is answered there."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(dns.exception.Timeout, OSError):
                answer = await dns.asyncquery.udp(dns.message.make_query(name, "A"), where[0], port=where[1], timeout=1)
                if answer.answer:
                    return str(answer.answer[0][0])
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["userspace", "nftables"])
async def test_a_whole_cluster_is_reached_by_its_names_and_addresses(mode: str, tmp_path: Path) -> None:
    if why := problem("ip", "nft"):
        pytest.skip(why)
    with private_network():
        for what in ("addr add 198.51.100.1/32 dev lo", "route add default dev lo src 198.51.100.1"):  # the machine's own address
            subprocess.run(["ip", *what.split()], check=True)
        flags = ("--memory", "--port", str(free_port()), "--dns-port", "10099", "--proxy-mode", mode)
        async with command(tmp_path / "kubeconfig", "up", *flags, lines=2) as told:
            assert "dig @127.0.0.1 -p 10099 kubernetes.default.svc.cluster.local" in told
            name = "kubernetes.default.svc.cluster.local"
            assert await first_address(name, ("127.0.0.1", 10099)) == "10.96.0.1"
            assert await first_address(name, ("10.96.0.10", 53)) == "10.96.0.1"
            connector = aiohttp.TCPConnector(ssl=False)
            async with aiohttp.ClientSession(connector=connector) as http, http.get("https://10.96.0.1/version") as answer:
                assert (await answer.json())["minor"] == "36"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("proxy", "--proxy-mode", "ipvs"), "--proxy-mode: 'ipvs' is none of auto, userspace, nftables, none"),
        (("proxy", "--nodeport-addresses", "x"), "--nodeport-addresses"),
        (("dns", "--dns-resolvers", "example.com"), "--dns-resolvers: 'example.com' is no address"),
        (("dns", "--dns-answers", "both"), "--dns-answers: 'both' is none of auto, cluster, loopback"),
    ],
)
async def test_flags_that_say_nothing_are_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    line = [sys.executable, "-m", "pilothouse", arguments[0], "--kubeconfig", "none", *arguments[1:]]
    process = await asyncio.create_subprocess_exec(*line, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert told in errors.decode()
    assert len(errors.decode().splitlines()) == 1

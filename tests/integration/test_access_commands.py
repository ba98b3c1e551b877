"""`pilothouse proxy` and `pilothouse dns` as processes of their own, against an API server over HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import aiohttp
import dns.asyncquery
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
async def command(cluster: TestCluster, *arguments: str) -> AsyncIterator[str]:
    """The command's first line; it ends well when it is asked to."""
    line = [sys.executable, "-m", "pilothouse", arguments[0], "--kubeconfig", str(cluster.kubeconfig), *arguments[1:]]
    process = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await process.stdout.readline()).decode()
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
    async with command(cluster, "proxy", "--proxy-mode", "userspace", *ports) as told:
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
    async with command(cluster, "dns", *flags) as told:
        assert told == f"Names are answered at 127.0.0.1:{port}\n"
        await page(f"http://127.0.0.1:{metrics}/ready")
        question = dns.message.make_query("kubernetes.default.svc.k8s.test", "A")
        answer = await dns.asyncquery.udp(question, "127.0.0.1", port=port, timeout=10)
        assert str(answer.answer[0][0]) == "10.96.0.1"
        text = await page(f"http://127.0.0.1:{metrics}/metrics")
        assert f'coredns_dns_requests_total{{server="dns://127.0.0.1:{port}",zone="k8s.test."' in text
        assert await page(f"http://127.0.0.1:{metrics}/health") == "OK"


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

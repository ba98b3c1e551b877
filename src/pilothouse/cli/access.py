"""`pilothouse dns`: names of Services on this machine, and the flags that `up` shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from pilothouse.cli.options import Kubeconfig
from pilothouse.cli.running import fail, run_command, split, work_until_signal

if TYPE_CHECKING:
    from pilothouse.nodes.access import Access
    from pilothouse.nodes.dns.sockets import Address
    from pilothouse.nodes.dns.zone import PodMode

DnsPort = Annotated[
    int | None,
    typer.Option("--dns-port", help="Port of cluster DNS on 127.0.0.1; 0: none.", show_default="10053 or the next that is free"),
]
DnsAnswers = Annotated[
    str,
    typer.Option(
        "--dns-answers",
        help="Addresses that cluster DNS tells: cluster (10.x), loopback (127.x, reached from this machine) or auto: what is reached.",
    ),
]
DnsResolvers = Annotated[
    str,
    typer.Option(
        "--dns-resolvers", help="Who cluster DNS asks for other names: addresses, or none.", show_default="/etc/resolv.conf"
    ),
]
ClusterDomain = Annotated[str, typer.Option("--cluster-domain", help="The domain of the cluster's names.")]


def access_of(dns_port: int | None, dns_answers: str, dns_resolvers: str, cluster_domain: str) -> Access:
    """What the flags say. Ends the command, in one line, where they say nothing that can be."""
    from pilothouse.nodes.access import Access

    if dns_port is not None and not 0 <= dns_port < 65536:
        fail(f"--dns-port: {dns_port} is no port")
    answers = cast(Literal["auto", "cluster", "loopback"], one_of("--dns-answers", dns_answers, ("auto", "cluster", "loopback")))
    return Access(dns_port, answers, _resolvers(dns_resolvers), cluster_domain)


def one_of(flag: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        fail(f"{flag}: {value!r} is none of {', '.join(known)}")
    return value


def _resolvers(text: str) -> tuple[Address, ...] | None:
    from pilothouse.nodes.dns.sockets import parse_address

    if not text:
        return None
    if text == "none":
        return ()
    found = []
    for each in split(text):
        address = parse_address(each)
        if address is None:
            fail(f"--dns-resolvers: {each!r} is no address")
        found.append(address)
    return tuple(found)


def dns(
    kubeconfig: Kubeconfig,
    dns_port: DnsPort = None,
    bind_address: Annotated[str, typer.Option("--bind-address", help="Where names are answered.")] = "127.0.0.1",
    dns_answers: DnsAnswers = "cluster",
    dns_resolvers: DnsResolvers = "",
    cluster_domain: ClusterDomain = "cluster.local",
    pods: Annotated[
        str, typer.Option("--pods", help="Names of pods: insecure (of any address), verified (of those that exist) or disabled.")
    ] = "insecure",
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", help="Port of /metrics and /health on 127.0.0.1; 0: none.")
    ] = 9153,
) -> None:
    """Answer the names of a cluster's Services and pods, for any Kubernetes API server."""
    access = access_of(dns_port, dns_answers, dns_resolvers, cluster_domain)
    if access.dns_port == 0:
        fail("--dns-port: a name server needs one")
    mode = cast("PodMode", one_of("--pods", pods, ("insecure", "verified", "disabled")))
    raise typer.Exit(run_command(lambda: _dns(kubeconfig, access, bind_address, mode, metrics_port)))


async def _dns(kubeconfig: Path, access: Access, host: str, pods: PodMode, metrics_port: int) -> int:
    from dataclasses import replace

    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.client.plainserving import PlainServer
    from pilothouse.clock import SystemClock
    from pilothouse.nodes.access import DNS_PORT, dns_options
    from pilothouse.nodes.dns.server import ClusterDns
    from pilothouse.nodes.dns.sockets import Sockets, bind, bind_next

    clock = SystemClock()
    wanted = (host, access.dns_port or DNS_PORT)
    sockets = Sockets(bind(wanted) if access.dns_port else bind_next(wanted))
    options = dns_options(access, lambda: (False, False))
    options = replace(options, zone=replace(options.zone, pods=pods))
    transport = HttpTransport(load(kubeconfig), "pilothouse-dns")
    server = ClusterDns(transport, clock, sockets, options)
    pages = PlainServer(server.page)
    try:
        if metrics_port:
            await pages.start(("127.0.0.1", metrics_port))
        address, number = sockets.addresses[0]
        typer.echo(f"Names are answered at {address}:{number}")
        return await work_until_signal(server.run())
    finally:
        await pages.stop()
        await transport.close()
        sockets.close()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dns)

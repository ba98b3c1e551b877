"""`pilothouse dns` and `pilothouse proxy`: Services by name and by address on this machine, and the flags that `up` shares with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from pilothouse.cli.options import Kubeconfig, ServiceRange
from pilothouse.cli.running import fail, run_command, split, work_until_signal

if TYPE_CHECKING:
    from pilothouse.nodes.access import Access
    from pilothouse.nodes.dns.sockets import Address
    from pilothouse.nodes.dns.zone import PodMode
    from pilothouse.nodes.proxy.choose import Mode

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


ProxyMode = Annotated[
    str,
    typer.Option(
        "--proxy-mode", help="How cluster IPs and node ports are served on this machine: auto, userspace, nftables or none."
    ),
]
NodePortAddresses = Annotated[
    str,
    typer.Option(
        "--nodeport-addresses", help="Networks (CIDR) of this machine by which others reach node ports; otherwise nobody does."
    ),
]


def access_of(
    dns_port: int | None,
    dns_answers: str,
    dns_resolvers: str,
    cluster_domain: str,
    proxy_mode: str = "none",
    nodeport_addresses: str = "",
) -> Access:
    """What the flags say. Ends the command, in one line, where they say nothing that can be."""
    from pilothouse.nodes.access import Access

    if dns_port is not None and not 0 <= dns_port < 65536:
        fail(f"--dns-port: {dns_port} is no port")
    answers = cast(Literal["auto", "cluster", "loopback"], one_of("--dns-answers", dns_answers, ("auto", "cluster", "loopback")))
    mode, networks = _proxying(proxy_mode, nodeport_addresses)
    return Access(dns_port, answers, _resolvers(dns_resolvers), cluster_domain, mode, networks)


def _proxying(mode: str, nodeport_addresses: str) -> tuple[Mode, tuple[str, ...]]:
    from pilothouse.nodes.proxy.choose import check

    known = cast("Mode", one_of("--proxy-mode", mode, ("auto", "userspace", "nftables", "none")))
    try:
        return known, check(known, split(nodeport_addresses))
    except ValueError as error:
        fail(str(error))


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
    options = dns_options(access)
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


def proxy(
    kubeconfig: Kubeconfig,
    proxy_mode: ProxyMode = "auto",
    nodeport_addresses: NodePortAddresses = "",
    service_cluster_ip_range: ServiceRange = "10.96.0.0/16",
    healthz_bind_address: Annotated[
        str, typer.Option("--healthz-bind-address", help="Address and port of /healthz; empty: none.")
    ] = "127.0.0.1:10256",
    metrics_bind_address: Annotated[
        str, typer.Option("--metrics-bind-address", help="Address and port of /metrics; empty: none.")
    ] = "127.0.0.1:10249",
) -> None:
    """Serve cluster IPs and node ports on this machine, for any Kubernetes API server."""
    mode, networks = _proxying(proxy_mode, nodeport_addresses)
    if mode == "none":
        fail("--proxy-mode: none leaves nothing to do")
    ports = [
        _port_address(*each)
        for each in (("--healthz-bind-address", healthz_bind_address), ("--metrics-bind-address", metrics_bind_address))
    ]
    raise typer.Exit(run_command(lambda: _proxy(kubeconfig, mode, networks, service_cluster_ip_range, ports)))


def _port_address(flag: str, text: str) -> Address | None:
    from pilothouse.nodes.dns.sockets import parse_address

    if not text:
        return None
    address = parse_address(text)
    if address is None or not text.endswith(f":{address[1]}"):
        fail(f"{flag}: {text!r} is no address and port")
    return address


async def _proxy(kubeconfig: Path, mode: Mode, networks: tuple[str, ...], service_range: str, ports: list[Address | None]) -> int:
    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.client.plainserving import PlainServer
    from pilothouse.clock import SystemClock
    from pilothouse.nodes.proxy.choose import choose
    from pilothouse.nodes.proxy.proxier import Proxier
    from pilothouse.nodes.proxy.serving import ProxyPages

    clock = SystemClock()
    transport = HttpTransport(load(kubeconfig), "kube-proxy")
    chosen = await choose(mode, clock, service_range, networks)
    try:
        proxier = Proxier(transport, clock, chosen.backend)
        pages = ProxyPages(proxier, clock)
        servers = [PlainServer(pages.health), PlainServer(pages.metrics)]
        try:
            for server, address in zip(servers, ports, strict=True):
                if address is not None:
                    await server.start(address)
            typer.echo(f"Services are served by {chosen.backend.name}")
            return await work_until_signal(proxier.run())
        finally:
            for server in servers:
                await server.stop()
    finally:
        await chosen.stop()
        await transport.close()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(dns)
    app.command()(proxy)

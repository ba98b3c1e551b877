"""The `pilothouse` command: `up` for a whole cluster, or one component at a time with Kubernetes' own flags."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pilothouse.cli import access, cloud, controllers, insight
from pilothouse.cli.access import ClusterDomain, DnsAnswers, DnsPort, DnsResolvers, NodePortAddresses, ProxyMode, access_of
from pilothouse.cli.insight import PluginFiles
from pilothouse.cli.one_line import Commands
from pilothouse.cli.options import (
    AccountKeys,
    AccountSigningKey,
    AdmissionConfig,
    AuthorizationMode,
    CertDir,
    ClientCa,
    CloudConfig,
    CloudProvider,
    DataDir,
    DisableAdmission,
    EnableAdmission,
    EtcdCa,
    EtcdCertificate,
    EtcdKey,
    EtcdServers,
    ExternalCloud,
    Issuer,
    Kubeconfig,
    LoadBalancerAddresses,
    NodeCount,
    NodePorts,
    NodePrefix,
    OwnAddress,
    OwnCertificate,
    OwnKey,
    Serve,
    ServerAddress,
    ServerCertificate,
    ServerKey,
    ServerPort,
    ServiceRange,
    StartupDelay,
    TokenFileOption,
)
from pilothouse.cli.running import fail, is_external, run_command, split, together, until_signal, work_until_signal

if TYPE_CHECKING:
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.client.serving import Serving
    from pilothouse.clock import Clock
    from pilothouse.cluster import Spokes
    from pilothouse.nodes.simulated import NodeOptions
    from pilothouse.store.interface import Store

STARTED = time.perf_counter()

app = typer.Typer(
    cls=Commands, help="A Kubernetes control plane in Python.", no_args_is_help=True, pretty_exceptions_enable=False
)


def main() -> None:
    """Entry point of the console script."""
    app()


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from pilothouse import GIT_VERSION

        typer.echo(GIT_VERSION)
        raise typer.Exit


@app.command()
def up(
    data_dir: DataDir = None,
    port: Annotated[int, typer.Option("--port", help="Port of the API server.")] = 6443,
    nodes: Annotated[int, typer.Option("--nodes", min=0, help="How many simulated nodes.")] = 1,
    kubeconfig: Annotated[Path | None, typer.Option("--kubeconfig", help="Where to write the kubeconfig.")] = None,
    token_auth_file: TokenFileOption = None,
    memory: Annotated[bool, typer.Option("--memory", help="Keep nothing after the end.")] = False,
    etcd_servers: EtcdServers = "",
    startup_delay: StartupDelay = 0.0,
    serve: Serve = True,
    scheduler_config: Annotated[
        Path | None, typer.Option("--scheduler-config", help="A KubeSchedulerConfiguration file, followed when it is written.")
    ] = None,
    plugin_file: PluginFiles = None,
    cloud_provider: CloudProvider = "local",
    cloud_config: CloudConfig = None,
    load_balancer_addresses: LoadBalancerAddresses = "",
    dns_port: DnsPort = None,
    dns_answers: DnsAnswers = "auto",
    dns_resolvers: DnsResolvers = "",
    cluster_domain: ClusterDomain = "cluster.local",
    proxy_mode: ProxyMode = "auto",
    nodeport_addresses: NodePortAddresses = "",
) -> None:
    """Run a whole cluster on this machine until Ctrl-C. The nodes are simulated."""
    if cloud_config and load_balancer_addresses:
        fail("--cloud-config and --load-balancer-addresses exclude each other")
    if memory and (data_dir or etcd_servers):
        fail("--memory excludes --data-dir and --etcd-servers")
    folder = None if memory else data_dir or Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "pilothouse"
    target = kubeconfig or (folder or Path.cwd()) / "kubeconfig"
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.cluster import Spokes

    settings = Settings(port=port, token_auth_file=token_auth_file, shared_store=bool(etcd_servers))
    etcd = Etcd(split(etcd_servers)) if etcd_servers else None
    spokes = Spokes(
        nodes=nodes, startup_delay=startup_delay, serve=serve, scheduler_config=scheduler_config,
        scheduler_plugins=tuple(plugin_file or ()),
        cloud="" if cloud_provider == "none" else cloud_provider,
        cloud_config=_cloud_settings(cloud_config, load_balancer_addresses),
        access=access_of(dns_port, dns_answers, dns_resolvers, cluster_domain, proxy_mode, nodeport_addresses),
    )  # fmt: skip
    raise typer.Exit(run_command(lambda: _up(settings, folder, etcd, spokes, target)))


def _cloud_settings(config: Path | None, addresses: str) -> str:
    """What the provider reads: a file, or what one flag says."""
    if addresses:
        return f"addresses: {addresses}\n"
    try:
        return config.read_text() if config is not None else ""
    except OSError as error:
        fail(f"--cloud-config: {config}: {error.strerror or error}")


async def _up(settings: Settings, folder: Path | None, etcd: Etcd | None, spokes: Spokes, kubeconfig: Path) -> int:
    from pilothouse.apiserver.process import tune_garbage_collector
    from pilothouse.clock import SystemClock
    from pilothouse.cluster import ApiHub, Cluster

    clock = SystemClock()
    hub = ApiHub(settings, folder, clock, etcd.store(clock) if etcd else None)
    cluster = Cluster(hub, spokes)
    await cluster.start()
    tune_garbage_collector()
    cluster.hub.write_kubeconfig(kubeconfig)
    seconds = time.perf_counter() - STARTED
    told = "1 simulated node" if spokes.nodes == 1 else f"{spokes.nodes} simulated nodes"
    typer.echo(
        f"Pilothouse is ready after {seconds:.2f} s with {told}: export KUBECONFIG={kubeconfig.resolve()}; kubectl get nodes   (Ctrl-C stops)"
    )
    if cluster.access is not None and cluster.access.dns_address is not None:
        host, number = cluster.access.dns_address
        typer.echo(f"Names of its Services: dig @{host} -p {number} kubernetes.default.svc.{cluster.access.zone}")
    await until_signal()
    await cluster.stop()
    return 0


@app.command()
def apiserver(
    data_dir: DataDir = None,
    secure_port: ServerPort = 6443,
    bind_address: ServerAddress = "127.0.0.1",
    cert_dir: CertDir = None,
    tls_cert_file: ServerCertificate = None,
    tls_private_key_file: ServerKey = None,
    client_ca_file: ClientCa = None,
    token_auth_file: TokenFileOption = None,
    authorization_mode: AuthorizationMode = "Node,RBAC",
    enable_admission_plugins: EnableAdmission = "",
    disable_admission_plugins: DisableAdmission = "",
    admission_control_config_file: AdmissionConfig = None,
    service_cluster_ip_range: ServiceRange = "10.96.0.0/16",
    service_node_port_range: NodePorts = "30000-32767",
    service_account_issuer: Issuer = "https://kubernetes.default.svc.cluster.local",
    service_account_key_file: AccountKeys = None,
    service_account_signing_key_file: AccountSigningKey = None,
    etcd_servers: EtcdServers = "",
    storage_media_type: Annotated[
        str, typer.Option("--storage-media-type", help="How objects are stored: application/json.")
    ] = "application/json",
    runtime_config: Annotated[
        str,
        typer.Option("--runtime-config", help="API versions and resources to switch on or off: apps/v1=false,api/beta=false."),
    ] = "",
    feature_gates: Annotated[
        str,
        typer.Option(
            "--feature-gates", help="Name=true|false pairs; a gate can only be given the value it has in a stock 1.36 server."
        ),
    ] = "",
    etcd_cafile: EtcdCa = None,
    etcd_certfile: EtcdCertificate = None,
    etcd_keyfile: EtcdKey = None,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig-out", help="Write the administrator's kubeconfig here.")
    ] = None,
) -> None:
    """Run the API server alone, on the embedded store or on etcd."""
    if etcd_servers and data_dir:
        fail("--etcd-servers and --data-dir exclude each other")
    if storage_media_type != "application/json":
        fail(f"--storage-media-type: {storage_media_type} is not supported: objects are stored as application/json")
    from pilothouse.apiserver.allocators import NodePortRange
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.apiserver.authz.modes import parse_modes

    try:
        low, _, high = service_node_port_range.partition("-")
        settings = Settings(
            cert_dir, port=secure_port, bind_address=bind_address, tls_cert_file=tls_cert_file,
            tls_private_key_file=tls_private_key_file, client_ca_file=client_ca_file, token_auth_file=token_auth_file,
            authorization_modes=parse_modes(authorization_mode), enable_admission_plugins=split(enable_admission_plugins),
            disable_admission_plugins=split(disable_admission_plugins),
            admission_control_config_file=admission_control_config_file, service_ranges=split(service_cluster_ip_range),
            node_ports=NodePortRange(int(low), int(high)), service_account_issuers=(service_account_issuer,),
            service_account_key_files=tuple(service_account_key_file or ()), service_account_signing_key_file=service_account_signing_key_file,
            runtime_config=split(runtime_config), feature_gates=split(feature_gates),
            shared_store=bool(etcd_servers),
        )  # fmt: skip
    except ValueError as error:
        fail(str(error))
    etcd = Etcd(split(etcd_servers), etcd_cafile, etcd_certfile, etcd_keyfile) if etcd_servers else None
    raise typer.Exit(run_command(lambda: _apiserver(settings, data_dir, kubeconfig, etcd)))


@dataclass(frozen=True, slots=True)
class Etcd:
    """Where an etcd cluster is, and how to be trusted by it."""

    servers: tuple[str, ...]
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None

    def store(self, clock: Clock) -> Store:
        # What this process starts (HAProxy) begins another program at once: gRPC need not make its threads ready for a fork, and say so.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        from pilothouse.store.etcd import EtcdStore
        from pilothouse.store.etcd_connection import Credentials

        return EtcdStore(self.servers, clock, Credentials(self.cafile, self.certfile, self.keyfile))


async def _apiserver(settings: Settings, data_dir: Path | None, kubeconfig: Path | None, etcd: Etcd | None = None) -> int:
    from pilothouse.apiserver.process import tune_garbage_collector
    from pilothouse.clock import SystemClock
    from pilothouse.cluster import ApiHub

    clock = SystemClock()
    hub = ApiHub(settings, data_dir, clock, etcd.store(clock) if etcd else None)
    await hub.server.start()
    tune_garbage_collector()
    if kubeconfig is not None:
        hub.write_kubeconfig(kubeconfig)
    typer.echo(f"The API server is ready after {time.perf_counter() - STARTED:.2f} s at {hub.url}")
    await until_signal()
    await hub.server.stop()
    return 0


@app.command()
def scheduler(
    kubeconfig: Annotated[
        Path | None,
        typer.Option("--kubeconfig", help="How to reach the API server (default: clientConnection.kubeconfig of --config)."),
    ] = None,
    leader_elect: Annotated[
        bool | None,
        typer.Option("--leader-elect/--no-leader-elect", help="Work only while holding the Lease (default: as --config says)."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A KubeSchedulerConfiguration file.")] = None,
    plugin_file: PluginFiles = None,
    secure_port: Annotated[int, typer.Option("--secure-port", help="Port of /metrics and /healthz; 0: none.")] = 10259,
    bind_address: OwnAddress = "0.0.0.0",
    tls_cert_file: OwnCertificate = None,
    tls_private_key_file: OwnKey = None,
) -> None:
    """Run the scheduler alone, against any Kubernetes API server."""
    from pilothouse.client.serving import Serving

    serving = Serving(secure_port, bind_address, tls_cert_file, tls_private_key_file)
    raise typer.Exit(run_command(lambda: _scheduler(kubeconfig, leader_elect, config, plugin_file or [], serving)))


async def _scheduler(
    kubeconfig: Path | None, elect: bool | None, config: Path | None, plugins: list[Path], serving: Serving
) -> int:
    from pilothouse.client.events import default_identity
    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.client.leaderelection import LeaderElector
    from pilothouse.client.serving import ComponentServer
    from pilothouse.clock import SystemClock
    from pilothouse.scheduler.loading import load_config
    from pilothouse.scheduler.scheduler import Scheduler

    parsed = load_config(config, plugins)
    path = kubeconfig or parsed.kubeconfig
    if path is None:
        raise ValueError("--kubeconfig is needed, or a --config with clientConnection.kubeconfig")
    transport = HttpTransport(load(path), "kube-scheduler")
    clock = SystemClock()
    made = Scheduler(transport, clock, parsed)
    server = ComponentServer(
        serving, transport, clock, made.metrics.text, {"informer-sync": lambda: made.synced is not False}
    )  # one that waits for the lease has nothing to sync
    if serving.port:
        await server.start()
    try:
        lease = parsed.lease
        if lease.elect if elect is None else elect:
            elector = LeaderElector(transport, clock, lease.namespace, lease.name, default_identity())
            return await work_until_signal(elector.run(made.run))
        return await work_until_signal(made.run())
    finally:
        await server.stop()


@app.command()
def nodes(
    kubeconfig: Kubeconfig,
    count: NodeCount = 1,
    prefix: NodePrefix = "node-",
    startup_delay: StartupDelay = 0.0,
    cloud_provider: ExternalCloud = "",
    serve: Serve = True,
) -> None:
    """Run simulated nodes alone, against any Kubernetes API server."""
    external = is_external(cloud_provider)
    from pilothouse.nodes.simulated import NodeOptions

    options = NodeOptions(count, prefix, startup_delay=startup_delay, external=external, serve=serve)
    raise typer.Exit(run_command(lambda: _nodes(kubeconfig, options)))


async def _nodes(kubeconfig: Path, options: NodeOptions) -> int:
    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.clock import SystemClock
    from pilothouse.nodes.provisioner import LocalProvisioner
    from pilothouse.nodes.simulated import SimulatedNodes

    transport = HttpTransport(load(kubeconfig), "pilothouse-nodes")
    clock = SystemClock()
    nodes = SimulatedNodes(transport, clock, options)
    return await work_until_signal(together(nodes.run(), LocalProvisioner(transport, clock).run()))


access.register(app)
controllers.register(app)
cloud.register(app)
insight.register(app)


if __name__ == "__main__":
    main()

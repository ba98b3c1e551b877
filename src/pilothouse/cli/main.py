"""The `pilothouse` command: `up` for a whole cluster, or one component at a time with Kubernetes' own flags."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pilothouse.cli import insight
from pilothouse.cli.insight import PluginFiles
from pilothouse.cli.one_line import Commands
from pilothouse.cli.options import (
    AccountCredentials,
    AccountKeys,
    AccountPrivateKey,
    AccountSigningKey,
    AdmissionConfig,
    AuthorizationMode,
    CertDir,
    ClientCa,
    DataDir,
    DisableAdmission,
    EnableAdmission,
    EtcdCa,
    EtcdCertificate,
    EtcdKey,
    EtcdServers,
    Issuer,
    Kubeconfig,
    LeaderElect,
    NodeCount,
    NodeMask6,
    NodePorts,
    NodePrefix,
    OptionalKubeconfig,
    OwnAddress,
    OwnCertificate,
    OwnKey,
    RootCa,
    ServerAddress,
    ServerCertificate,
    ServerKey,
    ServerPort,
    ServiceRange,
    StartupDelay,
    TokenFileOption,
)

if TYPE_CHECKING:
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.client.serving import Serving
    from pilothouse.clock import Clock
    from pilothouse.cluster import Spokes
    from pilothouse.controllers.manager import Options
    from pilothouse.store.interface import Store

STARTED = time.perf_counter()

app = typer.Typer(
    cls=Commands, help="A Kubernetes control plane in Python.", no_args_is_help=True, pretty_exceptions_enable=False
)


def fail(message: str) -> None:
    """One line, exit code 2."""
    typer.echo(f"pilothouse: {message}", err=True)
    raise typer.Exit(2)


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
    scheduler_config: Annotated[
        Path | None, typer.Option("--scheduler-config", help="A KubeSchedulerConfiguration file, followed when it is written.")
    ] = None,
    plugin_file: PluginFiles = None,
) -> None:
    """Run a whole cluster on this machine until Ctrl-C. The nodes are simulated."""
    if memory and (data_dir or etcd_servers):
        fail("--memory excludes --data-dir and --etcd-servers")
    folder = None if memory else data_dir or Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "pilothouse"
    target = kubeconfig or (folder or Path.cwd()) / "kubeconfig"
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.cluster import Spokes

    settings = Settings(port=port, token_auth_file=token_auth_file, shared_store=bool(etcd_servers))
    etcd = Etcd(_split(etcd_servers)) if etcd_servers else None
    spokes = Spokes(
        nodes=nodes, startup_delay=startup_delay, scheduler_config=scheduler_config, scheduler_plugins=tuple(plugin_file or ())
    )
    raise typer.Exit(_run(lambda: _up(settings, folder, etcd, spokes, target)))


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
    await _until_signal()
    await cluster.stop()
    return 0


async def _until_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for s in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(s, stop.set)
    await stop.wait()


def _run(main: object) -> int:
    """Run an async main; what a user can mend becomes one line and exit code 2."""
    from pilothouse.client.kubeconfig import KubeconfigError
    from pilothouse.cluster import run
    from pilothouse.store.interface import StoreError

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return run(main)  # type: ignore[arg-type]
    except (StoreError, KubeconfigError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}" + (": choose another --port" if error.errno == 98 else ""))
    return 2


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
            authorization_modes=parse_modes(authorization_mode), enable_admission_plugins=_split(enable_admission_plugins),
            disable_admission_plugins=_split(disable_admission_plugins),
            admission_control_config_file=admission_control_config_file, service_ranges=_split(service_cluster_ip_range),
            node_ports=NodePortRange(int(low), int(high)), service_account_issuers=(service_account_issuer,),
            service_account_key_files=tuple(service_account_key_file or ()), service_account_signing_key_file=service_account_signing_key_file,
            runtime_config=_split(runtime_config), feature_gates=_split(feature_gates),
            shared_store=bool(etcd_servers),
        )  # fmt: skip
    except ValueError as error:
        fail(str(error))
    etcd = Etcd(_split(etcd_servers), etcd_cafile, etcd_certfile, etcd_keyfile) if etcd_servers else None
    raise typer.Exit(_run(lambda: _apiserver(settings, data_dir, kubeconfig, etcd)))


@dataclass(frozen=True, slots=True)
class Etcd:
    """Where an etcd cluster is, and how to be trusted by it."""

    servers: tuple[str, ...]
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None

    def store(self, clock: Clock) -> Store:
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
    await _until_signal()
    await hub.server.stop()
    return 0


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@app.command("controller-manager")
def controller_manager(
    kubeconfig: OptionalKubeconfig = None,
    leader_elect: LeaderElect = True,
    use_service_account_credentials: AccountCredentials = False,
    root_ca_file: RootCa = None,
    service_account_private_key_file: AccountPrivateKey = None,
    cluster_signing_cert_file: Annotated[
        Path | None, typer.Option("--cluster-signing-cert-file", help="PEM certificate of the authority that signs requests.")
    ] = None,
    cluster_signing_key_file: Annotated[
        Path | None, typer.Option("--cluster-signing-key-file", help="PEM key of that authority.")
    ] = None,
    allocate_node_cidrs: Annotated[
        bool, typer.Option("--allocate-node-cidrs", help="Give each node a range of pod addresses.")
    ] = False,
    cluster_cidr: Annotated[str, typer.Option("--cluster-cidr", help="The ranges that these are taken from.")] = "",
    node_cidr_mask_size: Annotated[int, typer.Option("--node-cidr-mask-size", help="Bits of a node's IPv4 range.")] = 24,
    node_cidr_mask_size_ipv6: NodeMask6 = 64,
    horizontal_pod_autoscaler_sync_period: Annotated[
        str, typer.Option("--horizontal-pod-autoscaler-sync-period", help="Between two looks at an autoscaler, such as 15s.")
    ] = "15s",
    horizontal_pod_autoscaler_downscale_stabilization: Annotated[
        str, typer.Option("--horizontal-pod-autoscaler-downscale-stabilization", help="For how long a higher size holds.")
    ] = "5m",
    horizontal_pod_autoscaler_tolerance: Annotated[
        float, typer.Option("--horizontal-pod-autoscaler-tolerance", min=0.0, help="How far from the target nothing is done.")
    ] = 0.1,
    terminated_pod_gc_threshold: Annotated[
        int, typer.Option("--terminated-pod-gc-threshold", help="Finished pods that are kept; 0: all.")
    ] = 12500,
    controllers: Annotated[str, typer.Option("--controllers", help="`*`, names, or -names.")] = "*",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A KubeControllerManagerConfiguration file; what it says stands before the flags."),
    ] = None,
    secure_port: Annotated[int, typer.Option("--secure-port", help="Port of /metrics and /healthz; 0: none.")] = 10257,
    bind_address: OwnAddress = "0.0.0.0",
    tls_cert_file: OwnCertificate = None,
    tls_private_key_file: OwnKey = None,
) -> None:
    """Run the controllers alone, against any Kubernetes API server."""
    from pilothouse.client.serving import Serving
    from pilothouse.controllers.config import FileConfig, parse_config
    from pilothouse.controllers.manager import Options

    try:
        file = parse_config(_read_yaml(config)) if config else FileConfig()
        root_ca = Path(file.root_ca_file) if file.root_ca_file else root_ca_file
        key = Path(file.service_account_key_file) if file.service_account_key_file else service_account_private_key_file
        settings: dict[str, Any] = {
            "terminated_pod_gc_threshold": terminated_pod_gc_threshold,
            "hpa_sync_period": _seconds("--horizontal-pod-autoscaler-sync-period", horizontal_pod_autoscaler_sync_period),
            "hpa_downscale_stabilization": _seconds(
                "--horizontal-pod-autoscaler-downscale-stabilization", horizontal_pod_autoscaler_downscale_stabilization
            ),
            "hpa_tolerance": horizontal_pod_autoscaler_tolerance,
        }
        if allocate_node_cidrs:
            from pilothouse.controllers.node_ipam import pools

            masks = {4: node_cidr_mask_size, 6: node_cidr_mask_size_ipv6}
            pools(cluster_cidr, masks)
            settings |= {"allocate_node_cidrs": True, "cluster_cidr": cluster_cidr, "node_cidr_mask_sizes": masks}
        if root_ca:
            settings["root_ca"] = root_ca.read_text()
        if key:
            settings["service_account_private_key"] = key.read_bytes()
        if cluster_signing_cert_file and cluster_signing_key_file:
            settings["cluster_signing_cert"] = cluster_signing_cert_file.read_bytes()
            settings["cluster_signing_key"] = cluster_signing_key_file.read_bytes()
        elif cluster_signing_cert_file or cluster_signing_key_file:
            fail("--cluster-signing-cert-file and --cluster-signing-key-file go together")
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    target = Path(file.kubeconfig) if file.kubeconfig else kubeconfig
    if target is None:
        fail("--kubeconfig is needed: which cluster, and as whom")
        return
    accounts = file.use_service_account_credentials
    options = Options(
        _split(controllers) if file.controllers is None else file.controllers,
        concurrency=file.concurrency,
        leader_elect=leader_elect if file.leader_elect is None else file.leader_elect,
        use_service_account_credentials=use_service_account_credentials if accounts is None else accounts,
        settings=settings,
    )
    serving = Serving(secure_port, bind_address, tls_cert_file, tls_private_key_file)
    raise typer.Exit(_run(lambda: _controllers(target, options, serving)))


def _seconds(flag: str, text: str) -> float:
    """A duration such as `1m30s` in seconds. ValueError, in one line, if it is none."""
    parts = re.findall(r"([0-9.]+)(h|ms|m|s)", text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise ValueError(f"{flag}: {text!r} is no duration such as 1m30s")
    return sum(float(amount) * {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}[unit] for amount, unit in parts)


def _read_yaml(path: Path) -> object:
    """A decoded file. ValueError, in one line, if it is not YAML."""
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


async def _controllers(kubeconfig: Path, options: Options, serving: Serving) -> int:
    from dataclasses import replace

    from pilothouse.client.events import default_identity
    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.client.serving import ComponentServer
    from pilothouse.clock import SystemClock
    from pilothouse.controllers.manager import ControllerManager

    connection = load(kubeconfig)
    options = replace(options, identity=default_identity())
    clock = SystemClock()

    def make(token: str | None) -> HttpTransport:
        return HttpTransport(connection if token is None else connection.as_bearer(token), "kube-controller-manager")

    manager = ControllerManager(make, clock, options)
    server = ComponentServer(serving, make(None), clock, manager.metrics, parts=manager.checks)
    if serving.port:
        await server.start()
    try:
        return await _work(manager.run())
    finally:
        await server.stop()


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
    raise typer.Exit(_run(lambda: _scheduler(kubeconfig, leader_elect, config, plugin_file or [], serving)))


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
            return await _work(elector.run(made.run))
        return await _work(made.run())
    finally:
        await server.stop()


@app.command()
def nodes(
    kubeconfig: Kubeconfig,
    count: NodeCount = 1,
    prefix: NodePrefix = "node-",
    startup_delay: StartupDelay = 0.0,
) -> None:
    """Run simulated nodes alone, against any Kubernetes API server."""
    raise typer.Exit(_run(lambda: _nodes(kubeconfig, count, prefix, startup_delay)))


async def _nodes(kubeconfig: Path, count: int, prefix: str, startup_delay: float) -> int:
    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.clock import SystemClock
    from pilothouse.nodes.provisioner import LocalProvisioner
    from pilothouse.nodes.simulated import NodeOptions, SimulatedNodes

    transport = HttpTransport(load(kubeconfig), "pilothouse-nodes")
    clock = SystemClock()
    nodes = SimulatedNodes(transport, clock, NodeOptions(count, prefix, startup_delay=startup_delay))
    return await _work(_together(nodes.run(), LocalProvisioner(transport, clock).run()))


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Several components until one of them fails."""
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)


async def _work(work: object) -> int:
    """Run until a signal (0), or until the work ends by itself (1): it has lost its lease."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    stop = asyncio.ensure_future(_until_signal())
    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
    for t in (task, stop):
        t.cancel()
    results = await asyncio.gather(task, stop, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    if stop.cancelled():
        typer.echo("pilothouse: leader election lost", err=True)
        return 1
    return 0


insight.register(app)


if __name__ == "__main__":
    main()

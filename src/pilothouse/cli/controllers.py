"""`pilothouse controller-manager`: the controllers alone, with kube-controller-manager's flags."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pilothouse.cli.options import (
    AccountCredentials,
    AccountPrivateKey,
    AllocateNodeCidrs,
    ClusterCidr,
    Controllers,
    ExternalCloud,
    LeaderElect,
    NodeMask6,
    OptionalKubeconfig,
    OwnAddress,
    OwnCertificate,
    OwnKey,
    RootCa,
)
from pilothouse.cli.running import fail, is_external, read_yaml, run_command, seconds, split

if TYPE_CHECKING:
    from pilothouse.client.reconcile.credentials import TransportFactory
    from pilothouse.client.reconcile.manager import ControllerManager, Options
    from pilothouse.clock import Clock

#: The flags that set how many workers a controller has, and how many it has without.
WORKERS = {
    "concurrent-cron-job-syncs": ("cronjob-controller", 5),
    "concurrent-daemonset-syncs": ("daemonset-controller", 2),
    "concurrent-deployment-syncs": ("deployment-controller", 5),
    "concurrent-endpoint-syncs": ("endpoints-controller", 5),
    "concurrent-ephemeralvolume-syncs": ("ephemeral-volume-controller", 5),
    "concurrent-gc-syncs": ("garbage-collector-controller", 20),
    "concurrent-horizontal-pod-autoscaler-syncs": ("horizontal-pod-autoscaler-controller", 5),
    "concurrent-job-syncs": ("job-controller", 5),
    "concurrent-namespace-syncs": ("namespace-controller", 10),
    "concurrent-rc-syncs": ("replicationcontroller-controller", 5),
    "concurrent-replicaset-syncs": ("replicaset-controller", 5),
    "concurrent-resource-claim-syncs": ("resourceclaim-controller", 5),
    "concurrent-resource-quota-syncs": ("resourcequota-controller", 5),
    "concurrent-service-endpoint-syncs": ("endpointslice-controller", 5),
    "concurrent-serviceaccount-token-syncs": ("serviceaccount-token-controller", 5),
    "concurrent-statefulset-syncs": ("statefulset-controller", 5),
    "concurrent-ttl-after-finished-syncs": ("ttl-after-finished-controller", 5),
    "concurrent-validating-admission-policy-status-syncs": ("validatingadmissionpolicy-status-controller", 5),
    "mirroring-concurrent-service-endpoint-syncs": ("endpointslice-mirroring-controller", 5),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("controller-manager")(_with_workers(controller_manager))


def _with_workers(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a flag for each entry of WORKERS; it gets them as `workers`, by the controllers' names."""

    def with_flags(**given: Any) -> None:
        workers = {controller: given.pop(flag.replace("-", "_")) for flag, (controller, _) in WORKERS.items()}
        command(**given, workers=workers)

    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "workers"]
    for flag, (controller, default) in WORKERS.items():
        option = typer.Option(f"--{flag}", min=1, help=f"Workers of the {controller}.")
        name = flag.replace("-", "_")
        own.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[int, option]))
    with_flags.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {p.name: p.annotation for p in own}
    with_flags.__doc__ = command.__doc__
    return with_flags


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
    allocate_node_cidrs: AllocateNodeCidrs = False,
    cluster_cidr: ClusterCidr = "",
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
    controllers: Controllers = "*",
    cloud_provider: ExternalCloud = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A KubeControllerManagerConfiguration file; what it says stands before the flags."),
    ] = None,
    secure_port: Annotated[int, typer.Option("--secure-port", help="Port of /metrics and /healthz; 0: none.")] = 10257,
    bind_address: OwnAddress = "0.0.0.0",
    tls_cert_file: OwnCertificate = None,
    tls_private_key_file: OwnKey = None,
    workers: dict[str, int] | None = None,
) -> None:
    """Run the controllers alone, against any Kubernetes API server."""
    from pilothouse.client.reconcile.manager import Options
    from pilothouse.client.serving import Serving
    from pilothouse.controllers.config import FileConfig, parse_config

    is_external(cloud_provider)  # which makes no difference: no cloud's controllers are run here
    try:
        file = parse_config(read_yaml(config)) if config else FileConfig()
        root_ca = Path(file.root_ca_file) if file.root_ca_file else root_ca_file
        key = Path(file.service_account_key_file) if file.service_account_key_file else service_account_private_key_file
        settings: dict[str, Any] = {
            "terminated_pod_gc_threshold": terminated_pod_gc_threshold,
            "hpa_sync_period": seconds("--horizontal-pod-autoscaler-sync-period", horizontal_pod_autoscaler_sync_period),
            "hpa_downscale_stabilization": seconds(
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
        split(controllers) if file.controllers is None else file.controllers,
        concurrency={**(workers or {}), **file.concurrency},
        leader_elect=leader_elect if file.leader_elect is None else file.leader_elect,
        use_service_account_credentials=use_service_account_credentials if accounts is None else accounts,
        settings=settings,
    )
    serving = Serving(secure_port, bind_address, tls_cert_file, tls_private_key_file)

    def build(make: TransportFactory, clock: Clock, options: Options) -> ControllerManager:
        from pilothouse.client.reconcile.manager import ControllerManager
        from pilothouse.controllers.registry import PROGRAM

        return ControllerManager(PROGRAM, make, clock, options)

    from pilothouse.cli.managing import run_manager

    raise typer.Exit(run_command(lambda: run_manager("kube-controller-manager", target, options, serving, build)))

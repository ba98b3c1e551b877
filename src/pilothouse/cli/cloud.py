"""`pilothouse cloud-controller-manager`: the controllers of a cloud alone, with the flags of Kubernetes' cloud-controller-managers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pilothouse.cli.options import (
    AccountCredentials,
    AllocateNodeCidrs,
    ClusterCidr,
    Controllers,
    LeaderElect,
    OptionalKubeconfig,
    OwnAddress,
    OwnCertificate,
    OwnKey,
)
from pilothouse.cli.running import fail, run_command, seconds, split

if TYPE_CHECKING:
    from pilothouse.client.reconcile.credentials import TransportFactory
    from pilothouse.client.reconcile.manager import ControllerManager, Options
    from pilothouse.clock import Clock


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cloud-controller-manager")(cloud_controller_manager)


def cloud_controller_manager(
    cloud_provider: Annotated[
        str, typer.Option("--cloud-provider", help="The provider, by the name that it is published under.")
    ] = "",
    cloud_config: Annotated[
        Path | None,
        typer.Option("--cloud-config", help="The provider's configuration; what is in it is the provider's business."),
    ] = None,
    cluster_name: Annotated[
        str, typer.Option("--cluster-name", help="What the cluster is called at the cloud; its things are known by it.")
    ] = "kubernetes",
    kubeconfig: OptionalKubeconfig = None,
    leader_elect: LeaderElect = True,
    use_service_account_credentials: AccountCredentials = False,
    controllers: Controllers = "*",
    configure_cloud_routes: Annotated[
        bool,
        typer.Option(
            "--configure-cloud-routes/--no-configure-cloud-routes",
            help="Make routes to the nodes' ranges, with --allocate-node-cidrs and --cluster-cidr.",
        ),
    ] = True,
    allocate_node_cidrs: AllocateNodeCidrs = False,
    cluster_cidr: ClusterCidr = "",
    route_reconciliation_period: Annotated[
        str, typer.Option("--route-reconciliation-period", help="Between two looks at the routes.")
    ] = "10s",
    node_monitor_period: Annotated[
        str, typer.Option("--node-monitor-period", help="Between two looks at the instances of nodes that are not ready.")
    ] = "5s",
    node_status_update_frequency: Annotated[
        str, typer.Option("--node-status-update-frequency", help="Between two looks at the addresses of nodes.")
    ] = "5m",
    node_sync_period: Annotated[
        str, typer.Option("--node-sync-period", help="Has no effect; --node-monitor-period and --route-reconciliation-period do.")
    ] = "0s",
    concurrent_service_syncs: Annotated[
        int, typer.Option("--concurrent-service-syncs", min=1, help="Workers of the service-lb-controller.")
    ] = 1,
    concurrent_node_syncs: Annotated[
        int, typer.Option("--concurrent-node-syncs", min=1, help="Workers of the cloud-node-controller.")
    ] = 1,
    install_gateway_api: Annotated[
        bool,
        typer.Option(
            "--install-gateway-api/--no-install-gateway-api",
            help="Install the Gateway API's definitions where there are none, and offer the GatewayClass pilothouse.",
        ),
    ] = True,
    install_ingress_class: Annotated[
        bool,
        typer.Option(
            "--install-ingress-class/--no-install-ingress-class",
            help="Offer the IngressClass pilothouse, as the default where there is no other.",
        ),
    ] = True,
    secure_port: Annotated[int, typer.Option("--secure-port", help="Port of /metrics and /healthz; 0: none.")] = 10258,
    bind_address: OwnAddress = "0.0.0.0",
    tls_cert_file: OwnCertificate = None,
    tls_private_key_file: OwnKey = None,
) -> None:
    """Run the controllers of a cloud alone, against any Kubernetes API server."""
    from pilothouse.client.reconcile.manager import Options
    from pilothouse.client.serving import Serving
    from pilothouse.clock import SystemClock
    from pilothouse.cloud.provider import load
    from pilothouse.cloud.route import cluster_networks

    if not cloud_provider:
        fail("--cloud-provider is needed: which cloud")
    try:
        settings: dict[str, Any] = {
            "cluster_name": cluster_name,
            "install_gateway_api": install_gateway_api,
            "install_ingress_class": install_ingress_class,
            "configure_cloud_routes": configure_cloud_routes,
            "allocate_node_cidrs": allocate_node_cidrs,
            "cluster_cidr": cluster_cidr,
            "route_reconciliation_period": seconds("--route-reconciliation-period", route_reconciliation_period),
            "node_monitor_period": seconds("--node-monitor-period", node_monitor_period),
            "node_status_update_frequency": seconds("--node-status-update-frequency", node_status_update_frequency),
        }
        seconds("--node-sync-period", node_sync_period)
        if not cluster_networks(cluster_cidr) and allocate_node_cidrs and configure_cloud_routes:
            fail("--allocate-node-cidrs: routes to nodes need the ranges of --cluster-cidr")
        provider = load(cloud_provider, cloud_config.read_text() if cloud_config else "", SystemClock())
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    if kubeconfig is None:
        fail("--kubeconfig is needed: which cluster, and as whom")
    options = Options(
        split(controllers),
        concurrency={"service-lb-controller": concurrent_service_syncs, "cloud-node-controller": concurrent_node_syncs},
        leader_elect=leader_elect,
        use_service_account_credentials=use_service_account_credentials,
        settings=settings,
    )
    serving = Serving(secure_port, bind_address, tls_cert_file, tls_private_key_file)

    def build(make: TransportFactory, clock: Clock, options: Options) -> ControllerManager:
        from pilothouse.cloud.component import make_manager

        return make_manager(provider, make, clock, options)

    from pilothouse.cli.managing import run_manager

    raise typer.Exit(run_command(lambda: run_manager("cloud-controller-manager", kubeconfig, options, serving, build)))

"""The controllers of the cloud-controller-manager, by the names that Kubernetes gives them.

What a controller `needs` are parts of the provider by their names (`guard.PARTS`) and flags: one without its part does not run.
"""

from __future__ import annotations

from pilothouse.client.reconcile.entries import Entry, Program

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "cloud-node-controller",
        "cloud-node",
        "pilothouse.cloud.node:CloudNodeController",
        "node-controller",
        start_after=0.0,  # nodes take no pods before
        needs=("instances",),
    ),
    Entry(
        "cloud-node-lifecycle-controller",
        "cloud-node-lifecycle",
        "pilothouse.cloud.node_lifecycle:CloudNodeLifecycleController",
        "node-controller",
        needs=("instances",),
    ),
    Entry(
        "service-lb-controller",
        "service",
        "pilothouse.cloud.service:ServiceController",
        "service-controller",
        component="service-controller",
        start_after=0.0,
        needs=("load_balancers",),
    ),
    Entry(
        "node-route-controller",
        "route",
        "pilothouse.cloud.route:RouteController",
        "route-controller",
        component="route_controller",
        needs=("routes", "allocate_node_cidrs", "configure_cloud_routes", "cluster_cidr"),
    ),
    # Ours; they act as the component itself.
    Entry(
        "gateway-class-controller",
        "gateway-class",
        "pilothouse.cloud.gateway.gateway_class:GatewayClassController",
        "",
        needs=("gateways",),
    ),
    Entry(
        "gateway-controller",
        "gateway",
        "pilothouse.cloud.gateway.gateway:GatewayController",
        "",
        needs=("gateways",),
    ),
    Entry(
        "ingress-controller",
        "ingress",
        "pilothouse.cloud.gateway.ingress:IngressController",
        "",
        needs=("gateways",),
    ),
)

PROGRAM = Program("cloud-controller-manager", ENTRIES)

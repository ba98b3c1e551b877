"""node-route-controller: for each node's ranges of pod addresses a route at the cloud, and nothing else within the cluster's ranges.

What became of them is the node's condition NetworkUnavailable. Reference: "Cloud Controller Manager: route controller"; `--cluster-cidr`,
`--configure-cloud-routes`, `--route-reconciliation-period`. Left out: routes that follow the addresses of nodes, reconciliation by watching (alpha).
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from pilothouse.api.errors import StatusError
from pilothouse.client import metrics
from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.kit import Context, RoundsController, gather, is_not_found
from pilothouse.client.reconcile.objects import Obj, condition, pod_ranges, uid
from pilothouse.clock import rfc3339
from pilothouse.cloud.provider import CloudError, Route, Routes

log = logging.getLogger(__name__)

#: Seconds between two rounds (`--route-reconciliation-period`).
PERIOD = 10.0
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> list[Network]:
    """A `--cluster-cidr`. ValueError if it is none."""
    return [ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def cluster_networks(text: str) -> list[Network]:
    """The networks of a `--cluster-cidr`: none, one, or one of each family. ValueError, in one line, if it is something else."""
    try:
        out = networks(text)
    except ValueError as error:
        raise ValueError(f"--cluster-cidr: {error}") from None
    if len({n.version for n in out}) != len(out):
        raise ValueError(f"--cluster-cidr: {text} has two ranges of one family")
    return out


def is_ours(route: Route, clusters: Iterable[Network]) -> bool:
    """Whether a route begins or ends within the cluster's ranges; others at the cloud are not ours to touch."""
    try:
        destination = ipaddress.ip_network(route.destination, strict=False)
    except ValueError:
        return False
    return any(destination.network_address in c or destination.broadcast_address in c for c in clusters)


def stale(routes: Iterable[Route], nodes: Iterable[Obj], clusters: Sequence[Network]) -> list[Route]:
    """The routes that lead nowhere, or to a node that does not have this range; and all but one of those that lead to the same."""
    wanted = {(n["metadata"]["name"], r) for n in nodes for r in pod_ranges(n)}
    seen: Counter[tuple[str, str]] = Counter()
    out = []
    for route in routes:
        if not is_ours(route, clusters):
            continue
        pair = (route.node, route.destination)
        if not route.blackhole and pair in wanted:
            seen[pair] += 1
        if route.blackhole or pair not in wanted or seen[pair] > 1:
            out.append(route)
    return out


class RouteController(RoundsController):
    name = "node-route-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.routes: Routes = context.options["routes"]
        self.cluster: str = context.options["cluster_name"]
        self.networks = networks(context.options["cluster_cidr"])
        self.period = context.options.get("route_reconciliation_period", PERIOD)
        self._syncs = metrics.Counter("route_controller_route_sync_total", "Looks at all routes of the cluster.")
        self.metrics = (self._syncs,)
        self.nodes = self.cache(NODES)

    async def round(self) -> None:
        """Remove what is stale, make what is missing, and tell the nodes."""
        self._syncs.add()
        nodes = list(self.nodes.list())
        found = await self.routes.list(self.cluster)
        old = stale(found, nodes, self.networks)
        for route in old:
            await self._delete(route)
        there = {(r.node, r.destination) for r in found if r not in old}
        known = {r.node for r in found}
        for error in await gather(*(self._serve(node, there, node["metadata"]["name"] in known) for node in nodes)):
            log.warning("%s: %s", self.name, error)

    async def _delete(self, route: Route) -> None:
        try:
            await self.routes.delete(self.cluster, route)
        except CloudError as error:
            log.warning("route %s to %s could not be deleted: %s", route.name, route.destination, error)

    async def _serve(self, node: Obj, there: set[tuple[str, str]], had_routes: bool) -> None:
        """Make the routes of a node. One without ranges has no network, if it ever had routes."""
        name, ranges = node["metadata"]["name"], pod_ranges(node)
        if not ranges and not had_routes:
            return
        made = [await self._create(node, r) for r in ranges if (name, r) not in there]
        await self._tell(node, bool(ranges) and all(made))

    async def _create(self, node: Obj, destination: str) -> bool:
        name, hint = node["metadata"]["name"], uid(node)
        began = self.clock.monotonic()
        try:
            await self.routes.create(self.cluster, Route(hint, name, destination), node)
        except CloudError as error:
            took = f"{self.clock.monotonic() - began:.3f}s"
            told = f"Could not create route {hint} {destination} for node {name} after {took}: {error}"
            about = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "uid": name}}  # as a kubelet tells of itself
            self.context.event(about, NODES, "Warning", "FailedToCreateRoute", told)
            return False
        return True

    async def _tell(self, node: Obj, there: bool) -> None:
        status = "False" if there else "True"
        before = condition(node, "NetworkUnavailable")
        if before is not None and before["status"] == status:
            return
        now = rfc3339(self.clock.now())
        told = {
            "type": "NetworkUnavailable",
            "status": status,
            "reason": "RouteCreated" if there else "NoRouteCreated",
            "message": "RouteController created a route" if there else "RouteController failed to create a route",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        try:
            await self.api.patch(NODES, "", node["metadata"]["name"], {"status": {"conditions": [told]}}, "strategic", "status")
        except StatusError as error:
            if not is_not_found(error):
                raise

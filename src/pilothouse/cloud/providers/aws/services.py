"""Load balancers of Services. See `nlb.py` for what a Service asks for, `stack.py` for how it comes about.

Where targets are pods, their coming and going is followed here: controllers call only when the Service or the nodes change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.client.reconcile.objects import key as key_of
from pilothouse.client.reconcile.objects import split_key, uid
from pilothouse.client.service_endpoints import ServiceEndpoints, Target, families
from pilothouse.cloud.locks import KeyedLocks
from pilothouse.cloud.provider import CloudError, ImplementedElsewhere, Surroundings, default_name
from pilothouse.cloud.providers.aws import nlb
from pilothouse.cloud.providers.aws.annotations import PREFIX
from pilothouse.cloud.providers.aws.balancers import Known
from pilothouse.cloud.providers.aws.config import Settings
from pilothouse.cloud.providers.aws.follow import Follower
from pilothouse.cloud.providers.aws.instances import Ec2Instances
from pilothouse.cloud.providers.aws.model import Balancer, Owner, Permission, Subnet
from pilothouse.cloud.providers.aws.network import ANYWHERE, Network
from pilothouse.cloud.providers.aws.stack import Own, Present, Stacks, Wanted, group_name

Obj = dict[str, Any]
log = logging.getLogger("pilothouse.cloud.aws")


class NetworkLoadBalancers:
    """See `cloud/provider.py`."""

    def __init__(
        self,
        settings: Settings,
        around: Surroundings,
        instances: Ec2Instances,
        network: Network,
        stacks: Stacks,
        endpoints: ServiceEndpoints,
        follower: Follower,
    ) -> None:
        self._settings = settings
        self._instances = instances
        self._network = network
        self._stacks = stacks
        self._endpoints = endpoints
        self._follower = follower
        self._services = around.cache(SERVICES)
        self._locks = KeyedLocks()
        #: By the Service's uid: what is open to it, so that targets that come and go need not ask.
        self._opened: dict[str, Own | None] = {}

    def name(self, cluster: str, service: Obj) -> str:
        return nlb.name_of(service)

    async def get(self, cluster: str, service: Obj) -> Obj | None:
        self._refuse(service)
        found = await self._stacks.balancers.owned(self._owner(cluster, service), default_name(service))
        return _status(found.mine[0]) if found.mine else None

    async def ensure(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> Obj:
        self._refuse(service)
        async with self._locks.hold(uid(service)):
            return await self._ensure(cluster, service, nodes)

    async def update(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> None:
        self._refuse(service)
        async with self._locks.hold(uid(service)):
            await self._refill(cluster, service, nodes)

    async def ensure_deleted(self, cluster: str, service: Obj) -> None:
        """Also where another controller takes care of it now: what was made here before bears our tags, and nobody else deletes it."""
        self._follower.leave(key_of(service))
        async with self._locks.hold(uid(service)):
            self._opened.pop(uid(service), None)
            await self._stacks.delete(self._owner(cluster, service), default_name(service))

    def _refuse(self, service: Obj) -> None:
        """ImplementedElsewhere for what another controller takes care of."""
        wanted = service["spec"].get("loadBalancerClass")
        if wanted:
            raise ImplementedElsewhere(f"load balancers of the class {wanted!r} are not made here")
        kind = (service["metadata"].get("annotations") or {}).get(f"{PREFIX}type", "")
        if kind and kind in self._settings.leave_types:
            raise ImplementedElsewhere(f"load balancers of the type {kind!r} are not made here")

    def _owner(self, cluster: str, service: Obj) -> Owner:
        return nlb.owner_of(service, self._settings.cluster or cluster)

    async def _ensure(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> Obj:
        instances = await self._instances.of_nodes(nodes)
        wish = nlb.read(service, nodes, instances, self._targets(service))
        self._follow(cluster, service, nodes, wish)
        owner = self._owner(cluster, service)
        present = await self._stacks.present(owner, default_name(service))
        vpc = present.balancer.told["VpcId"] if present.balancer else await self._network.vpc(_any(instances))
        internal = _internal(wish, present)
        balancer = Balancer(
            name=wish.name,
            kind="network",
            internal=internal,
            subnets=await self._subnets(wish, owner, vpc, internal, present),
            groups=await self._other_groups(wish, vpc),
            listeners=wish.listeners,
            attributes=wish.attributes,
            tags=wish.tags,
            family=wish.family,
        )
        own = await self._own(wish, owner, vpc, internal, list(instances.values()))
        wanted = Wanted(default_name(service), vpc, balancer, own, wish.target_groups)
        self._opened.pop(uid(service), None)
        made = await self._stacks.ensure(owner, wanted, present)
        self._opened[uid(service)] = own
        return _status(made)

    async def _subnets(self, wish: nlb.Wish, owner: Owner, vpc: str, internal: bool, present: Present) -> tuple[Subnet, ...]:
        if wish.subnets:
            found = await self._network.named(wish.subnets, vpc)
        else:
            before = present.balancer.subnets if present.balancer else []
            found = await self._network.discovered(vpc, owner.cluster, internal, before)
        for what, values, fits in (
            ("eip-allocations", wish.allocations, not internal),
            ("private-ipv4-addresses", wish.private_ipv4, internal),
            ("ipv6-addresses", wish.ipv6, wish.family == "dualstack"),
        ):
            if values and not fits:
                raise CloudError(f"annotation {PREFIX}{what}: not for a load balancer of this scheme or address type")
            if values and len(values) != len(found):
                raise CloudError(f"annotation {PREFIX}{what}: {len(values)} are named for {len(found)} subnets")
        return tuple(
            Subnet(s["SubnetId"], _nth(wish.allocations, n), _nth(wish.private_ipv4, n), _nth(wish.ipv6, n))
            for n, s in enumerate(found)
        )

    async def _other_groups(self, wish: nlb.Wish, vpc: str) -> tuple[str, ...]:
        names = [*wish.groups, *wish.extra_groups]
        if self._settings.balancer_group and not wish.groups:
            names.insert(0, self._settings.balancer_group)
        return tuple(dict.fromkeys(await self._stacks.groups.named(names, vpc)))

    async def _own(self, wish: nlb.Wish, owner: Owner, vpc: str, internal: bool, instances: list[Obj]) -> Own | None:
        """Its own group: what listens, from whom; and the way on to the nodes. None where the user has chosen groups and opens nodes himself."""
        given = bool(wish.groups or self._settings.balancer_group)
        opens = wish.opens_nodes and not self._settings.leave_node_groups
        if given and (not opens or self._settings.balancer_group):
            return None
        ingress = frozenset() if given else frozenset(await self._ingress(wish, vpc, internal))
        nodes = await self._stacks.groups.of_nodes(instances, owner.cluster) if opens else set()
        return Own(ingress, dict.fromkeys(nodes, wish.inner))

    async def _ingress(self, wish: nlb.Wish, vpc: str, internal: bool) -> Iterable[Permission]:
        sources = [*wish.source_ranges, *wish.prefix_lists]
        if not sources and internal and wish.as_controller:
            ranges = await self._network.cidrs(vpc)
            sources = [c for c in ranges if ":" not in c or wish.family == "dualstack"]
        if not sources:
            sources = [*ANYWHERE[wish.family]]
        protocols = {"TCP": ("tcp",), "TLS": ("tcp",), "UDP": ("udp",), "TCP_UDP": ("tcp", "udp")}
        return [
            Permission(protocol, listener.port, listener.port, source)
            for listener in wish.listeners
            for protocol in protocols[listener.protocol]
            for source in sources
        ]

    async def _refill(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> None:
        """Only the targets, and the way to them; all of it where something is missing."""
        instances = await self._instances.of_nodes(nodes)
        wish = nlb.read(service, nodes, instances, self._targets(service))
        self._follow(cluster, service, nodes, wish)
        owner = self._owner(cluster, service)
        known = {k.name: k for k in await self._stacks.targets.owned(owner)}
        vpc = next((k.told["VpcId"] for k in known.values()), "")
        wanted = {g.name(owner, vpc): g for g in wish.target_groups}
        if set(wanted) - set(known):
            await self._ensure(cluster, service, nodes)
            return
        own = await self._own(wish, owner, vpc, bool(wish.internal), list(instances.values()))
        before = self._opened.get(uid(service))
        if own is not None and (before is None or before.nodes != own.nodes):
            for group in await self._stacks.groups.owned(owner, group_name(default_name(service))):
                await self._stacks.let_in(owner, group["GroupId"], own)
        self._opened[uid(service)] = own
        for name, target_group in wanted.items():
            await self._stacks.targets.fill(known[name].arn, target_group)

    def _targets(self, service: Obj) -> Callable[[str], Iterable[Target]]:
        return lambda port: self._endpoints.of(key_of(service), port, families(service)[0])

    def _follow(self, cluster: str, service: Obj, nodes: Sequence[Obj], wish: nlb.Wish) -> None:
        key = key_of(service)
        if wish.target_type != "ip":
            self._follower.leave(key)
            return

        async def again() -> None:
            now = self._services.get(*split_key(key))
            if now is not None and uid(now) == uid(service):
                await self.update(cluster, now, nodes)

        self._follower.follow(key, {key}, again)


def _internal(wish: nlb.Wish, present: Present) -> bool:
    """What is said; else as it is; else what whoever is asked in this way would do."""
    if wish.internal is not None:
        return wish.internal
    return present.balancer.internal if present.balancer else wish.as_controller


def _any(instances: dict[str, Obj]) -> Obj | None:
    return next(iter(instances.values()), None)


def _nth(values: Sequence[str], n: int) -> str:
    return values[n] if values else ""


def _status(known: Known) -> Obj:
    return {"ingress": [{"hostname": known.host}]}

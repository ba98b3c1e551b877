"""Gateways, and the Ingresses of a class, as application load balancers. See `alb.py` for what a plan asks for, `stack.py` for how it comes about.

Plans come when routes change. What else counts is followed here: endpoints where pods are targets, node ports, and nodes that come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.client.reconcile.kinds import NODES, SERVICES
from pilothouse.client.reconcile.objects import key as key_of
from pilothouse.client.service_endpoints import ServiceEndpoints
from pilothouse.cloud.locks import KeyedLocks
from pilothouse.cloud.provider import AddressNotUsable, CloudError, GatewayPlan, GatewayState, RetryAfter, Surroundings
from pilothouse.cloud.providers.aws import alb
from pilothouse.cloud.providers.aws.annotations import GATEWAY_PREFIX, Annotations
from pilothouse.cloud.providers.aws.certificates import Certificates, digest_of
from pilothouse.cloud.providers.aws.config import Settings
from pilothouse.cloud.providers.aws.follow import Follower
from pilothouse.cloud.providers.aws.instances import Ec2Instances
from pilothouse.cloud.providers.aws.model import Balancer, Owner, Permission, Subnet, digest
from pilothouse.cloud.providers.aws.network import ANYWHERE, Network
from pilothouse.cloud.providers.aws.stack import Own, Present, Stacks, Wanted, group_name
from pilothouse.cloud.service_plan import is_eligible

Obj = dict[str, Any]

#: Under these names the follower is told of nodes and of Services; of endpoints by the Service's key.
_NODES, _SERVICE = "nodes", "service "


class ApplicationLoadBalancers:
    """See `cloud/provider.py`."""

    def __init__(
        self,
        settings: Settings,
        around: Surroundings,
        instances: Ec2Instances,
        network: Network,
        stacks: Stacks,
        certificates: Certificates,
        endpoints: ServiceEndpoints,
        follower: Follower,
    ) -> None:
        self._settings = settings
        self._cluster = settings.cluster or around.cluster
        self._instances = instances
        self._network = network
        self._stacks = stacks
        self._certificates = certificates
        self._endpoints = endpoints
        self._follower = follower
        self._services = around.cache(SERVICES)
        self._nodes = around.cache(NODES)
        self._locks = KeyedLocks()
        #: By plan: what is open to it, so that targets that come and go need not ask.
        self._opened: dict[str, Own | None] = {}
        self._services.add_handler(self._service_changed)
        self._nodes.add_handler(self._node_changed)

    async def ensure(self, plan: GatewayPlan) -> GatewayState:
        async with self._locks.hold(plan.key):
            return await self._ensure(plan)

    async def ensure_deleted(self, key: str) -> None:
        self._follower.leave(key)
        async with self._locks.hold(key):
            owner = self._owner(key)
            self._opened.pop(key, None)
            await self._stacks.delete(owner, _default_name(owner))
            for arn in (await self._certificates.owned(owner)).values():
                await self._certificates.delete(arn)

    def _owner(self, key: str) -> Owner:
        kind, _, name = key.partition("/")
        return Owner(self._cluster, key, {f"kubernetes.io/{kind.lower()}-name": name})

    async def _ensure(self, plan: GatewayPlan) -> GatewayState:
        owner = self._owner(plan.key)
        told = Annotations(plan.annotations, GATEWAY_PREFIX)
        present = await self._stacks.present(owner, _default_name(owner))
        _check_addresses(plan, present)
        instances = await self._of_nodes()
        certificates = await self._certificates.owned(owner)
        arns = await self._certificates.ensure(owner, alb.certificates_of(plan), certificates)
        wish = alb.read(plan, self._around(instances), arns)
        self._follow(plan, wish)
        vpc = present.balancer.told["VpcId"] if present.balancer else await self._network.vpc(next(iter(instances), None))
        internal = _internal(told, present)
        family = told.choice("ip-address-type", "ipv4", "dualstack") or "ipv4"
        balancer = Balancer(
            name=told.text("load-balancer-name", _default_name(owner)),
            kind="application",
            internal=internal,
            subnets=await self._subnets(told, owner, vpc, internal, present),
            groups=await self._groups(told, vpc),
            listeners=wish.listeners,
            attributes=told.pairs("load-balancer-attributes"),
            tags=told.pairs("tags"),
            family=family,
        )
        own = await self._own(told, owner, wish, family, instances)
        wanted = Wanted(_default_name(owner), vpc, balancer, own, wish.target_groups)
        self._opened.pop(plan.key, None)
        made = await self._stacks.ensure(owner, wanted, present)
        self._opened[plan.key] = own
        await self._tidy(plan, certificates)
        return GatewayState(({"type": "Hostname", "value": made.host},), dict(wish.problems))

    async def _tidy(self, plan: GatewayPlan, known: dict[str, str]) -> None:
        """Certificates that no listener needs any more. AWS takes a while to notice: until then they stay, and are looked at again."""
        needed = {digest_of(c) for c in alb.certificates_of(plan)}
        for content, arn in known.items():
            if content in needed:
                continue
            try:
                await self._certificates.delete(arn)
            except RetryAfter as later:
                self._follower.soon(plan.key, later.seconds)

    def _around(self, instances: Sequence[Obj]) -> alb.Cluster:
        return alb.Cluster(self._services.get, self._endpoints.of, instances)

    async def _of_nodes(self) -> list[Obj]:
        taking = [n for n in self._nodes.list() if is_eligible(n)]
        return list((await self._instances.of_nodes(taking)).values())

    async def _subnets(self, told: Annotations, owner: Owner, vpc: str, internal: bool, present: Present) -> tuple[Subnet, ...]:
        if names := told.words("subnets"):
            found = await self._network.named(names, vpc)
        else:
            before = present.balancer.subnets if present.balancer else []
            found = await self._network.discovered(vpc, owner.cluster, internal, before)
        if len(found) < 2:
            raise CloudError("an application load balancer needs subnets in two zones at least")
        return tuple(Subnet(s["SubnetId"]) for s in found)

    async def _groups(self, told: Annotations, vpc: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(await self._stacks.groups.named(told.words("security-groups"), vpc)))

    async def _own(self, told: Annotations, owner: Owner, wish: alb.Wish, family: str, instances: Sequence[Obj]) -> Own | None:
        given = bool(told.words("security-groups"))
        said = told.flag("manage-backend-security-group-rules")
        opens = not self._settings.leave_node_groups and (not given if said is None else said)
        if given and not opens:
            return None
        sources = told.words("inbound-cidrs") or ANYWHERE[family]
        ports = () if given else tuple(listener.port for listener in wish.listeners)
        ingress = frozenset(Permission("tcp", port, port, source) for port in ports for source in sources)
        nodes = await self._stacks.groups.of_nodes(instances, owner.cluster) if opens else set()
        return Own(ingress, dict.fromkeys(nodes, wish.inner))

    def _follow(self, plan: GatewayPlan, wish: alb.Wish) -> None:
        async def again() -> None:
            async with self._locks.hold(plan.key):
                if self._follower.follows(plan.key, again):
                    await self._refill(plan)

        names = {*(f"{_SERVICE}{s}" for s in wish.services), _NODES}
        self._follower.follow(plan.key, names | wish.services, again)

    async def _refill(self, plan: GatewayPlan) -> None:
        """The targets and the way to them; all of it where something is missing."""
        owner = self._owner(plan.key)
        instances = await self._of_nodes()
        certificates = await self._certificates.owned(owner)
        needed = {c: certificates.get(digest_of(c), "") for c in alb.certificates_of(plan)}
        wish = alb.read(plan, self._around(instances), needed)
        known = {k.name: k for k in await self._stacks.targets.owned(owner)}
        vpc = next((k.told["VpcId"] for k in known.values()), "")
        wanted = {g.name(owner, vpc): g for g in wish.target_groups}
        if set(wanted) != set(known) or len(certificates) != len(needed):
            await self._ensure(plan)
            return
        told = Annotations(plan.annotations, GATEWAY_PREFIX)
        own = await self._own(told, owner, wish, "ipv4", instances)
        before = self._opened.get(plan.key)
        if own is not None and (before is None or before.nodes != own.nodes):
            for group in await self._stacks.groups.owned(owner, group_name(_default_name(owner))):
                await self._stacks.let_in(owner, group["GroupId"], own)
        self._opened[plan.key] = own
        for name, target_group in wanted.items():
            await self._stacks.targets.fill(known[name].arn, target_group)

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, after = (s["spec"].get("ports") if s else None for s in (old, new))
        if before != after:
            self._follower.changed({f"{_SERVICE}{key_of(new or old or {})}"})

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if _identity(old) != _identity(new):
            self._follower.changed({_NODES})


def _identity(node: Obj | None) -> tuple[Any, ...]:
    """What of a node counts for load balancers."""
    return () if node is None else (is_eligible(node), (node.get("spec") or {}).get("providerID"))


def _default_name(owner: Owner) -> str:
    return f"k8s-{digest(owner.cluster, owner.key)}"


def _internal(told: Annotations, present: Present) -> bool:
    if scheme := told.choice("scheme", "internal", "internet-facing"):
        return scheme == "internal"
    return present.balancer.internal if present.balancer else True


def _check_addresses(plan: GatewayPlan, present: Present) -> None:
    """A load balancer has the name that AWS gives it, and no other."""
    names = {known.host for known in present.found.mine}
    for kind, value in plan.wanted:
        if value and (kind != "Hostname" or value not in names):
            raise AddressNotUsable(f"the address {value!r} cannot be had: AWS gives application load balancers their names")

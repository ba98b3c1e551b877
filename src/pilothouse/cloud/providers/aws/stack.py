"""Everything that one owner has at AWS, in the order in which it can be made, changed and taken away.

Made: the security group, the nodes' rules, target groups, the load balancer, its listeners; then what is no longer wanted goes. Each step
finds what an earlier try has left, so it does not matter where that one ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pilothouse.clock import Clock
from pilothouse.cloud.providers.aws.balancers import Balancers, Found
from pilothouse.cloud.providers.aws.balancers import Known as KnownBalancer
from pilothouse.cloud.providers.aws.calls import Calls
from pilothouse.cloud.providers.aws.groups import SecurityGroups
from pilothouse.cloud.providers.aws.model import Balancer, Owner, Permission, TargetGroup
from pilothouse.cloud.providers.aws.targets import Known as KnownGroup
from pilothouse.cloud.providers.aws.targets import TargetGroups

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Present:
    """What an owner has."""

    found: Found
    target_groups: tuple[KnownGroup, ...]
    groups: tuple[Obj, ...]

    @property
    def balancer(self) -> KnownBalancer | None:
        return next(iter(self.found.mine), None)


@dataclass(frozen=True, slots=True)
class Own:
    """A security group of its own for the load balancer: what may come in, and (protocol, port) by nodes' group of what may go on."""

    ingress: frozenset[Permission]
    nodes: Mapping[str, frozenset[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an owner is to have. `balancer.groups` are security groups besides the load balancer's own."""

    default_name: str
    vpc: str
    balancer: Balancer
    own: Own | None
    target_groups: tuple[TargetGroup, ...]


def group_name(default_name: str) -> str:
    """What the own security group of a load balancer with this default name is called."""
    return f"k8s-elb-{default_name}"


class Stacks:
    """Load balancers with all that belongs to them."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self.balancers = Balancers(calls, clock)
        self.targets = TargetGroups(calls)
        self.groups = SecurityGroups(calls)

    async def present(self, owner: Owner, default_name: str) -> Present:
        return Present(
            await self.balancers.owned(owner, default_name),
            tuple(await self.targets.owned(owner)),
            tuple(await self.groups.owned(owner, group_name(default_name))),
        )

    async def ensure(self, owner: Owner, wanted: Wanted, present: Present) -> KnownBalancer:
        tags = {**wanted.balancer.tags, **owner.tags}
        groups = wanted.balancer.groups
        if wanted.own is not None:
            name = group_name(wanted.default_name)
            group = await self.groups.ensure(owner, name, wanted.vpc, tags, wanted.own.ingress, present.groups)
            await self.let_in(owner, group, wanted.own)
            groups = (group, *groups)
        arns = await self.targets.ensure(owner, wanted.vpc, wanted.target_groups, tags, present.target_groups)
        balancer = replace(wanted.balancer, groups=groups, tags=tags)
        made = await self.balancers.ensure(balancer, present.found, arns)
        for extra in present.target_groups:
            if extra.arn not in arns.values():
                await self.targets.delete(extra.arn)
        for old in present.groups:
            if old["GroupId"] not in groups:
                await self.groups.delete(old["GroupId"], owner)
        return made

    async def let_in(self, owner: Owner, group: str, own: Own) -> None:
        rules = {
            nodes: frozenset(Permission(protocol, port, port, group) for protocol, port in ports)
            for nodes, ports in own.nodes.items()
        }
        await self.groups.let_in(group, rules, owner)

    async def delete(self, owner: Owner, default_name: str) -> None:
        """Whatever there is of it. RetryAfter while AWS still needs something for what went before."""
        present = await self.present(owner, default_name)
        for balancer in present.found.mine:
            await self.balancers.delete(balancer)
        for target_group in present.target_groups:
            await self.targets.delete(target_group.arn)
        for group in present.groups:
            await self.groups.delete(group["GroupId"], owner)

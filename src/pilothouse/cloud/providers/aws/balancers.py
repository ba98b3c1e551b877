"""Load balancers of either kind: found, made, kept as they should be, and deleted.

Reference: Elastic Load Balancing's API, version 2015-12-01. A load balancer is its owner's by its tags; one whose default name holds its
Service's uid is so even without, because somebody may have removed them. What cannot be changed (the scheme) makes a new one in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.clock import Clock
from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.calls import Calls, tag_list, tag_map
from pilothouse.cloud.providers.aws.listeners import Listeners
from pilothouse.cloud.providers.aws.model import OWNER_TAG, Balancer, Owner
from pilothouse.cloud.providers.aws.targets import tags_of

Obj = dict[str, Any]

#: Seconds for which a load balancer without an owner is not asked again.
STRANGE = 600.0
#: Names that others of ours have for certain: what bears one of them need not be asked for its tags.
_DEFAULT_NAMES = re.compile(r"a[0-9a-f]{31}|k8s-[0-9a-f]{10}")


@dataclass(frozen=True, slots=True)
class Known:
    """A load balancer as AWS describes it."""

    told: Obj
    tags: dict[str, str]

    @property
    def arn(self) -> str:
        return self.told["LoadBalancerArn"]

    @property
    def internal(self) -> bool:
        return self.told.get("Scheme") == "internal"

    @property
    def host(self) -> str:
        """Names of hosts are told in small letters, whatever letters its name has."""
        return self.told["DNSName"].lower()

    @property
    def subnets(self) -> list[str]:
        return [z["SubnetId"] for z in self.told.get("AvailabilityZones") or ()]


@dataclass(frozen=True, slots=True)
class Found:
    """An owner's load balancers, and the names that all others have."""

    mine: tuple[Known, ...]
    taken: frozenset[str]


class Balancers:
    """Load balancers of all owners."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._listeners = Listeners(calls)
        #: When those of nobody in a cluster were last asked for their tags.
        self._strangers: dict[str, float] = {}

    async def owned(self, owner: Owner, default_name: str) -> Found:
        """The one with the default name comes first, should there be several."""
        told = await self._calls.pages("elbv2", "describe_load_balancers", "LoadBalancers")
        self._forget({b["LoadBalancerArn"] for b in told})
        maybe = [b for b in told if b["LoadBalancerName"] == default_name or self._may_be_ours(b)]
        tags = await tags_of(self._calls, [b["LoadBalancerArn"] for b in maybe])
        found = [Known(b, tags.get(b["LoadBalancerArn"], {})) for b in maybe]
        mine = [k for k in found if _is_of(owner, k, default_name)]
        now = self._clock.monotonic()
        self._strangers |= {k.arn: now for k in found if k not in mine and OWNER_TAG not in k.tags}
        mine.sort(key=lambda k: (k.told["LoadBalancerName"] != default_name, k.arn))
        arns = {k.arn for k in mine}
        return Found(tuple(mine), frozenset(b["LoadBalancerName"] for b in told if b["LoadBalancerArn"] not in arns))

    def _may_be_ours(self, told: Obj) -> bool:
        return told["LoadBalancerArn"] not in self._strangers and not _DEFAULT_NAMES.fullmatch(told["LoadBalancerName"])

    def _forget(self, there: set[str]) -> None:
        """Somebody may have given a stranger our tags."""
        now = self._clock.monotonic()
        self._strangers = {a: t for a, t in self._strangers.items() if a in there and now - t < STRANGE}

    async def ensure(self, wanted: Balancer, found: Found, arns: Mapping[str, str]) -> Known:
        """Bring it to what is wanted. `arns` are those of the target groups by key."""
        there = next((k for k in found.mine if _can_become(k, wanted)), None)
        for extra in found.mine:
            if extra is not there:
                await self.delete(extra)
        if there is None:
            if wanted.name in found.taken:
                raise CloudError(f"a load balancer {wanted.name!r} is there already and belongs to somebody else")
            there = await self._create(wanted)
        else:
            await self._mend(wanted, there)
        await self._attributes(wanted, there.arn)
        await self._listeners.ensure(there.arn, wanted.listeners, arns, wanted.tags)
        return there

    async def delete(self, known: Known) -> None:
        """Its listeners go with it."""
        await self._calls.call("elbv2", "delete_load_balancer", LoadBalancerArn=known.arn)

    async def _create(self, wanted: Balancer) -> Known:
        exact = any(len(s.mapping) > 1 for s in wanted.subnets)
        answer = await self._calls.call(
            "elbv2",
            "create_load_balancer",
            Name=wanted.name,
            Type=wanted.kind,
            Scheme="internal" if wanted.internal else "internet-facing",
            IpAddressType=wanted.family,
            Subnets=None if exact else [s.id for s in wanted.subnets],
            SubnetMappings=[s.mapping for s in wanted.subnets] if exact else None,
            SecurityGroups=list(wanted.groups) or None,
            Tags=tag_list(wanted.tags),
        )
        return Known(answer["LoadBalancers"][0], dict(wanted.tags))

    async def _mend(self, wanted: Balancer, there: Known) -> None:
        call = self._calls.call
        if missing := {k: v for k, v in wanted.tags.items() if there.tags.get(k) != v}:
            await call("elbv2", "add_tags", ResourceArns=[there.arn], Tags=tag_list(missing))
        if there.told.get("IpAddressType", "ipv4") != wanted.family:
            await call("elbv2", "set_ip_address_type", LoadBalancerArn=there.arn, IpAddressType=wanted.family)
        groups = set(there.told.get("SecurityGroups") or ())
        # A network load balancer that was made without a group never gets one.
        if set(wanted.groups) != groups and (groups or wanted.kind == "application"):
            await call("elbv2", "set_security_groups", LoadBalancerArn=there.arn, SecurityGroups=list(wanted.groups))
        if {s.id for s in wanted.subnets} != set(there.subnets):
            mappings = [s.mapping for s in wanted.subnets]
            await call("elbv2", "set_subnets", LoadBalancerArn=there.arn, SubnetMappings=mappings)

    async def _attributes(self, wanted: Balancer, arn: str) -> None:
        if not wanted.attributes:
            return
        answer = await self._calls.call("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)
        there = tag_map(answer["Attributes"])
        if differ := {k: v for k, v in wanted.attributes.items() if there.get(k) != v}:
            await self._calls.call("elbv2", "modify_load_balancer_attributes", LoadBalancerArn=arn, Attributes=tag_list(differ))


def _can_become(known: Known, wanted: Balancer) -> bool:
    """Whether what cannot be changed is as wanted."""
    failed = (known.told.get("State") or {}).get("Code") == "failed"
    return known.told["Type"] == wanted.kind and known.internal == wanted.internal and not failed


def _is_of(owner: Owner, known: Known, default_name: str) -> bool:
    if owner.owns(known.tags):
        return True
    return known.told["LoadBalancerName"] == default_name and OWNER_TAG not in known.tags

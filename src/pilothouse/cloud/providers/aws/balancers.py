"""Load balancers of either kind: found, made, kept as they should be, and deleted.

Reference: Elastic Load Balancing's API, version 2015-12-01. A load balancer is its owner's by its tags; one whose default name holds its
Service's uid is so even without, because somebody may have removed them. What cannot be changed (the scheme) makes a new one in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.calls import AwsError, Calls, tag_list, tag_map
from pilothouse.cloud.providers.aws.listeners import Listeners
from pilothouse.cloud.providers.aws.model import OWNER_TAG, Balancer, Owner
from pilothouse.cloud.providers.aws.targets import tags_of

Obj = dict[str, Any]

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
    def subnets(self) -> list[str]:
        return [z["SubnetId"] for z in self.told.get("AvailabilityZones") or ()]


class Balancers:
    """Load balancers of all owners."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._listeners = Listeners(calls)

    async def owned(self, owner: Owner, default_name: str) -> list[Known]:
        """The owner's; the one with the default name first, should there be several."""
        told = await self._calls.pages("elbv2", "describe_load_balancers", "LoadBalancers")
        maybe = [b for b in told if b["LoadBalancerName"] == default_name or not _DEFAULT_NAMES.fullmatch(b["LoadBalancerName"])]
        tags = await tags_of(self._calls, [b["LoadBalancerArn"] for b in maybe])
        found = [Known(b, tags.get(b["LoadBalancerArn"], {})) for b in maybe]
        mine = [k for k in found if _is_of(owner, k, default_name)]
        return sorted(mine, key=lambda k: (k.told["LoadBalancerName"] != default_name, k.arn))

    async def ensure(self, owner: Owner, wanted: Balancer, known: Sequence[Known], arns: Mapping[str, str]) -> Known:
        """Bring it to what is wanted. `arns` are those of the target groups by key."""
        there = next((k for k in known if k.told["Type"] == wanted.kind and k.internal == wanted.internal), None)
        for extra in known:
            if extra is not there:
                await self.delete(extra)
        if there is None:
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
        try:
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
        except AwsError as error:
            if error.code == "DuplicateLoadBalancerName":
                raise CloudError(f"a load balancer {wanted.name!r} exists already and belongs to somebody else") from error
            raise
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


def _is_of(owner: Owner, known: Known, default_name: str) -> bool:
    if owner.owns(known.tags):
        return True
    return known.told["LoadBalancerName"] == default_name and OWNER_TAG not in known.tags

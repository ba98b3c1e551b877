"""Where in a VPC load balancers live: the VPC itself, and one subnet in each availability zone.

Reference: subnet discovery of the AWS Load Balancer Controller and of the AWS cloud provider. Subnets are those that are named (by id or by
their tag Name), or those of the VPC with the role's tag (`kubernetes.io/role/elb`, `kubernetes.io/role/internal-elb`), or, where none has it,
those with the cluster's tag that fit: a load balancer that faces the internet needs a route to an internet gateway. Subnets that bear another
cluster's tag, and not this one's, are left out. Of several in one zone the one with this cluster's tag is taken, then the one that was
taken before, then the one with the least id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.calls import Calls, filters, tag_map
from pilothouse.cloud.providers.aws.config import Settings

Obj = dict[str, Any]

PUBLIC, INTERNAL = "kubernetes.io/role/elb", "kubernetes.io/role/internal-elb"
CLUSTER = "kubernetes.io/cluster/"
#: By the address type of a load balancer: who may come in where nothing else is said.
ANYWHERE = {"ipv4": ("0.0.0.0/0",), "dualstack": ("0.0.0.0/0", "::/0")}


class Network:
    """Questions about the VPC."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._calls = calls
        self._settings = settings
        self._vpc = settings.vpc

    async def vpc(self, instance: Obj | None = None) -> str:
        """The configured VPC, or that of the configured subnet, or that of a node's instance."""
        if self._vpc:
            return self._vpc
        if self._settings.subnet:
            self._vpc = (await self.named([self._settings.subnet], ""))[0]["VpcId"]
        elif instance is not None and instance.get("VpcId"):
            self._vpc = instance["VpcId"]
        else:
            raise CloudError("no VPC: set VPC in --cloud-config, or wait for a node")
        return self._vpc

    async def cidrs(self, vpc: str) -> list[str]:
        """The address ranges of a VPC, IPv4 and IPv6."""
        answer = await self._calls.call("ec2", "describe_vpcs", VpcIds=[vpc])
        found = answer["Vpcs"][0]
        v4 = [a["CidrBlock"] for a in found.get("CidrBlockAssociationSet") or () if _associated(a, "CidrBlockState")]
        v6 = [a["Ipv6CidrBlock"] for a in found.get("Ipv6CidrBlockAssociationSet") or () if _associated(a, "Ipv6CidrBlockState")]
        return (v4 or [found["CidrBlock"]]) + v6

    async def named(self, names: Sequence[str], vpc: str) -> list[Obj]:
        """Subnets by id or by the tag Name, in the order of the names. CloudError where one is not there."""
        ids = [n for n in names if n.startswith("subnet-")]
        others = [n for n in names if n not in ids]
        where = filters(vpc_id=vpc) if vpc else []
        found: list[Obj] = []
        if ids:
            found += await self._subnets([*where, *filters(subnet_id=ids)])
        if others:
            found += await self._subnets([*where, *filters(**{"tag:Name": others})])
        by_name = {s["SubnetId"]: s for s in found} | {tag_map(s.get("Tags")).get("Name", ""): s for s in found}
        missing = [n for n in names if n not in by_name]
        if missing:
            raise CloudError(f"there is no subnet {missing[0]!r}" + (f" in the VPC {vpc}" if vpc else ""))
        chosen = [by_name[n] for n in names]
        zones = [s["AvailabilityZone"] for s in chosen]
        if len(set(zones)) < len(zones):
            raise CloudError(f"the subnets {', '.join(names)} are not each in a zone of its own")
        return chosen

    async def discovered(self, vpc: str, cluster: str, internal: bool, before: Iterable[str] = ()) -> list[Obj]:
        """One subnet of each zone, in the order of zones."""
        role = INTERNAL if internal else PUBLIC
        own = CLUSTER + cluster
        subnets = [s for s in await self._subnets(filters(vpc_id=vpc)) if _may_use(s, own)]
        by_role = [s for s in subnets if tag_map(s.get("Tags")).get(role, "0") in ("", "1")]
        if not by_role:
            by_role = [s for s in subnets if own in tag_map(s.get("Tags"))]
            if not internal and by_role:
                by_role = await self._with_a_way_out(by_role, vpc)
        if not by_role and self._settings.subnet:
            by_role = [s for s in subnets if s["SubnetId"] == self._settings.subnet]
        if not by_role:
            raise CloudError(f"no subnet of the VPC {vpc} has the tag {role!r} or {own!r}")
        return one_per_zone(by_role, own, set(before))

    async def _subnets(self, way: list[Obj]) -> list[Obj]:
        return await self._calls.pages("ec2", "describe_subnets", "Subnets", Filters=way)

    async def _with_a_way_out(self, subnets: Sequence[Obj], vpc: str) -> list[Obj]:
        tables = await self._calls.pages("ec2", "describe_route_tables", "RouteTables", Filters=filters(vpc_id=vpc))
        return [s for s in subnets if faces_the_internet(s["SubnetId"], tables)]


def faces_the_internet(subnet: str, tables: Iterable[Obj]) -> bool:
    """Whether the subnet's route table (its own, else the main one) has a route to an internet gateway."""
    main: Obj | None = None
    for table in tables:
        for association in table.get("Associations") or ():
            if association.get("SubnetId") == subnet:
                return _has_gateway(table)
            if association.get("Main"):
                main = table
    return main is not None and _has_gateway(main)


def _has_gateway(table: Obj) -> bool:
    return any(str(r.get("GatewayId", "")).startswith("igw-") for r in table.get("Routes") or ())


def one_per_zone(subnets: Iterable[Obj], tag: str, before: set[str]) -> list[Obj]:
    """See the module."""

    def rank(subnet: Obj) -> tuple[bool, bool, str]:
        return tag not in tag_map(subnet.get("Tags")), subnet["SubnetId"] not in before, subnet["SubnetId"]

    best: dict[str, Obj] = {}
    for subnet in sorted(subnets, key=rank):
        best.setdefault(subnet["AvailabilityZone"], subnet)
    return [best[zone] for zone in sorted(best)]


def _may_use(subnet: Mapping[str, Any], own: str) -> bool:
    tags = tag_map(subnet.get("Tags"))
    return own in tags or not any(t.startswith(CLUSTER) for t in tags)


def _associated(association: Mapping[str, Any], state: str) -> bool:
    return (association.get(state) or {}).get("State") in (None, "associated")

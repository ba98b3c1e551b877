"""Security groups: one that is made for a load balancer, and the rules in the nodes' groups that let its traffic and its health checks in.

References: the security groups of the AWS Load Balancer Controller; EC2's rules of security groups. Rules of nodes' groups are known by
their source, which is the load balancer's own group: whoever's they are, when that group goes they have to go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.calls import AwsError, Calls, filters, tag_list, tag_map
from pilothouse.cloud.providers.aws.model import OWNER_TAG, Owner, Permission

Obj = dict[str, Any]

#: How many groups one request may name.
BATCH = 100


class SecurityGroups:
    """Groups of load balancers."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def owned(self, owner: Owner, name: str) -> list[Obj]:
        """The group that was made for an owner: names hold whose it is, so one that has lost its tags is found, too. One in each VPC at most."""
        found = await self._calls.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=filters(group_name=name))
        return [g for g in found if tag_map(g.get("Tags")).get(OWNER_TAG, owner.key) == owner.key]

    async def named(self, names: Sequence[str], vpc: str) -> list[str]:
        """Ids of groups by id or by the tag Name. CloudError where one is not there."""
        others = [n for n in names if not n.startswith("sg-")]
        ids: dict[str, str] = {}
        if others:
            way = filters(vpc_id=vpc, **{"tag:Name": others})
            for group in await self._calls.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=way):
                ids[tag_map(group.get("Tags"))["Name"]] = group["GroupId"]
        missing = [n for n in others if n not in ids]
        if missing:
            raise CloudError(f"there is no security group {missing[0]!r} in the VPC {vpc}")
        return [ids.get(n, n) for n in names]

    async def ensure(
        self, owner: Owner, name: str, vpc: str, tags: Mapping[str, str], ingress: Iterable[Permission], known: Sequence[Obj]
    ) -> str:
        """The owner's group with exactly these rules; `known` are those that are there. Its id."""
        group = next((g for g in known if g["VpcId"] == vpc), None)
        if group is None:
            group = await self._create(owner, name, vpc, tags)
        elif missing := {k: v for k, v in tags.items() if tag_map(group.get("Tags")).get(k) != v}:
            await self._calls.call("ec2", "create_tags", Resources=[group["GroupId"]], Tags=tag_list(missing))
        await self._sync(group["GroupId"], set(ingress), await self._rules([group["GroupId"]]), owner)
        return group["GroupId"]

    async def _create(self, owner: Owner, name: str, vpc: str, tags: Mapping[str, str]) -> Obj:
        answer = await self._calls.call(
            "ec2",
            "create_security_group",
            GroupName=name,
            Description=f"Load balancer of {owner.about.get('kubernetes.io/service-name') or owner.key}",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tag_list(tags)}],
        )
        return {"GroupId": answer["GroupId"]}

    async def let_in(self, source: str, wanted: Mapping[str, Iterable[Permission]], owner: Owner) -> None:
        """Exactly these rules from the load balancer's group, in the nodes' groups that are named, and none anywhere else."""
        there = await self._referring(source)
        groups = sorted({*there, *wanted})
        if not groups:
            return
        rules = [r for r in await self._rules(groups) if (r.get("ReferencedGroupInfo") or {}).get("GroupId") == source]
        for group in groups:
            await self._sync(group, set(wanted.get(group, ())), [r for r in rules if r["GroupId"] == group], owner)

    async def delete(self, group: str, owner: Owner) -> None:
        """First the rules that name it. RetryAfter while something else holds on to it."""
        await self.let_in(group, {}, owner)
        try:
            await self._calls.call("ec2", "delete_security_group", GroupId=group)
        except AwsError as error:
            if error.code != "InvalidGroup.NotFound":
                raise

    async def of_nodes(self, instances: Iterable[Obj], cluster: str) -> set[str]:
        """The group of each instance that lets load balancers in: its only one, or of several the one with the cluster's tag."""
        several: set[frozenset[str]] = set()
        found: set[str] = set()
        for instance in instances:
            groups = frozenset(g["GroupId"] for g in instance.get("SecurityGroups") or ())
            if len(groups) == 1:
                found |= groups
            elif groups:
                several.add(groups)
        if several:
            found |= await self._tagged(several, f"kubernetes.io/cluster/{cluster}")
        return found

    async def _tagged(self, several: Iterable[frozenset[str]], tag: str) -> set[str]:
        way = filters(**{"group-id": sorted(frozenset().union(*several)), "tag-key": tag})
        tagged = {g["GroupId"] for g in await self._calls.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=way)}
        for groups in several:
            if len(groups & tagged) != 1:
                names = ", ".join(sorted(groups))
                raise CloudError(f"exactly one of a node's security groups ({names}) needs the tag {tag!r}")
        return {g for groups in several for g in groups & tagged}

    async def _referring(self, source: str) -> set[str]:
        way = filters(**{"ip-permission.group-id": source})
        return {g["GroupId"] for g in await self._calls.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=way)}

    async def _rules(self, groups: Sequence[str]) -> list[Obj]:
        """Rules that let traffic in."""
        found: list[Obj] = []
        for start in range(0, len(groups), BATCH):
            found += await self._calls.pages(
                "ec2",
                "describe_security_group_rules",
                "SecurityGroupRules",
                Filters=filters(group_id=groups[start : start + BATCH]),
                MaxResults=1000,
            )
        return [r for r in found if not r.get("IsEgress")]

    async def _sync(self, group: str, wanted: set[Permission], rules: Iterable[Obj], owner: Owner) -> None:
        """New rules first, so that nothing that may pass is held up between."""
        there = {r["SecurityGroupRuleId"]: permission_of_api(r) for r in rules}
        missing = wanted - set(there.values())
        extra = [rule for rule, permission in there.items() if permission not in wanted]
        if missing:
            told = [permission_to_api(p, owner) for p in sorted(missing, key=lambda p: (p.protocol, p.first, p.source))]
            await self._calls.call("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=told)
        if extra:
            await self._calls.call("ec2", "revoke_security_group_ingress", GroupId=group, SecurityGroupRuleIds=extra)


def permission_to_api(permission: Permission, owner: Owner) -> Obj:
    about = f"pilothouse {owner.about.get('kubernetes.io/service-name') or owner.key}"
    source = permission.source
    told: Obj = {"IpProtocol": permission.protocol, "FromPort": permission.first, "ToPort": permission.last}
    if source.startswith("sg-"):
        told["UserIdGroupPairs"] = [{"GroupId": source, "Description": about}]
    elif source.startswith("pl-"):
        told["PrefixListIds"] = [{"PrefixListId": source, "Description": about}]
    elif ":" in source:
        told["Ipv6Ranges"] = [{"CidrIpv6": source, "Description": about}]
    else:
        told["IpRanges"] = [{"CidrIp": source, "Description": about}]
    return told


def permission_of_api(rule: Mapping[str, Any]) -> Permission:
    group = (rule.get("ReferencedGroupInfo") or {}).get("GroupId")
    source = group or rule.get("PrefixListId") or rule.get("CidrIpv6") or rule.get("CidrIpv4") or ""
    return Permission(rule["IpProtocol"], int(rule.get("FromPort", -1)), int(rule.get("ToPort", -1)), source)

"""Target groups: made, kept as they should be, filled, and deleted.

Reference: Elastic Load Balancing's API, version 2015-12-01. Their names begin with a digest of their owner, so one listing finds all of an
owner's, whatever became of the load balancer; tags prove it. A target that leaves is drained for as long as the group's attribute
`deregistration_delay.timeout_seconds` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.cloud.providers.aws.calls import AwsError, Calls, tag_list, tag_map
from pilothouse.cloud.providers.aws.model import Owner, TargetGroup

Obj = dict[str, Any]

#: How many resources a request may name when it asks for tags, and how many targets when it registers them.
TAG_BATCH, TARGET_BATCH = 20, 200


@dataclass(frozen=True, slots=True)
class Known:
    """A target group as AWS describes it."""

    told: Obj
    tags: dict[str, str]

    @property
    def arn(self) -> str:
        return self.told["TargetGroupArn"]

    @property
    def name(self) -> str:
        return self.told["TargetGroupName"]


async def tags_of(calls: Calls, arns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Tags by ARN."""
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(arns), TAG_BATCH):
        answer = await calls.call("elbv2", "describe_tags", ResourceArns=list(arns[start : start + TAG_BATCH]))
        found |= {d["ResourceArn"]: tag_map(d.get("Tags")) for d in answer["TagDescriptions"]}
    return found


class TargetGroups:
    """Target groups of load balancers."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def owned(self, owner: Owner) -> list[Known]:
        told = await self._calls.pages("elbv2", "describe_target_groups", "TargetGroups")
        mine = [t for t in told if t["TargetGroupName"].startswith(owner.prefix)]
        tags = await tags_of(self._calls, [t["TargetGroupArn"] for t in mine])
        return [Known(t, tags.get(t["TargetGroupArn"], {})) for t in mine]

    async def ensure(
        self, owner: Owner, vpc: str, wanted: Iterable[TargetGroup], tags: Mapping[str, str], known: Sequence[Known]
    ) -> dict[str, str]:
        """Make and mend these. ARNs by key."""
        by_name = {k.name: k for k in known}
        arns: dict[str, str] = {}
        for group in wanted:
            name = group.name(owner, vpc)
            there = by_name.get(name)
            if there is None:
                arns[group.key] = arn = await self._create(group, name, vpc, tags)
            else:
                arns[group.key] = arn = there.arn
                await self._mend(group, there, tags)
            await self._attributes(arn, group.attributes)
            await self.fill(arn, group)
        return arns

    async def _create(self, group: TargetGroup, name: str, vpc: str, tags: Mapping[str, str]) -> str:
        answer = await self._calls.call(
            "elbv2",
            "create_target_group",
            Name=name,
            Protocol=group.protocol,
            ProtocolVersion=group.version or None,
            Port=group.port,
            VpcId=vpc,
            TargetType=group.target_type,
            IpAddressType=group.family,
            Tags=tag_list(tags),
            **group.health,
        )
        return answer["TargetGroups"][0]["TargetGroupArn"]

    async def _mend(self, group: TargetGroup, there: Known, tags: Mapping[str, str]) -> None:
        if missing := {k: v for k, v in tags.items() if there.tags.get(k) != v}:
            await self._calls.call("elbv2", "add_tags", ResourceArns=[there.arn], Tags=tag_list(missing))
        if any(str(there.told.get(k)) != str(v) for k, v in group.health.items()):
            await self._calls.call("elbv2", "modify_target_group", TargetGroupArn=there.arn, **group.health)

    async def _attributes(self, arn: str, wanted: Mapping[str, str]) -> None:
        if not wanted:
            return
        answer = await self._calls.call("elbv2", "describe_target_group_attributes", TargetGroupArn=arn)
        there = tag_map(answer["Attributes"])
        if differ := {k: v for k, v in wanted.items() if there.get(k) != v}:
            await self._calls.call("elbv2", "modify_target_group_attributes", TargetGroupArn=arn, Attributes=tag_list(differ))

    async def fill(self, arn: str, group: TargetGroup) -> None:
        """Register and deregister: new targets first, so that a group does not run empty."""
        answer = await self._calls.call("elbv2", "describe_target_health", TargetGroupArn=arn)
        there = {
            (d["Target"]["Id"], int(d["Target"]["Port"]))
            for d in answer["TargetHealthDescriptions"]
            if d["TargetHealth"]["State"] != "draining"
        }
        await self._targets("register_targets", arn, group.targets - there)
        await self._targets("deregister_targets", arn, there - group.targets - group.kept)

    async def _targets(self, operation: str, arn: str, targets: Iterable[tuple[str, int]]) -> None:
        told = [{"Id": id, "Port": port} for id, port in sorted(targets)]
        for start in range(0, len(told), TARGET_BATCH):
            await self._calls.call("elbv2", operation, TargetGroupArn=arn, Targets=told[start : start + TARGET_BATCH])

    async def delete(self, arn: str) -> None:
        """RetryAfter while a listener uses it."""
        try:
            await self._calls.call("elbv2", "delete_target_group", TargetGroupArn=arn)
        except AwsError as error:
            if error.code != "TargetGroupNotFound":
                raise

"""Instances of EC2 as nodes: is one there, is it shut down, what is it.

References: the interface InstancesV2; node names and addresses as the documentation of the AWS cloud provider has them. A node is found by
its provider id (`aws:///<zone>/<instance id>`); one that has none yet by its name, which is the instance's private DNS name, begins with its
id (resource names), or is its tag Name. A terminated instance is gone. Of an instance's network interfaces only the first one counts, because
others belong to pods.

Controllers ask for one node after the other. What was told is remembered for some seconds, and each question soon after another one asks for
four times as many instances at once, those likely to be asked for next: a thousand nodes cost nine calls, one node costs one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.objects import condition
from pilothouse.cloud.provider import CloudError, InstanceMetadata, InstanceNotFound, Surroundings
from pilothouse.cloud.providers.aws.calls import Calls, filters
from pilothouse.cloud.providers.aws.config import Settings

Obj = dict[str, Any]

#: Values that EC2 takes in one filter.
BATCH = 200
#: Seconds for which an instance's description is good.
FRESH = 4.0
_ID = re.compile(r"i-[0-9a-f]{8,17}")


def instance_id(node: Obj) -> str:
    """The instance's id out of a node's provider id, "" where it has none.

    CloudError for another provider's: a node that is not of AWS is not a node that is gone.
    """
    provider_id = (node.get("spec") or {}).get("providerID") or ""
    if not provider_id:
        return ""
    scheme, _, rest = provider_id.partition("://")
    found = rest.rpartition("/")[2] if scheme == "aws" else provider_id if _ID.fullmatch(provider_id) else ""
    if not _ID.fullmatch(found):
        raise CloudError(f"{provider_id!r} is no instance of AWS")
    return found


def is_of_aws(node: Obj) -> bool:
    """Whether it can be an instance of AWS. Clusters may have other nodes, too."""
    try:
        instance_id(node)
    except CloudError:
        return False
    return True


class Ec2Instances:
    """See `cloud/provider.py`."""

    def __init__(self, calls: Calls, settings: Settings, around: Surroundings) -> None:
        self._calls = calls
        self._settings = settings
        self._clock = around.clock
        self._cluster = settings.cluster or around.cluster
        self._nodes = around.cache(NODES)
        self._known: dict[str, tuple[float, Obj | None]] = {}
        self._names: dict[str, str] = {}
        self._zone_ids: dict[str, str] = {}
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._many = 1

    async def exists(self, node: Obj) -> bool:
        return (await self.find(node)) is not None

    async def shut_down(self, node: Obj) -> bool:
        instance = await self.find(node)
        return instance is not None and instance["State"]["Name"] in ("stopping", "stopped")

    async def metadata(self, node: Obj) -> InstanceMetadata:
        instance = await self._found(node)
        zone = instance["Placement"]["AvailabilityZone"]
        zone_id = await self._zone_id(zone)
        return InstanceMetadata(
            provider_id=f"aws:///{zone}/{instance['InstanceId']}",
            addresses=tuple(addresses(instance, self._settings.families)),
            instance_type=instance.get("InstanceType", ""),
            zone=zone,
            region=self._calls.region,
            labels={"topology.k8s.aws/zone-id": zone_id} if zone_id else {},
        )

    async def find(self, node: Obj) -> Obj | None:
        """The instance as EC2 describes it, None where there is none (any more)."""
        name = node["metadata"]["name"]
        found = instance_id(node) or await self._named(name)
        if not found:
            return None
        instance = await self._describe(found)
        if instance is None or instance["State"]["Name"] == "terminated":
            self._names.pop(name, None)
            return None
        return instance

    async def of_nodes(self, nodes: Iterable[Obj]) -> dict[str, Obj]:
        """Instances by the node's name; of nodes that have one."""
        found: dict[str, Obj] = {}
        for node in nodes:
            if not is_of_aws(node):
                continue
            instance = await self.find(node)
            if instance is not None:
                found[node["metadata"]["name"]] = instance
        return found

    async def _found(self, node: Obj) -> Obj:
        instance = await self.find(node)
        if instance is None:
            raise InstanceNotFound(f"no instance belongs to the node {node['metadata']['name']!r}")
        return instance

    async def _named(self, name: str) -> str:
        """The id of the instance that a node without a provider id is named after; "" for none."""
        known = self._names.get(name)
        if known:
            return known
        begins = _ID.match(name)
        ways = [filters(private_dns_name=name)]
        if begins:
            ways.append(filters(instance_id=begins[0]))
        ways.append([*filters(**{"tag:Name": name}), *filters(**{"tag-key": [f"kubernetes.io/cluster/{self._cluster}"]})])
        for way in ways:
            living = [i for i in await self._instances(way) if i["State"]["Name"] != "terminated"]
            if len(living) == 1:
                self._remember(living)
                self._names[name] = living[0]["InstanceId"]
                return self._names[name]
        return ""

    async def _describe(self, wanted: str) -> Obj | None:
        if (known := self._fresh(wanted)) is not None:
            return known[1]
        async with self._asking:
            if (known := self._fresh(wanted)) is not None:  # somebody else asked for it meanwhile
                return known[1]
            now = self._clock.monotonic()
            self._many = min(BATCH, self._many * 4) if now - self._asked_at < FRESH else 1
            asked = [wanted, *self._next(wanted, self._many - 1)]
            told = await self._instances(filters(instance_id=asked))
            self._asked_at = self._clock.monotonic()
            self._known |= dict.fromkeys(asked, (self._asked_at, None))
            self._remember(told)
            self._forget()
        return self._known[wanted][1]

    def _fresh(self, wanted: str) -> tuple[float, Obj | None] | None:
        known = self._known.get(wanted)
        return known if known and self._clock.monotonic() - known[0] < FRESH else None

    def _remember(self, instances: Iterable[Obj]) -> None:
        now = self._clock.monotonic()
        self._known |= {i["InstanceId"]: (now, i) for i in instances}

    def _forget(self) -> None:
        """What is stale is of no use."""
        now = self._clock.monotonic()
        self._known = {k: v for k, v in self._known.items() if now - v[0] < FRESH}

    def _next(self, wanted: str, count: int) -> list[str]:
        """Instances that are likely to be asked for next: those of nodes that are not ready come first."""
        if count <= 0:
            return []
        worried: list[str] = []
        others: list[str] = []
        for node in self._nodes.list():
            found = instance_id(node) if is_of_aws(node) else ""
            if not found or found == wanted or self._fresh(found):
                continue
            ready = condition(node, "Ready")
            (others if ready and ready.get("status") == "True" else worried).append(found)
        return [*worried, *others][:count]

    async def _instances(self, way: list[Obj]) -> list[Obj]:
        reservations = await self._calls.pages("ec2", "describe_instances", "Reservations", Filters=way, MaxResults=1000)
        return [i for r in reservations for i in r.get("Instances") or ()]

    async def _zone_id(self, zone: str) -> str:
        if not self._zone_ids:
            answer = await self._calls.call("ec2", "describe_availability_zones", AllAvailabilityZones=True)
            self._zone_ids = {z["ZoneName"]: z.get("ZoneId", "") for z in answer.get("AvailabilityZones") or ()}
        return self._zone_ids.get(zone, "")


def addresses(instance: Obj, families: Iterable[str]) -> Iterable[Obj]:
    """NodeAddress objects of an instance, those of the first family first."""
    first: Obj = next(
        (i for i in instance.get("NetworkInterfaces") or () if (i.get("Attachment") or {}).get("DeviceIndex") == 0), {}
    )
    for family in families:
        if family == "ipv6":
            yield from ({"type": "InternalIP", "address": a["Ipv6Address"]} for a in first.get("Ipv6Addresses") or ())
            continue
        if private := instance.get("PrivateIpAddress"):
            yield {"type": "InternalIP", "address": private}
        if public := instance.get("PublicIpAddress"):
            yield {"type": "ExternalIP", "address": public}
    if private := instance.get("PrivateDnsName"):
        yield {"type": "InternalDNS", "address": private}
        yield {"type": "Hostname", "address": private}
    if public := instance.get("PublicDnsName"):
        yield {"type": "ExternalDNS", "address": public}

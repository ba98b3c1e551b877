"""Routes of a VPC to the pods of nodes, for networks without an overlay.

Reference: the interface Routes, and the routes of the AWS cloud provider. The table is the configured one, or the only one of the VPC with
the cluster's tag, or the VPC's main one. A route to a node's pods leads to the node's instance; the instance may then pass on what is not
addressed to itself (no source and destination check). A route that leads to an instance that is gone is a blackhole. All routes to instances
are told, also to those of no node: the controller knows by their range which are the cluster's, and a node may be gone before its instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.client.reconcile.kinds import NODES
from pilothouse.cloud.provider import CloudError, Route, Surroundings
from pilothouse.cloud.providers.aws.calls import AwsError, Calls, filters
from pilothouse.cloud.providers.aws.config import Settings
from pilothouse.cloud.providers.aws.instances import Ec2Instances, instance_id, is_of_aws
from pilothouse.cloud.providers.aws.network import Network

Obj = dict[str, Any]


class VpcRoutes:
    """See `cloud/provider.py`."""

    def __init__(self, calls: Calls, settings: Settings, around: Surroundings, instances: Ec2Instances, network: Network) -> None:
        self._calls = calls
        self._settings = settings
        self._instances = instances
        self._network = network
        self._nodes = around.cache(NODES)
        self._one_at_a_time = asyncio.Lock()

    async def list(self, cluster: str) -> Sequence[Route]:
        table = await self._table(cluster)
        return list(routes_of(table["Routes"], await self._names()))

    async def _names(self) -> dict[str, str]:
        """Nodes by their instance. Only those that do not say which one it is are asked for."""
        nodes = [n for n in self._nodes.list() if is_of_aws(n)]
        told = {instance_id(n): n["metadata"]["name"] for n in nodes if instance_id(n)}
        asked = await self._instances.of_nodes(n for n in nodes if not instance_id(n))
        return told | {instance["InstanceId"]: name for name, instance in asked.items()}

    async def create(self, cluster: str, route: Route, node: Obj) -> None:
        instance = await self._instances.find(node)
        if instance is None:
            raise CloudError(f"no instance belongs to the node {route.node!r}")
        if instance.get("SourceDestCheck", True):
            await self._calls.call(
                "ec2", "modify_instance_attribute", InstanceId=instance["InstanceId"], SourceDestCheck={"Value": False}
            )
        async with self._one_at_a_time:  # another's route to the same place may be in the way
            table = await self._table(cluster)
            there = next((r for r in table["Routes"] if destination(r) == route.destination), None)
            if there and there.get("InstanceId") == instance["InstanceId"] and there.get("State") == "active":
                return
            await self._calls.call(
                "ec2",
                "replace_route" if there else "create_route",
                RouteTableId=table["RouteTableId"],
                InstanceId=instance["InstanceId"],
                **_destination(route.destination),
            )

    async def delete(self, cluster: str, route: Route) -> None:
        table = await self._table(cluster)
        try:
            await self._calls.call("ec2", "delete_route", RouteTableId=table["RouteTableId"], **_destination(route.destination))
        except AwsError as error:
            if error.code != "InvalidRoute.NotFound":
                raise

    async def _table(self, cluster: str) -> Obj:
        if self._settings.route_table:
            answer = await self._calls.call("ec2", "describe_route_tables", RouteTableIds=[self._settings.route_table])
            return answer["RouteTables"][0]
        vpc = await self._network.vpc(await self._any_instance())
        tables = await self._calls.pages("ec2", "describe_route_tables", "RouteTables", Filters=filters(vpc_id=vpc))
        return chosen(tables, f"kubernetes.io/cluster/{self._settings.cluster or cluster}", vpc)

    async def _any_instance(self) -> Obj | None:
        for node in self._nodes.list():
            found = await self._instances.of_nodes([node])
            if found:
                return next(iter(found.values()))
        return None


def chosen(tables: Sequence[Obj], tag: str, vpc: str) -> Obj:
    """The table with the tag, or the main one. CloudError where several have the tag: which one is meant?"""
    tagged = [t for t in tables if any(e["Key"] == tag for e in t.get("Tags") or ())]
    if len(tagged) > 1:
        raise CloudError(f"several route tables have the tag {tag!r}: set RouteTableID in --cloud-config")
    main = [t for t in tables if any(a.get("Main") for a in t.get("Associations") or ())]
    for found in (tagged, main):
        if found:
            return found[0]
    raise CloudError(f"the VPC {vpc} has no route table with the tag {tag!r} and no main one")


def destination(route: Mapping[str, Any]) -> str:
    return route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock") or ""


def _destination(text: str) -> dict[str, str]:
    return {"DestinationIpv6CidrBlock" if ":" in text else "DestinationCidrBlock": text}


def routes_of(routes: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> Iterable[Route]:
    """The routes of a table that lead, or led, to instances. `names` are those of nodes by their instance's id."""
    for route in routes:
        where, instance = destination(route), route.get("InstanceId") or ""
        if not where or route.get("Origin") not in (None, "CreateRoute"):
            continue
        gone = route.get("State") == "blackhole"
        if gone or instance:
            yield Route(name=where, node=names.get(instance, ""), destination=where, blackhole=gone)

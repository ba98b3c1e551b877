"""Routes of a VPC, against moto's server. moto's routes are always active: what a blackhole means is tested on what AWS would say."""

from __future__ import annotations

import pytest
from aws_world import CLUSTER, World, until_done

from pilothouse.client.reconcile.kinds import NODES
from pilothouse.cloud.provider import CloudError, Route
from pilothouse.cloud.providers.aws.routes import routes_of


def tables(world: World) -> list[dict]:
    return world.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [world.vpc]}])["RouteTables"]


def route_to(node: dict, cidr: str = "10.64.1.0/24") -> Route:
    return Route(name=cidr, node=node["metadata"]["name"], destination=cidr)


async def test_a_route_is_made_listed_and_deleted_in_the_main_table(world: World) -> None:
    node = world.add_node()
    world.remember()
    route = route_to(node)
    async with world.provider() as aws:
        assert list(await aws.routes().list(CLUSTER)) == []
        await aws.routes().create(CLUSTER, route, node)
        await aws.routes().create(CLUSTER, route, node)
        assert list(await aws.routes().list(CLUSTER)) == [route]
        await aws.routes().delete(CLUSTER, route)
        await aws.routes().delete(CLUSTER, route)
    assert world.inventory() == world.at_start


async def test_the_table_with_the_clusters_tag_is_preferred(world: World) -> None:
    node = world.add_node()
    tag = {"ResourceType": "route-table", "Tags": [{"Key": f"kubernetes.io/cluster/{CLUSTER}", "Value": "owned"}]}
    table = world.ec2.create_route_table(VpcId=world.vpc, TagSpecifications=[tag])["RouteTable"]["RouteTableId"]
    async with world.provider() as aws:
        await aws.routes().create(CLUSTER, route_to(node), node)
    assert [t["RouteTableId"] for t in tables(world) for r in t["Routes"] if r["DestinationCidrBlock"] == "10.64.1.0/24"] == [
        table
    ]


async def test_the_table_that_is_configured_goes_before(world: World) -> None:
    node = world.add_node()
    table = world.ec2.create_route_table(VpcId=world.vpc)["RouteTable"]["RouteTableId"]
    async with world.provider(f"RouteTableID = {table}") as aws:
        await aws.routes().create(CLUSTER, route_to(node), node)
    assert [t["RouteTableId"] for t in tables(world) for r in t["Routes"] if r["DestinationCidrBlock"] == "10.64.1.0/24"] == [
        table
    ]


async def test_two_tables_with_the_clusters_tag_are_an_error(world: World) -> None:
    node = world.add_node()
    tag = {"ResourceType": "route-table", "Tags": [{"Key": f"kubernetes.io/cluster/{CLUSTER}", "Value": "owned"}]}
    for _ in range(2):
        world.ec2.create_route_table(VpcId=world.vpc, TagSpecifications=[tag])
    async with world.provider() as aws:
        with pytest.raises(CloudError, match="set RouteTableID"):
            await aws.routes().create(CLUSTER, route_to(node), node)


async def test_the_instance_may_pass_on_what_is_not_addressed_to_it(world: World) -> None:
    node = world.add_node()
    async with world.provider() as aws:
        await aws.routes().create(CLUSTER, route_to(node), node)
    told = world.ec2.describe_instance_attribute(InstanceId=node["metadata"]["uid"], Attribute="sourceDestCheck")
    assert told["SourceDestCheck"]["Value"] is False


async def test_a_route_to_another_node_is_replaced(world: World) -> None:
    one, other = world.add_node(), world.add_node()
    async with world.provider() as aws:
        await aws.routes().create(CLUSTER, route_to(one), one)
        await aws.routes().create(CLUSTER, route_to(other), other)
        assert list(await aws.routes().list(CLUSTER)) == [route_to(other)]


async def test_a_route_is_told_when_its_node_is_gone_and_its_instance_is_not(world: World) -> None:
    node = world.add_node()
    async with world.provider() as aws:
        await aws.routes().create(CLUSTER, route_to(node), node)
        world.caches[NODES].drop(node)
        (found,) = await aws.routes().list(CLUSTER)
        assert (found.node, found.destination, found.blackhole) == ("", "10.64.1.0/24", False)


def test_a_route_whose_instance_is_gone_is_a_blackhole() -> None:
    told = [
        {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"},
        {"DestinationCidrBlock": "10.64.0.0/24", "InstanceId": "i-00000001", "Origin": "CreateRoute", "State": "active"},
        {"DestinationCidrBlock": "10.64.1.0/24", "InstanceId": "i-00000002", "Origin": "CreateRoute", "State": "blackhole"},
        {"DestinationCidrBlock": "10.64.2.0/24", "InstanceId": "i-00000003", "Origin": "CreateRoute", "State": "active"},
        {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "Origin": "CreateRoute", "State": "active"},
    ]
    assert list(routes_of(told, {"i-00000001": "one"})) == [
        Route("10.64.0.0/24", "one", "10.64.0.0/24"),
        Route("10.64.1.0/24", "", "10.64.1.0/24", blackhole=True),
        Route("10.64.2.0/24", "", "10.64.2.0/24"),
    ]


@pytest.mark.parametrize("how", ["throttle", "break", "lose"])
async def test_a_fault_at_any_call_changes_nothing_in_the_end(world: World, how: str) -> None:
    node = world.add_node()
    world.remember()
    for n in range(1, 6):
        async with world.provider() as aws:
            world.faults.spoil(n, how)
            await until_done(lambda: aws.routes().create(CLUSTER, route_to(node), node))
            assert list(await until_done(lambda: aws.routes().list(CLUSTER))) == [route_to(node)]
            world.faults.spoil(n, how)
            await until_done(lambda: aws.routes().delete(CLUSTER, route_to(node)))
        assert world.inventory() == world.at_start

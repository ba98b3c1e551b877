"""Subnets, addresses that may come in and security groups of network load balancers, against moto's server."""

from __future__ import annotations

import pytest
from aws_world import CLUSTER, TAG, World, delete, ensure

from pilothouse.cloud.provider import CloudError


async def test_subnets_are_named_by_id_or_name(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(annotations={"subnets": f"{world.private[0]}, internal-elb-1", "internal": "true"}))
    assert {z["SubnetId"] for z in world.balancer()["AvailabilityZones"]} == set(world.private)


async def test_subnets_with_the_clusters_tag_will_do_where_none_has_a_role(world: World, nodes: list[dict]) -> None:
    for subnet, role in [*((s, "kubernetes.io/role/elb") for s in world.public)]:
        world.ec2.delete_tags(Resources=[subnet], Tags=[{"Key": role}])
    world.ec2.create_tags(Resources=[*world.public, *world.private], Tags=[{"Key": TAG, "Value": "shared"}])
    gateway = world.ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    table = world.ec2.create_route_table(VpcId=world.vpc)["RouteTable"]["RouteTableId"]
    world.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    for subnet in world.public:
        world.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    await ensure(world, world.add_service())
    assert [z["SubnetId"] for z in world.balancer()["AvailabilityZones"]] == world.public


async def test_of_two_subnets_in_a_zone_the_clusters_own_is_taken(world: World, nodes: list[dict]) -> None:
    tags = [{"Key": "kubernetes.io/role/elb", "Value": "1"}, {"Key": TAG, "Value": "owned"}]
    spec = [{"ResourceType": "subnet", "Tags": tags}]
    own = world.ec2.create_subnet(
        VpcId=world.vpc, CidrBlock="10.0.99.0/24", AvailabilityZone="us-east-1a", TagSpecifications=spec
    )["Subnet"]["SubnetId"]
    await ensure(world, world.add_service())
    assert {z["SubnetId"] for z in world.balancer()["AvailabilityZones"]} == {own, world.public[1]}


async def test_subnets_of_other_clusters_are_left_out(world: World, nodes: list[dict]) -> None:
    world.ec2.create_tags(Resources=[world.public[0]], Tags=[{"Key": "kubernetes.io/cluster/other", "Value": "owned"}])
    await ensure(world, world.add_service())
    assert [z["SubnetId"] for z in world.balancer()["AvailabilityZones"]] == [world.public[1]]


async def test_without_subnets_the_missing_tag_is_told(world: World, nodes: list[dict]) -> None:
    for subnet in world.public:
        world.ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/elb"}])
    with pytest.raises(CloudError, match="has the tag"):
        await ensure(world, world.add_service())


async def test_only_source_ranges_come_in(world: World, nodes: list[dict]) -> None:
    service = world.add_service(loadBalancerSourceRanges=["192.0.2.0/24", "198.51.100.0/24"])
    await ensure(world, service)
    (own,) = world.balancer()["SecurityGroups"]
    assert world.ingress(own) == [("tcp", 80, "192.0.2.0/24"), ("tcp", 80, "198.51.100.0/24")]
    service["spec"]["loadBalancerSourceRanges"] = ["203.0.113.0/24"]
    await ensure(world, service)
    assert world.ingress(own) == [("tcp", 80, "203.0.113.0/24")]


async def test_prefix_lists_come_in(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(annotations={"security-group-prefix-lists": "pl-0123456789abcdef0"}))
    (own,) = world.balancer()["SecurityGroups"]
    assert world.ingress(own) == [("tcp", 80, "pl-0123456789abcdef0")]


async def test_with_both_families_both_come_in(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(annotations={"ip-address-type": "dualstack"}))
    (own,) = world.balancer()["SecurityGroups"]
    assert world.ingress(own) == [("tcp", 80, "0.0.0.0/0"), ("tcp", 80, "::/0")]


async def test_one_that_the_cloud_provider_of_before_has_made_is_taken_over(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    name = "a" + service["metadata"]["uid"].replace("-", "")[:31]
    arn = world.elb.create_load_balancer(Name=name, Type="network", Scheme="internet-facing", Subnets=world.public)
    await ensure(world, service)
    balancer = world.balancer()
    assert balancer["LoadBalancerArn"] == arn["LoadBalancers"][0]["LoadBalancerArn"]
    assert not balancer.get("SecurityGroups")  # AWS gives none to one that was made without
    assert len(world.targets(80)) == 2
    await delete(world, service)
    assert world.inventory() == world.at_start


@pytest.mark.parametrize("given", ["subnet", "node"])
async def test_the_vpc_is_found_out(world: World, nodes: list[dict], given: str) -> None:
    setting = f"SubnetID = {world.private[0]}" if given == "subnet" else ""
    async with world.provider(setting, vpc=False) as aws:
        await aws.load_balancers().ensure(CLUSTER, world.add_service(), nodes)
    assert world.balancer()["VpcId"] == world.vpc


async def test_a_subnet_that_is_configured_will_do_where_none_has_a_tag(world: World, nodes: list[dict]) -> None:
    for subnet in world.public:
        world.ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/elb"}])
    await ensure(world, world.add_service(), f"SubnetID = {world.public[1]}")
    assert [z["SubnetId"] for z in world.balancer()["AvailabilityZones"]] == [world.public[1]]


async def test_an_internal_one_as_of_the_controller_lets_the_network_in(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(annotations={"type": "external"}))
    (own,) = world.balancer()["SecurityGroups"]
    assert world.ingress(own) == [("tcp", 80, "10.0.0.0/16")]


async def test_given_security_groups_take_the_place_of_the_made_one(world: World, nodes: list[dict]) -> None:
    given = world.ec2.create_security_group(GroupName="given", Description="given", VpcId=world.vpc)["GroupId"]
    world.remember()
    service = world.add_service()
    await ensure(world, service)
    service["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-security-groups"] = given
    await ensure(world, service)
    assert world.balancer()["SecurityGroups"] == [given]
    assert world.ingress(world.nodes_group) == []
    assert world.inventory()["security groups"] == world.at_start["security groups"]
    # Or the nodes are to be opened for it all the same, by a group that lets nothing in.
    manage = "service.beta.kubernetes.io/aws-load-balancer-manage-backend-security-group-rules"
    service["metadata"]["annotations"][manage] = "true"
    await ensure(world, service)
    (own,) = set(world.balancer()["SecurityGroups"]) - {given}
    assert world.ingress(own) == []
    assert world.ingress(world.nodes_group) == [("tcp", 30080, own)]
    await delete(world, service)
    assert world.inventory() == world.at_start


async def test_extra_security_groups_come_beside_the_made_one(world: World, nodes: list[dict]) -> None:
    extra = world.ec2.create_security_group(GroupName="extra", Description="extra", VpcId=world.vpc)["GroupId"]
    await ensure(world, world.add_service(annotations={"extra-security-groups": extra}))
    groups = world.balancer()["SecurityGroups"]
    assert len(groups) == 2 and extra in groups


async def test_nodes_groups_can_be_left_alone(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(), "DisableSecurityGroupIngress = true")
    assert world.ingress(world.nodes_group) == []


async def test_one_group_can_serve_all_load_balancers(world: World, nodes: list[dict]) -> None:
    shared = world.ec2.create_security_group(GroupName="shared", Description="shared", VpcId=world.vpc)["GroupId"]
    await ensure(world, world.add_service(), f"ElbSecurityGroup = {shared}")
    assert world.balancer()["SecurityGroups"] == [shared]


async def test_of_several_groups_of_a_node_the_one_with_the_clusters_tag_is_opened(world: World, nodes: list[dict]) -> None:
    other = world.ec2.create_security_group(GroupName="other", Description="other", VpcId=world.vpc)["GroupId"]
    for node in nodes:
        world.ec2.modify_instance_attribute(InstanceId=node["metadata"]["uid"], Groups=[other, world.nodes_group])
    await ensure(world, world.add_service())
    assert len(world.ingress(world.nodes_group)) == 1 and world.ingress(other) == []

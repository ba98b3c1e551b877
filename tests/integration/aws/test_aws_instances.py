"""Instances of EC2 as nodes, against moto's server."""

from __future__ import annotations

import pytest
from aws_world import World

from pilothouse.cloud.provider import CloudError, InstanceNotFound, Throttled


def id_of(node: dict) -> str:
    return node["metadata"]["uid"]


async def test_an_instance_exists_until_it_is_terminated(world: World) -> None:
    node = world.add_node()
    async with world.provider() as aws:
        assert await aws.instances().exists(node)
    world.ec2.terminate_instances(InstanceIds=[id_of(node)])
    async with world.provider() as aws:
        assert not await aws.instances().exists(node)
        with pytest.raises(InstanceNotFound):
            await aws.instances().metadata(node)


async def test_a_node_whose_instance_never_was_does_not_exist(world: World) -> None:
    node = world.add_node()
    node["spec"]["providerID"] = "aws:///us-east-1a/i-0123456789abcdef0"
    async with world.provider() as aws:
        assert not await aws.instances().exists(node)


async def test_a_node_of_another_provider_is_an_error_and_not_gone(world: World) -> None:
    node = world.add_node()
    node["spec"]["providerID"] = "gce://project/zone/name"
    async with world.provider() as aws:
        with pytest.raises(CloudError, match="no instance of AWS"):
            await aws.instances().exists(node)


async def test_a_stopped_instance_is_shut_down_and_exists(world: World) -> None:
    node = world.add_node()
    async with world.provider() as aws:
        assert not await aws.instances().shut_down(node)
    world.ec2.stop_instances(InstanceIds=[id_of(node)])
    async with world.provider() as aws:
        assert await aws.instances().shut_down(node)
        assert await aws.instances().exists(node)


@pytest.mark.parametrize("named", [False, True])
async def test_metadata_tell_addresses_type_zone_and_region(world: World, named: bool) -> None:
    node = world.add_node(named=named)
    (instance,) = world.ec2.describe_instances()["Reservations"][0]["Instances"]
    async with world.provider() as aws:
        found = await aws.instances().metadata(node)
    assert found.provider_id == f"aws:///us-east-1a/{id_of(node)}"
    assert (found.instance_type, found.zone, found.region) == ("m5.large", "us-east-1a", "us-east-1")
    assert found.labels == {"topology.k8s.aws/zone-id": "use1-az6"}
    assert {a["type"]: a["address"] for a in found.addresses} == {
        "InternalIP": instance["PrivateIpAddress"],
        "InternalDNS": instance["PrivateDnsName"],
        "Hostname": instance["PrivateDnsName"],
    }


async def test_public_addresses_are_told_as_external(world: World) -> None:
    node = world.add_node()
    allocation = world.ec2.allocate_address(Domain="vpc")
    world.ec2.associate_address(InstanceId=id_of(node), AllocationId=allocation["AllocationId"])
    async with world.provider() as aws:
        addresses = {a["type"]: a["address"] for a in (await aws.instances().metadata(node)).addresses}
    assert addresses["ExternalIP"] == allocation["PublicIp"]
    assert addresses["ExternalDNS"].startswith("ec2-")


async def test_a_node_may_be_named_by_its_instances_id_or_tag(world: World) -> None:
    by_id, by_tag = world.add_node(named=True), world.add_node(named=True)
    by_id["metadata"]["name"] = f"{id_of(by_id)}.us-east-1.compute.internal"
    by_tag["metadata"]["name"] = "worker-1"
    tags = [{"Key": "Name", "Value": "worker-1"}, {"Key": "kubernetes.io/cluster/test", "Value": "owned"}]
    world.ec2.create_tags(Resources=[id_of(by_tag)], Tags=tags)
    async with world.provider() as aws:
        for node in (by_id, by_tag):
            assert (await aws.instances().metadata(node)).provider_id.endswith(id_of(node))
        assert not await aws.instances().exists({"metadata": {"name": "worker-2"}, "spec": {}})


async def test_hundreds_of_nodes_cost_a_handful_of_calls(world: World) -> None:
    nodes = world.add_nodes(150)
    world.faults.clear()
    async with world.provider() as aws:
        for node in nodes:
            assert await aws.instances().exists(node)
            assert not await aws.instances().shut_down(node)
    assert world.faults.calls == ["DescribeInstances"] * 5  # 1, 4, 16, 64 and the rest


async def test_throttling_is_told_as_such_and_the_next_call_succeeds(world: World) -> None:
    node = world.add_node()
    world.faults.clear()
    world.faults.plan = {1: "throttle", 2: "break"}
    async with world.provider() as aws:
        with pytest.raises(Throttled):
            await aws.instances().exists(node)
        with pytest.raises(CloudError, match="InternalError"):
            await aws.instances().exists(node)
        assert await aws.instances().exists(node)
    assert world.faults.count == 3  # nothing is tried again behind the caller's back


async def test_calls_are_made_in_the_configured_role(world: World) -> None:
    node = world.add_node()
    world.faults.clear()
    async with world.provider("RoleARN = arn:aws:iam::123456789012:role/ccm\nRoleExternalID = secret") as aws:
        assert await aws.instances().exists(node)
    assert world.faults.calls == ["AssumeRole", "DescribeInstances"]

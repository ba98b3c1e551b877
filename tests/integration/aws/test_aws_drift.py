"""What somebody else changed is put right by the next ensure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aws_world import CLUSTER, World, port

from pilothouse.cloud.providers.aws.model import OWNER_TAG


def own_group(world: World) -> str:
    return world.balancer()["SecurityGroups"][0]


def no_listener(world: World) -> None:
    world.elb.delete_listener(ListenerArn=world.listeners()[80]["ListenerArn"])


def another_listener(world: World) -> None:
    forward = [{"Type": "forward", "TargetGroupArn": world.target_group(80)["TargetGroupArn"]}]
    arn = world.balancer()["LoadBalancerArn"]
    world.elb.create_listener(LoadBalancerArn=arn, Port=8080, Protocol="TCP", DefaultActions=forward)


def listener_to_elsewhere(world: World) -> None:
    other = world.target_group(81)["TargetGroupArn"]
    forward = [{"Type": "forward", "TargetGroupArn": other}]
    world.elb.modify_listener(ListenerArn=world.listeners()[80]["ListenerArn"], DefaultActions=forward)


def a_target_less(world: World) -> None:
    target = [{"Id": world.nodes[0]["metadata"]["uid"], "Port": 30080}]
    world.elb.deregister_targets(TargetGroupArn=world.target_group(80)["TargetGroupArn"], Targets=target)


def a_target_more(world: World) -> None:
    instance = world.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=world.private[0])["Instances"][0]
    target = [{"Id": instance["InstanceId"], "Port": 30080}]
    world.elb.register_targets(TargetGroupArn=world.target_group(80)["TargetGroupArn"], Targets=target)


def other_health_checks(world: World) -> None:
    world.elb.modify_target_group(
        TargetGroupArn=world.target_group(80)["TargetGroupArn"], HealthCheckIntervalSeconds=60, HealthCheckPort="1"
    )


def other_attributes(world: World) -> None:
    sticky = [{"Key": "stickiness.enabled", "Value": "true"}]
    world.elb.modify_target_group_attributes(TargetGroupArn=world.target_group(80)["TargetGroupArn"], Attributes=sticky)
    cross = [{"Key": "load_balancing.cross_zone.enabled", "Value": "false"}]
    world.elb.modify_load_balancer_attributes(LoadBalancerArn=world.balancer()["LoadBalancerArn"], Attributes=cross)


def no_tags(world: World) -> None:
    arns = [world.balancer()["LoadBalancerArn"], *(g["TargetGroupArn"] for g in world.target_groups())]
    world.elb.remove_tags(ResourceArns=arns, TagKeys=[OWNER_TAG, "kubernetes.io/service-name"])
    world.ec2.delete_tags(Resources=[own_group(world)], Tags=[{"Key": OWNER_TAG}])


def no_rule_from_outside(world: World) -> None:
    world.ec2.revoke_security_group_ingress(
        GroupId=own_group(world),
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [about(world, "0.0.0.0/0")]}],
    )


def about(world: World, cidr: str) -> dict:
    return {"CidrIp": cidr, "Description": "pilothouse default/web"}


def more_from_outside(world: World) -> None:
    everything = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    world.ec2.authorize_security_group_ingress(GroupId=own_group(world), IpPermissions=everything)


def no_way_to_the_nodes(world: World) -> None:
    rules = world.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [world.nodes_group]}])
    ids = [r["SecurityGroupRuleId"] for r in rules["SecurityGroupRules"] if not r["IsEgress"]]
    world.ec2.revoke_security_group_ingress(GroupId=world.nodes_group, SecurityGroupRuleIds=ids)


def a_way_to_another_group(world: World) -> None:
    source = [{"GroupId": own_group(world)}]
    everything = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": source}]
    default = world.ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [world.vpc]}])["SecurityGroups"]
    group = next(g["GroupId"] for g in default if g["GroupName"] == "default")
    world.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=everything)


def another_group(world: World) -> None:
    other = world.nodes_group
    world.elb.set_security_groups(LoadBalancerArn=world.balancer()["LoadBalancerArn"], SecurityGroups=[other])


def a_deleted_target_group(world: World) -> None:
    arn = world.target_group(80)["TargetGroupArn"]
    no_listener(world)
    world.elb.delete_target_group(TargetGroupArn=arn)


def a_deleted_load_balancer(world: World) -> None:
    world.elb.delete_load_balancer(LoadBalancerArn=world.balancer()["LoadBalancerArn"])


def other_subnets(world: World) -> None:
    world.elb.set_subnets(LoadBalancerArn=world.balancer()["LoadBalancerArn"], Subnets=world.private)


def another_address_type(world: World) -> None:
    world.elb.set_ip_address_type(LoadBalancerArn=world.balancer()["LoadBalancerArn"], IpAddressType="dualstack")


def shape(world: World) -> dict:
    """All that matters, without the ids that AWS gives."""
    balancer = world.balancer()
    (own,) = balancer["SecurityGroups"]
    groups = {g["TargetGroupArn"]: g for g in world.target_groups()}
    return {
        "inventory": {k: sorted(r[1:] if k == "rules" else r for r in v) for k, v in world.inventory().items()},
        "balancer": {
            k: balancer[k] for k in ("LoadBalancerName", "Scheme", "IpAddressType", "AvailabilityZones", "Type", "DNSName")
        },
        "tags": world.tags(balancer["LoadBalancerArn"]),
        "attributes": world.attributes(balancer["LoadBalancerArn"]),
        "listeners": {
            number: (
                told["Protocol"],
                groups[told["DefaultActions"][0]["TargetGroupArn"]]["TargetGroupName"],
                world.targets(number),
            )
            for number, told in world.listeners().items()
        },
        "groups": sorted(
            (
                g["TargetGroupName"],
                {k: v for k, v in g.items() if k.startswith("Health")},
                sorted(world.attributes(arn).items()),
                sorted(world.tags(arn).items()),
            )
            for arn, g in groups.items()
        ),
        "ingress": world.ingress(own),
        "nodes": [(p, n, s == own) for p, n, s in world.ingress(world.nodes_group)],
        "group tags": sorted(
            (t["Key"], t["Value"]) for t in world.ec2.describe_security_groups(GroupIds=[own])["SecurityGroups"][0]["Tags"]
        ),
    }


DRIFT = [
    no_listener,
    another_listener,
    listener_to_elsewhere,
    a_target_less,
    a_target_more,
    other_health_checks,
    other_attributes,
    no_tags,
    no_rule_from_outside,
    more_from_outside,
    no_way_to_the_nodes,
    a_way_to_another_group,
    another_group,
    a_deleted_target_group,
    a_deleted_load_balancer,
    other_subnets,
    another_address_type,
]


@pytest.mark.parametrize("change", DRIFT)
async def test_drift_is_repaired(world: World, change: Callable[[World], None]) -> None:
    world.add_node(0)
    world.add_node(1)
    world.remember()
    service = world.add_service(
        annotations={"cross-zone-load-balancing-enabled": "true"}, ports=[port(80, 30080), port(81, 30081)]
    )
    async with world.provider() as aws:
        await aws.load_balancers().ensure(CLUSTER, service, world.nodes)
        before = shape(world)
        change(world)
        assert shape_or_broken(world) != before
        await aws.load_balancers().ensure(CLUSTER, service, world.nodes)
        assert shape(world) == before
        change(world)
        await aws.load_balancers().ensure_deleted(CLUSTER, service)
    assert world.inventory() == world.at_start


def shape_or_broken(world: World) -> dict:
    try:
        return shape(world)
    except (ValueError, KeyError, IndexError, world.elb.exceptions.ClientError, world.ec2.exceptions.ClientError):
        return {}

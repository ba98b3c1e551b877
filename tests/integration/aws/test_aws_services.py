"""Network load balancers of Services, against moto's server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aws_world import CLUSTER, TAG, World, delete, ensure, port

from pilothouse.cloud.provider import CloudError, ImplementedElsewhere
from pilothouse.cloud.providers.aws import follow


async def test_a_service_gets_a_network_load_balancer_that_faces_the_internet(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    status = await ensure(world, service)
    balancer = world.balancer()
    assert status == {"ingress": [{"hostname": balancer["DNSName"]}]}
    assert balancer["LoadBalancerName"] == "a0000000000004000800000000000000"
    assert (balancer["Type"], balancer["Scheme"], balancer["VpcId"]) == ("network", "internet-facing", world.vpc)
    assert [z["SubnetId"] for z in balancer["AvailabilityZones"]] == world.public
    assert world.targets(80) == sorted((n["metadata"]["uid"], 30080) for n in nodes)
    tags = world.tags(balancer["LoadBalancerArn"])
    assert tags[TAG] == "owned" and tags["kubernetes.io/service-name"] == "default/web"


async def test_only_listed_ports_pass_the_security_groups(world: World, nodes: list[dict]) -> None:
    service = world.add_service(ports=[port(80, 30080), port(53, 30053, "UDP", name="dns")])
    await ensure(world, service)
    (own,) = world.balancer()["SecurityGroups"]
    assert world.ingress(own) == [("tcp", 80, "0.0.0.0/0"), ("udp", 53, "0.0.0.0/0")]
    # Health checks of UDP ports are made over TCP.
    assert world.ingress(world.nodes_group) == [("tcp", 30053, own), ("tcp", 30080, own), ("udp", 30053, own)]


async def test_a_second_ensure_changes_nothing(world: World, nodes: list[dict]) -> None:
    service = world.add_service(annotations={"healthcheck-protocol": "http"})
    await ensure(world, service)
    world.faults.clear()
    await ensure(world, service)
    assert [c for c in world.faults.calls if not c.startswith("Describe")] == []


async def test_nothing_is_left_after_deletion_and_deleting_again_is_no_error(world: World, nodes: list[dict]) -> None:
    service = world.add_service(ports=[port(80, 30080), port(443, 30443)])
    await delete(world, service)
    await ensure(world, service)
    async with world.provider() as aws:
        assert await aws.load_balancers().get(CLUSTER, service) is not None
    await delete(world, service)
    await delete(world, service)
    assert world.inventory() == world.at_start
    async with world.provider() as aws:
        assert await aws.load_balancers().get(CLUSTER, service) is None


async def test_deleting_one_service_leaves_the_others(world: World, nodes: list[dict]) -> None:
    one, other = world.add_service("one"), world.add_service("other", ports=[port(80, 30081)])
    await ensure(world, one)
    await ensure(world, other)
    await delete(world, one)
    assert world.targets(80) == sorted((n["metadata"]["uid"], 30081) for n in nodes)
    assert [rule[:2] for rule in world.ingress(world.nodes_group)] == [("tcp", 30081)]


async def test_one_port_for_tcp_and_udp_is_one_listener(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(ports=[port(53, 30053), port(53, 30053, "UDP")]))
    (listener,) = world.listeners().values()
    assert (listener["Port"], listener["Protocol"]) == (53, "TCP_UDP")
    assert world.target_group(53)["Protocol"] == "TCP_UDP"


@pytest.mark.parametrize(
    ("annotations", "complaint"),
    [
        ({"subnets": "nowhere"}, "there is no subnet 'nowhere'"),
        ({"security-groups": "nobody"}, "there is no security group 'nobody'"),
        ({"private-ipv4-addresses": "10.0.0.9"}, "not for a load balancer of this scheme"),
        ({"eip-allocations": "eipalloc-1"}, "1 are named for 2 subnets"),
    ],
)
async def test_annotations_that_name_what_cannot_be_are_told_in_one_line(
    world: World, nodes: list[dict], annotations: dict, complaint: str
) -> None:
    with pytest.raises(CloudError, match=complaint) as caught:
        await ensure(world, world.add_service(annotations=annotations))
    assert "\n" not in str(caught.value)
    assert world.inventory() == world.at_start


async def test_tls_ends_at_the_ports_that_are_named(world: World, nodes: list[dict]) -> None:
    first, other = world.certificate(), world.certificate("example.org")
    annotations = {
        "ssl-cert": f"{first},{other}",
        "ssl-ports": "443,secure",
        "ssl-negotiation-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "backend-protocol": "ssl",
        "alpn-policy": "HTTP2Preferred",
    }
    ports = [port(80, 30080, name="plain"), port(443, 30443, name="tls"), port(8443, 30843, name="secure")]
    await ensure(world, world.add_service(annotations=annotations, ports=ports))
    listeners = world.listeners()
    assert {n: told["Protocol"] for n, told in listeners.items()} == {80: "TCP", 443: "TLS", 8443: "TLS"}
    assert listeners[443]["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    assert listeners[443]["AlpnPolicy"] == ["HTTP2Preferred"]
    assert listeners[443]["Certificates"][0]["CertificateArn"] == first
    told = world.elb.describe_listener_certificates(ListenerArn=listeners[443]["ListenerArn"])["Certificates"]
    assert {c["CertificateArn"] for c in told} == {first, other}
    assert (world.target_group(80)["Protocol"], world.target_group(443)["Protocol"]) == ("TCP", "TLS")


async def test_without_named_ports_tls_ends_at_all(world: World, nodes: list[dict]) -> None:
    ports = [port(80, 30080, name="a"), port(443, 30443, name="b")]
    await ensure(world, world.add_service(annotations={"ssl-cert": world.certificate()}, ports=ports))
    assert {told["Protocol"] for told in world.listeners().values()} == {"TLS"}
    assert world.target_group(443)["Protocol"] == "TCP"


async def test_health_checks_are_as_annotated(world: World, nodes: list[dict]) -> None:
    annotations = {
        "healthcheck-protocol": "HTTP",
        "healthcheck-port": "9000",
        "healthcheck-path": "/ready",
        "healthcheck-interval": "20",
        "healthcheck-timeout": "7",
        "healthcheck-healthy-threshold": "4",
        "healthcheck-unhealthy-threshold": "5",
        "healthcheck-success-codes": "200-299",
    }
    await ensure(world, world.add_service(annotations=annotations))
    group = world.target_group(80)
    assert (group["HealthCheckProtocol"], group["HealthCheckPort"], group["HealthCheckPath"]) == ("HTTP", "9000", "/ready")
    assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (20, 7)
    assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (4, 5)
    assert group["Matcher"] == {"HttpCode": "200-299"}
    assert [rule[:2] for rule in world.ingress(world.nodes_group)] == [("tcp", 9000), ("tcp", 30080)]


async def test_with_the_local_policy_nodes_tell_by_their_health_port(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(externalTrafficPolicy="Local", healthCheckNodePort=31000))
    group = world.target_group(80)
    assert (group["HealthCheckProtocol"], group["HealthCheckPort"], group["HealthCheckPath"]) == ("HTTP", "31000", "/healthz")
    assert [rule[:2] for rule in world.ingress(world.nodes_group)] == [("tcp", 30080), ("tcp", 31000)]


@pytest.mark.parametrize(
    ("annotations", "scheme"),
    [
        ({}, "internet-facing"),
        ({"type": "external"}, "internal"),
        ({"internal": "true"}, "internal"),
    ],
)
async def test_the_scheme_is_what_is_said_or_the_default_of_whoever_is_asked(
    world: World, nodes: list[dict], annotations: dict, scheme: str
) -> None:
    await ensure(world, world.add_service(annotations=annotations))
    balancer = world.balancer()
    assert balancer["Scheme"] == scheme
    subnets = world.private if scheme == "internal" else world.public
    assert [z["SubnetId"] for z in balancer["AvailabilityZones"]] == subnets


async def test_another_scheme_means_another_load_balancer(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    await ensure(world, service)
    before = world.balancer()["LoadBalancerArn"]
    service["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-scheme"] = "internal"
    await ensure(world, service)
    assert world.balancer()["Scheme"] == "internal" and world.balancer()["LoadBalancerArn"] != before
    assert 80 in world.listeners()


async def test_attributes_are_set_as_annotated(world: World, nodes: list[dict]) -> None:
    annotations = {
        "access-log-enabled": "true",
        "access-log-s3-bucket-name": "logs",
        "access-log-s3-bucket-prefix": "web",
        "cross-zone-load-balancing-enabled": "true",
        "attributes": "deletion_protection.enabled=false,dns_record.client_routing_policy=any_availability_zone",
        "target-group-attributes": "preserve_client_ip.enabled=true",
        "connection-draining-timeout": "60",
        "proxy-protocol": "*",
    }
    await ensure(world, world.add_service(annotations=annotations, sessionAffinity="ClientIP"))
    balancer = world.attributes(world.balancer()["LoadBalancerArn"])
    assert {k: balancer[k] for k in balancer if k.startswith("access_logs")} == {
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": "logs",
        "access_logs.s3.prefix": "web",
    }
    assert balancer["load_balancing.cross_zone.enabled"] == "true"
    assert balancer["dns_record.client_routing_policy"] == "any_availability_zone"
    group = world.attributes(world.target_group(80)["TargetGroupArn"])
    assert group["preserve_client_ip.enabled"] == group["proxy_protocol_v2.enabled"] == "true"
    assert group["deregistration_delay.timeout_seconds"] == "60"
    assert (group["stickiness.enabled"], group["stickiness.type"]) == ("true", "source_ip")


async def test_draining_can_be_switched_off(world: World, nodes: list[dict]) -> None:
    await ensure(world, world.add_service(annotations={"connection-draining-enabled": "false"}))
    group = world.attributes(world.target_group(80)["TargetGroupArn"])
    assert group["deregistration_delay.timeout_seconds"] == "0"


async def test_a_name_and_tags_of_the_users(world: World, nodes: list[dict]) -> None:
    service = world.add_service(annotations={"name": "shop", "additional-resource-tags": "team=a,stage="})
    await ensure(world, service)
    balancer = world.balancer()
    assert balancer["LoadBalancerName"] == "shop"
    for arn in (balancer["LoadBalancerArn"], world.target_group(80)["TargetGroupArn"]):
        assert world.tags(arn).items() >= {"team": "a", "stage": ""}.items()
    # A later name has no effect, and what bears the first one is found and deleted.
    service["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-name"] = "store"
    await ensure(world, service)
    assert world.balancer()["LoadBalancerName"] == "shop"
    await delete(world, service)
    assert world.inventory() == world.at_start


async def test_a_load_balancer_of_somebody_else_is_not_taken_over(world: World, nodes: list[dict]) -> None:
    world.elb.create_load_balancer(Name="shop", Type="network", Subnets=world.public)
    service = world.add_service(annotations={"name": "shop"})
    with pytest.raises(CloudError, match="belongs to somebody else"):
        await ensure(world, service)
    await delete(world, service)
    world.elb.delete_load_balancer(LoadBalancerArn=world.balancer()["LoadBalancerArn"])
    assert world.inventory() == world.at_start


async def test_strangers_are_asked_for_their_tags_once(world: World, nodes: list[dict]) -> None:
    world.elb.create_load_balancer(Name="stranger", Type="network", Subnets=world.public)
    service = world.add_service()
    async with world.provider() as aws:
        for tags in (1, 0):
            world.faults.clear()
            assert await aws.load_balancers().get(CLUSTER, service) is None
            assert world.faults.calls.count("DescribeTags") == tags


async def test_names_in_capitals_are_hosts_in_small_letters(world: World, nodes: list[dict]) -> None:
    status = await ensure(world, world.add_service(annotations={"name": "Shop"}))
    assert status["ingress"][0]["hostname"].startswith("shop-")


async def test_where_tls_ends_there_is_no_affinity(world: World, nodes: list[dict]) -> None:
    annotations = {"ssl-cert": world.certificate(), "ssl-ports": "443"}
    ports = [port(80, 30080, name="a"), port(443, 30443, name="b")]
    await ensure(world, world.add_service(annotations=annotations, ports=ports, sessionAffinity="ClientIP"))
    sticky = {n: world.attributes(world.target_group(n)["TargetGroupArn"])["stickiness.enabled"] for n in (80, 443)}
    assert sticky == {80: "true", 443: "false"}


async def test_addresses_can_be_given(world: World, nodes: list[dict]) -> None:
    """moto does not tell the addresses of a load balancer; that the request has them is seen by what AWS would refuse."""
    allocations = [world.ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(2)]
    await ensure(world, world.add_service(annotations={"eip-allocations": ",".join(allocations)}))
    assert {z["SubnetId"] for z in world.balancer()["AvailabilityZones"]} == set(world.public)
    await ensure(
        world, world.add_service("two", annotations={"private-ipv4-addresses": "10.0.10.9,10.0.11.9", "internal": "true"})
    )


async def test_the_address_type_can_be_changed(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    await ensure(world, service)
    service["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-ip-address-type"] = "dualstack"
    await ensure(world, service)
    assert world.balancer()["IpAddressType"] == "dualstack"


async def test_nodes_come_and_go(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    await ensure(world, service)
    newcomer = world.add_node()
    async with world.provider() as aws:
        await aws.load_balancers().update(CLUSTER, service, [nodes[0], newcomer])
    assert world.targets(80) == sorted((n["metadata"]["uid"], 30080) for n in (nodes[0], newcomer))


async def test_an_update_makes_what_is_missing(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    async with world.provider() as aws:
        await aws.load_balancers().update(CLUSTER, service, nodes)
    assert len(world.targets(80)) == 2


async def test_stopped_instances_are_not_registered_and_stay_where_they_are(world: World, nodes: list[dict]) -> None:
    stopped, late = nodes[0], world.add_node()
    service = world.add_service()
    await ensure(world, {**service}, "")
    world.ec2.stop_instances(InstanceIds=[stopped["metadata"]["uid"]])
    async with world.provider() as aws:
        await aws.load_balancers().update(CLUSTER, service, world.nodes)
    assert stopped["metadata"]["uid"] in {id for id, _ in world.targets(80)}
    other = world.add_service("other")
    world.elb.delete_load_balancer(LoadBalancerArn=world.balancer()["LoadBalancerArn"])
    await ensure(world, other)
    assert {id for id, _ in world.targets(80)} == {nodes[1]["metadata"]["uid"], late["metadata"]["uid"]}


async def test_only_nodes_with_the_labels_are_targets(world: World, nodes: list[dict]) -> None:
    nodes[0]["metadata"]["labels"] = {"pool": "edge"}
    await ensure(world, world.add_service(annotations={"target-node-labels": "pool=edge"}))
    assert world.targets(80) == [(nodes[0]["metadata"]["uid"], 30080)]


async def test_a_changed_node_port_moves_traffic_to_a_new_target_group(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    await ensure(world, service)
    service["spec"]["ports"] = [port(80, 30090)]
    await ensure(world, service)
    assert world.targets(80) == sorted((n["metadata"]["uid"], 30090) for n in nodes)
    assert len(world.target_groups()) == 1
    assert [rule[:2] for rule in world.ingress(world.nodes_group)] == [("tcp", 30090)]


async def test_ports_are_added_and_removed(world: World, nodes: list[dict]) -> None:
    service = world.add_service(ports=[port(80, 30080), port(81, 30081)])
    await ensure(world, service)
    service["spec"]["ports"] = [port(81, 30081), port(82, 30082)]
    await ensure(world, service)
    assert set(world.listeners()) == {81, 82}
    assert len(world.target_groups()) == 2


async def test_another_protocol_takes_the_place_of_a_listener(world: World, nodes: list[dict]) -> None:
    service = world.add_service()
    await ensure(world, service)
    service["spec"]["ports"] = [port(80, 30080, "UDP")]
    await ensure(world, service)
    assert {n: told["Protocol"] for n, told in world.listeners().items()} == {80: "UDP"}


@pytest.mark.parametrize("annotations", [{"type": "nlb-ip"}, {"type": "external", "nlb-target-type": "ip"}])
async def test_pods_can_be_targets_and_are_followed(world: World, nodes: list[dict], annotations: dict) -> None:
    service = world.add_service(annotations=annotations, ports=[port(80)])
    world.put_endpoints(service, "10.0.0.50", "10.0.0.51")
    async with world.provider() as aws:
        await aws.load_balancers().ensure(CLUSTER, service, nodes)
        assert world.target_group(80)["TargetType"] == "ip"
        assert world.targets(80) == [("10.0.0.50", 8080), ("10.0.0.51", 8080)]
        assert [rule[:2] for rule in world.ingress(world.nodes_group)] == [("tcp", 8080)]
        world.put_endpoints(service, "10.0.0.51", "10.0.0.52")
        await until(lambda: world.targets(80) == [("10.0.0.51", 8080), ("10.0.0.52", 8080)])
        await aws.load_balancers().ensure_deleted(CLUSTER, service)
        world.put_endpoints(service, "10.0.0.54")
    assert world.inventory() == world.at_start


async def test_following_pods_goes_on_after_a_fault(world: World, nodes: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AGAIN", 0.1)
    service = world.add_service(annotations={"type": "nlb-ip"}, ports=[port(80)])
    world.put_endpoints(service, "10.0.0.50")
    async with world.provider() as aws:
        await aws.load_balancers().ensure(CLUSTER, service, nodes)
        world.faults.spoil(2, "throttle")
        world.put_endpoints(service, "10.0.0.51")
        await until(lambda: world.targets(80) == [("10.0.0.51", 8080)])


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.05)


async def test_other_controllers_are_left_their_services(world: World, nodes: list[dict]) -> None:
    by_class = world.add_service("a", loadBalancerClass="service.k8s.aws/nlb")
    by_type = world.add_service("b", annotations={"type": "external"})
    async with world.provider("LeaveTypes = external, nlb-ip") as aws:
        for service in (by_class, by_type):
            for call in (aws.load_balancers().ensure, aws.load_balancers().update):
                with pytest.raises(ImplementedElsewhere):
                    await call(CLUSTER, service, nodes)
            await aws.load_balancers().ensure_deleted(CLUSTER, service)
    assert world.inventory() == world.at_start


async def test_what_was_made_before_another_controller_came_is_deleted(world: World, nodes: list[dict]) -> None:
    service = world.add_service(annotations={"type": "external"})
    await ensure(world, service)
    async with world.provider("LeaveTypes = external") as aws:
        await aws.load_balancers().ensure_deleted(CLUSTER, service)
    assert world.inventory() == world.at_start


async def test_hundreds_of_targets_are_registered(world: World, nodes: list[dict]) -> None:
    service = world.add_service(annotations={"type": "nlb-ip"}, ports=[port(80)])
    addresses = [f"10.0.{n // 200}.{n % 200 + 10}" for n in range(450)]
    world.put_endpoints(service, *addresses)
    await ensure(world, service)
    assert len(world.targets(80)) == 450

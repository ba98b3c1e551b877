"""Application load balancers of Gateways, against moto's server.

moto does not evaluate rules: what is tested is what AWS is told, by what it tells of it. It does not know that a certificate is in use either.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import Any

import pytest
from aws_world import World, port, self_signed, until_done
from test_aws_faults import changing

from pilothouse.client.reconcile.kinds import NODES, SERVICES
from pilothouse.cloud.provider import AddressNotUsable, Backend, CloudError, GatewayPlan
from pilothouse.cloud.providers.aws.listeners import rule_of_api
from pilothouse.cloud.providers.aws.model import Fixed, Forward, Redirect
from pilothouse.dataplane import model
from pilothouse.dataplane.model import Edge, Host, Match, Rule, Share, Site, Text

KEY = "Gateway/default/web"


def plan(*edges: Edge, backends: tuple[Backend, ...] = (), **annotations: str) -> GatewayPlan:
    named = {f"alb.ingress.kubernetes.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    return GatewayPlan(KEY, edges, backends or (Backend("web", "default", "web", 80),), annotations=named)


def to(*pools: str, **match: Any) -> Rule:
    return Rule(Match(**match), tuple(Share(p) for p in pools))


def http(*rules: Rule, hostname: str = "") -> Edge:
    return Edge("port-80", "", 80, False, (Site("", (Host(hostname, rules),)),))


@pytest.fixture
def service(world: World) -> dict:
    world.add_node(0)
    world.add_node(1)
    world.remember()
    return world.add_service()


def rules_of(world: World, listener: int) -> list[tuple[tuple[tuple[str, tuple[str, ...], str], ...], Any]]:
    """Conditions and actions in the order of priorities, with the ports of target groups for their ARNs."""
    ports = {g["TargetGroupArn"]: g["Port"] for g in world.target_groups()}
    told = world.elb.describe_rules(ListenerArn=world.listeners()[listener]["ListenerArn"])["Rules"]
    told = sorted((t for t in told if t["Priority"] != "default"), key=lambda t: int(t["Priority"]))
    found = []
    for each in told:
        rule = rule_of_api(each)
        assert rule is not None
        action = rule.action
        if isinstance(action, Forward):
            action = Forward(tuple((str(ports[arn]), weight) for arn, weight in action.groups))
        found.append((tuple((c.field, c.values, c.name) for c in rule.conditions), action))
    return found


async def ensure(world: World, wanted: GatewayPlan) -> Any:
    async with world.provider() as aws:
        return await aws.gateways().ensure(wanted)


async def delete(world: World) -> None:
    async with world.provider() as aws:
        await aws.gateways().ensure_deleted(KEY)


async def test_a_gateway_is_an_application_load_balancer_with_a_name_of_its_own(world: World, service: dict) -> None:
    state = await ensure(world, plan(http(to("web"))))
    balancer = world.balancer()
    assert state.addresses == ({"type": "Hostname", "value": balancer["DNSName"]},)
    assert not state.problems
    assert (balancer["Type"], balancer["Scheme"]) == ("application", "internal")
    assert {z["SubnetId"] for z in balancer["AvailabilityZones"]} == set(world.private)
    assert world.listeners()[80]["Protocol"] == "HTTP"
    assert world.targets(80) == sorted((n["metadata"]["uid"], 30080) for n in world.nodes)
    (own,) = balancer["SecurityGroups"]
    assert world.ingress(own) == [("tcp", 80, "0.0.0.0/0")]
    assert world.ingress(world.nodes_group) == [("tcp", 30080, own)]
    tags = world.tags(balancer["LoadBalancerArn"])
    assert tags["kubernetes.io/gateway-name"] == "default/web"
    await delete(world)
    await delete(world)
    assert world.inventory() == world.at_start


async def test_a_second_ensure_changes_nothing(world: World, service: dict) -> None:
    wanted = plan(
        http(
            to("web", path="/a", headers=(Text("x-b", "1"), Text("x-a", "2")), query=(Text("q", "v*"),), method="GET"),
            Rule(Match(path="/w"), (Share("web", 3), Share("other", 1))),
            Rule(Match(path="/r"), filters=model.Filters(redirect=model.Redirect(301, "https"))),
            hostname="example.com",
        ),
        backends=(Backend("web", "default", "web", 80), Backend("other", "default", "other", 80)),
    )
    world.add_service("other", ports=[port(80, 30081)])
    await ensure(world, wanted)
    world.faults.clear()
    await ensure(world, wanted)
    assert [c for c in world.faults.calls if not c.startswith(("Describe", "List"))] == []


async def test_rules_match_by_host_path_header_query_and_method(world: World, service: dict) -> None:
    rules = (
        to("web", path="/exact", path_type="Exact"),
        to("web", path="/prefix/"),
        to("web", method="POST", headers=(Text("x-env", "test"),), query=(Text("a", "b*c"),)),
        to("web"),
    )
    await ensure(world, plan(http(*rules, hostname="*.example.com")))
    host = ("host-header", ("*.example.com",), "")
    forward = Forward((("30080", 1),))
    assert rules_of(world, 80) == [
        ((host, ("path-pattern", ("/exact",), "")), forward),
        ((host, ("path-pattern", ("/prefix", "/prefix/*"), "")), forward),
        (
            (
                host,
                ("http-header", ("test",), "x-env"),
                ("http-request-method", ("POST",), ""),
                ("query-string", ("a=b\\*c",), ""),
            ),
            forward,
        ),
        ((host,), forward),
        ((host,), Fixed(404)),
    ]


async def test_the_most_specific_host_is_asked_and_it_alone(world: World, service: dict) -> None:
    sites = (
        Site("", (Host("", (to("web"),)), Host("*.example.com", (to("web", path="/wild"),)))),
        Site("www.example.com", (Host("www.example.com", (to("web", path="/www"),)),)),
    )
    await ensure(world, plan(Edge("port-80", "", 80, False, sites)))
    assert [(conditions[0][1][0], len(conditions), type(action)) for conditions, action in rules_of(world, 80)] == [
        ("www.example.com", 2, Forward),
        ("www.example.com", 1, Fixed),
        ("*.example.com", 2, Forward),
        ("*.example.com", 1, Fixed),
    ]
    assert world.listeners()[80]["DefaultActions"][0]["Type"] == "forward"


async def test_what_no_rule_matches_is_not_found(world: World, service: dict) -> None:
    await ensure(world, plan(http()))
    (action,) = world.listeners()[80]["DefaultActions"]
    assert action["FixedResponseConfig"]["StatusCode"] == "404"


async def test_shares_are_weighted_target_groups(world: World, service: dict) -> None:
    world.add_service("other", ports=[port(80, 30081)])
    backends = (Backend("web", "default", "web", 80), Backend("other", "default", "other", 80))
    rule = Rule(Match(path="/w"), (Share("web", 9000), Share("other", 1000), Share("web", 0)))
    await ensure(world, plan(http(rule), backends=backends))
    ((_, action),) = rules_of(world, 80)
    assert sorted(action.groups) == [("30080", 999), ("30081", 111)]


async def test_a_whole_path_can_go_under_a_prefix(world: World, service: dict) -> None:
    change = model.Filters(redirect=model.Redirect(path=model.PathChange("prefix", "/v2")))
    await ensure(world, plan(http(Rule(Match(), filters=change))))
    (action,) = world.listeners()[80]["DefaultActions"]
    assert action["RedirectConfig"]["Path"] == "/v2/#{path}"


async def test_what_cannot_be_done_answers_500(world: World, service: dict) -> None:
    mirrored = Rule(Match(path="/x"), (Share("web"),), model.Filters(mirrors=(model.Mirror("web"),)))
    redirect = Rule(Match(path="/old"), filters=model.Filters(redirect=model.Redirect(301, "https")))
    state = await ensure(world, plan(http(mirrored, redirect)))
    assert "mirror" in state.problems["port-80"]
    assert [action for _, action in rules_of(world, 80)] == [Fixed(500), Redirect(301, "HTTPS", port="443")]


def https(*certificates: model.Certificate) -> Edge:
    sites = tuple(Site(f"{n}.example.com", (Host(f"{n}.example.com", (to("web"),)),), (c,)) for n, c in enumerate(certificates))
    return Edge("port-443", "", 443, True, sites)


def certificate(name: str) -> model.Certificate:
    chain, key = self_signed(name)
    return model.Certificate(chain.decode(), key.decode())


async def test_certificates_are_brought_to_acm_and_taken_away(world: World, service: dict) -> None:
    one, two, three = (certificate(f"{n}.example.com") for n in range(3))
    await ensure(world, plan(https(one, two)))
    listener = world.listeners()[443]
    assert listener["Protocol"] == "HTTPS"
    told = world.elb.describe_listener_certificates(ListenerArn=listener["ListenerArn"])["Certificates"]
    before = {c["CertificateArn"] for c in told}
    assert len(before) == 2 and before == set(world.inventory()["certificates"])
    await ensure(world, plan(https(one, three)))
    after = set(world.inventory()["certificates"])
    assert len(after) == 2 and len(after & before) == 1
    await delete(world)
    assert world.inventory() == world.at_start


async def test_certificates_of_acm_can_be_named(world: World, service: dict) -> None:
    arn = world.certificate()
    world.remember()
    edge = Edge("port-443", "", 443, True, (Site("", (Host("", (to("web"),)),)),))
    state = await ensure(world, plan(edge, certificate_arn=arn, ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06"))
    assert not state.problems
    listener = world.listeners()[443]
    assert listener["Certificates"][0]["CertificateArn"] == arn
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    await delete(world)
    assert world.inventory() == world.at_start


async def test_tls_that_passes_through_is_a_problem_and_the_others_listen(world: World, service: dict) -> None:
    through = Edge("port-443", "", 443, True, (Site("", tunnels=(("", (Share("web"),)),)),))
    state = await ensure(world, plan(http(to("web")), through))
    assert set(state.problems) == {"port-443"}
    assert set(world.listeners()) == {80}


async def test_grpc_goes_to_backends_of_tls_listeners(world: World, service: dict) -> None:
    await ensure(world, plan(https(certificate("0.example.com")), backends=(Backend("web", "default", "web", 80, "grpc"),)))
    (group,) = world.target_groups()
    assert group["ProtocolVersion"] == "GRPC"


async def test_an_address_cannot_be_asked_for(world: World, service: dict) -> None:
    wanted = dataclasses.replace(plan(http(to("web"))), wanted=(("IPAddress", "192.0.2.1"),))
    with pytest.raises(AddressNotUsable):
        await ensure(world, wanted)
    assert world.inventory() == world.at_start
    state = await ensure(world, plan(http(to("web"))))
    own = ((state.addresses[0]["type"], state.addresses[0]["value"]),)
    await ensure(world, dataclasses.replace(plan(http(to("web"))), wanted=own))


async def test_annotations_of_a_gateway(world: World, service: dict) -> None:
    await ensure(
        world,
        plan(
            http(to("web")),
            scheme="internet-facing",
            inbound_cidrs="192.0.2.0/24",
            load_balancer_attributes="idle_timeout.timeout_seconds=120",
            target_group_attributes="slow_start.duration_seconds=30",
            healthcheck_path="/ready",
            success_codes="200-299",
            tags="team=a",
        ),
    )
    balancer = world.balancer()
    assert balancer["Scheme"] == "internet-facing"
    assert world.ingress(balancer["SecurityGroups"][0]) == [("tcp", 80, "192.0.2.0/24")]
    assert world.attributes(balancer["LoadBalancerArn"])["idle_timeout.timeout_seconds"] == "120"
    (group,) = world.target_groups()
    assert (group["HealthCheckPath"], group["Matcher"]) == ("/ready", {"HttpCode": "200-299"})
    assert world.attributes(group["TargetGroupArn"])["slow_start.duration_seconds"] == "30"
    assert world.tags(group["TargetGroupArn"])["team"] == "a"


async def test_a_gateway_needs_two_zones(world: World, service: dict) -> None:
    with pytest.raises(CloudError, match="two zones"):
        await ensure(world, plan(http(to("web")), subnets=world.private[0]))


async def test_rules_move_without_a_moment_in_disorder(world: World, service: dict) -> None:
    paths = ["/a", "/b", "/c", "/d"]
    await ensure(world, plan(http(*(to("web", path=p) for p in paths))))

    async def reorder(wanted: list[str]) -> list[str]:
        world.faults.clear()
        await ensure(world, plan(http(*(to("web", path=p) for p in wanted))))
        assert [conditions[0][1][0] for conditions, _ in rules_of(world, 80)] == wanted
        return [c for c in world.faults.calls if not c.startswith(("Describe", "List"))]

    assert await reorder(["/d", "/a", "/b", "/c"]) == ["SetRulePriorities"]
    assert await reorder(["/d", "/x", "/a", "/b", "/c"]) == ["CreateRule"]
    assert await reorder(["/d", "/a", "/c"]) == ["DeleteRule", "DeleteRule"]
    assert sorted(await reorder(["/c", "/y", "/a", "/d"])) == ["CreateRule", "SetRulePriorities"]


def other_rules(world: World) -> None:
    listener = world.listeners()[80]["ListenerArn"]
    first, second, *_ = (r["RuleArn"] for r in world.elb.describe_rules(ListenerArn=listener)["Rules"])
    world.elb.delete_rule(RuleArn=first)
    answer = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
    world.elb.modify_rule(RuleArn=second, Actions=answer)
    path = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/mine"]}}]
    world.elb.create_rule(ListenerArn=listener, Priority=1, Conditions=path, Actions=answer)


def another_default(world: World) -> None:
    answer = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
    world.elb.modify_listener(ListenerArn=world.listeners()[443]["ListenerArn"], DefaultActions=answer)


def another_certificate(world: World) -> None:
    other = [{"CertificateArn": world.certificate("other.example.com")}]
    world.at_start = {**world.at_start, "certificates": [other[0]["CertificateArn"]]}
    arn = world.listeners()[443]["ListenerArn"]
    told = world.elb.describe_listener_certificates(ListenerArn=arn)["Certificates"]
    world.elb.remove_listener_certificates(ListenerArn=arn, Certificates=[{"CertificateArn": told[-1]["CertificateArn"]}])
    world.elb.add_listener_certificates(ListenerArn=arn, Certificates=other)


def a_listener_less(world: World) -> None:
    world.elb.delete_listener(ListenerArn=world.listeners()[443]["ListenerArn"])


@pytest.mark.parametrize("change", [other_rules, another_default, another_certificate, a_listener_less])
async def test_drift_is_repaired(world: World, service: dict, change: Any) -> None:
    wanted = plan(
        http(to("web", path="/a"), to("web", path="/b"), to("web", path="/c")),
        https(certificate("0.example.com"), certificate("1.example.com")),
    )

    def shape() -> Any:
        told = world.listeners()
        certificates = world.elb.describe_listener_certificates(ListenerArn=told[443]["ListenerArn"])["Certificates"]
        default = told[443]["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"]
        return rules_of(world, 80), rules_of(world, 443), {c["CertificateArn"] for c in certificates}, default

    await ensure(world, wanted)
    before = shape()
    change(world)
    await ensure(world, wanted)
    assert shape() == before
    await delete(world)
    assert world.inventory() == world.at_start


async def test_pods_services_and_nodes_are_followed(world: World, service: dict) -> None:
    direct = world.add_service("direct", ports=[port(80)], type="ClusterIP")
    world.put_endpoints(direct, "10.0.0.50")
    backends = (Backend("web", "default", "web", 80), Backend("direct", "default", "direct", 80))
    wanted = plan(http(to("direct", path="/direct"), to("web")), backends=backends)

    def targets(kind: str) -> list[tuple[str, int]]:
        (arn,) = (g["TargetGroupArn"] for g in world.target_groups() if g["TargetType"] == kind)
        told = world.elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return sorted((d["Target"]["Id"], d["Target"]["Port"]) for d in told)

    async with world.provider() as aws:
        await aws.gateways().ensure(wanted)
        assert targets("ip") == [("10.0.0.50", 8080)]
        world.put_endpoints(direct, "10.0.0.51", "10.0.0.52")
        await until(lambda: targets("ip") == [("10.0.0.51", 8080), ("10.0.0.52", 8080)])
        gone = world.nodes[0]
        world.caches[NODES].drop(gone)
        await until(lambda: len(targets("instance")) == 1)
        world.caches[SERVICES].put({**service, "spec": {**service["spec"], "ports": [port(80, 30099)]}})
        await until(lambda: [number for _, number in targets("instance")] == [30099])
        await aws.gateways().ensure_deleted(KEY)
    assert world.inventory() == world.at_start


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition_holds(condition):
            await asyncio.sleep(0.05)


def condition_holds(condition: Any) -> bool:
    """Target groups are changed for others meanwhile."""
    try:
        return condition()
    except ValueError:
        return False


async def test_a_fault_or_an_end_at_a_call_leads_to_the_same_end(world: World, service: dict) -> None:
    """At those calls that load balancers of Services do not have; the others are as for them."""
    wanted = plan(http(to("web", path="/a")), https(certificate("0.example.com")))

    def sketch() -> Any:
        inventory = {k: len(v) for k, v in world.inventory().items()}
        return inventory, rules_of(world, 80), rules_of(world, 443)

    async def calls_of(work: Any) -> list[str]:
        async with world.provider() as aws:
            world.faults.clear()
            await work(aws)
            return world.faults.calls

    def make(aws: Any) -> Any:
        return aws.gateways().ensure(wanted)

    def unmake(aws: Any) -> Any:
        return aws.gateways().ensure_deleted(KEY)

    calls = await calls_of(make)
    good = sketch()
    calls_to_delete = await calls_of(unmake)
    assert world.inventory() == world.at_start
    own = ("ImportCertificate", "CreateListener", "CreateRule", "CreateLoadBalancer", "DeleteCertificate")
    numbers = [n for n in changing(calls) if calls[n - 1] in own]
    numbers_to_delete = [n for n in changing(calls_to_delete) if calls_to_delete[n - 1] in own]
    assert len(numbers) == 7 and len(numbers_to_delete) == 1
    for n, m in itertools.zip_longest(numbers, numbers_to_delete, fillvalue=1):
        async with world.provider() as aws:
            world.faults.spoil(n, "lose")
            await until_done(lambda aws=aws: make(aws))
            assert sketch() == good, f"call {n}"
            world.faults.spoil(m, "lose")
            await until_done(lambda aws=aws: unmake(aws))
        assert world.inventory() == world.at_start, f"delete, call {m}"
    for n in (n for n in numbers if n < len(calls)):
        async with world.provider() as aws:
            world.faults.spoil(n + 1, "break")
            with pytest.raises(CloudError):
                await make(aws)
        async with world.provider() as aws:
            world.faults.clear()
            if n % 2:
                await make(aws)
                assert sketch() == good, f"call {n}"
            await unmake(aws)
        assert world.inventory() == world.at_start, f"call {n}"

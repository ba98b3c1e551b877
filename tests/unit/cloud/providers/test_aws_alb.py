"""What a GatewayPlan asks of an application load balancer, and what that one cannot do. Nothing is called."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pilothouse.cloud.provider import Backend, GatewayPlan
from pilothouse.cloud.providers.aws.alb import Cluster, Wish, read
from pilothouse.cloud.providers.aws.model import Condition, Fixed, Forward, Redirect
from pilothouse.dataplane import model
from pilothouse.dataplane.model import Edge, Host, Match, Rule, Share, Site, Text

BACKENDS = (
    Backend("web", "default", "web", 80),
    Backend("tls", "default", "web", 80, tls=model.UpstreamTls("a.example")),
    Backend("grpc", "default", "web", 80, "grpc"),
)
SERVICE = {"spec": {"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]}}


def wish(*rules: Rule, hostname: str = "", tls: bool = False) -> Wish:
    certificate = model.Certificate("chain", "key")
    site = Site(hostname, (Host(hostname, rules),), (certificate,) if tls else ())
    plan = GatewayPlan("Gateway/default/web", (Edge("edge", "", 443 if tls else 80, tls, (site,)),), BACKENDS)
    around = Cluster(lambda namespace, name: SERVICE, lambda service, port, family: (), ())
    return read(plan, around, {certificate: "arn:aws:acm:x"})


def to(*pools: str, **match: Any) -> Rule:
    return Rule(Match(**match), tuple(Share(p) for p in pools))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule(Match(path="/x"), (Share("web"),), model.Filters(rewrite=model.Rewrite("a.example"))), "rewrite"),
        (Rule(Match(path="/x"), (Share("web"),), model.Filters(mirrors=(model.Mirror("web"),))), "mirror"),
        (Rule(Match(path="/x"), (Share("web"),), model.Filters(request=model.Headers(remove=("a",)))), "headers"),
        (Rule(Match(path="/x"), (Share("web"),), model.Filters(response=model.Headers(remove=("a",)))), "headers"),
        (Rule(Match(path="/x"), (Share("web"),), model.Filters(cors=model.Cors())), "CORS"),
        (Rule(Match(path="/x"), (Share("web", filters=model.Filters(cors=model.Cors())),)), "CORS"),
        (Rule(Match(path="/x"), filters=model.Filters(redirect=model.Redirect(307))), "307"),
        (Rule(Match(path="/x"), filters=model.Filters(redirect=model.Redirect(path=model.PathChange("prefix", "/y")))), "prefix"),
        (Rule(Match(path="/x"), (Share("web"), Share(""))), "answer 500 to a share"),
        (Rule(Match(path="/x"), (Share("tls"),)), "verify the certificates"),
        (Rule(Match(path="/x"), (Share("grpc"),)), "HTTPS listeners only"),
    ],
)
def test_what_cannot_be_done_is_a_problem_and_answers_500(rule: Rule, problem: str) -> None:
    found = wish(dataclasses.replace(rule, origin="HTTPRoute/default/r#0"))
    assert problem in found.problems["edge"] and "HTTPRoute/default/r#0" in found.problems["edge"]
    assert [r.action for r in found.listeners[0].rules] == [Fixed(500)]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (to("web", path="/[a-z]+", path_type="RegularExpression"), "regular expressions"),
        (to("web", headers=(Text("a", "b", regex=True),)), "regular expressions"),
        (to("web", query=(Text("a", "b", regex=True),)), "regular expressions"),
        (to("web", headers=(Text("a", "b*"),)), "cannot compare headers"),
        (to("web", path="/a*"), "cannot compare paths"),
        (to("web", path="/" + "a" * 130), "cannot compare paths"),
        (to("web", path="/a", headers=tuple(Text(f"h{n}", "v") for n in range(5))), "compares 5 values"),
    ],
)
def test_a_match_that_cannot_be_told_is_left_out_and_a_problem(rule: Rule, problem: str) -> None:
    found = wish(rule, to("web", path="/fine"))
    assert problem in found.problems["edge"]
    assert len(found.listeners[0].rules) == 1


def test_time_limits_and_retries_are_problems_of_rules_that_work() -> None:
    found = wish(Rule(Match(path="/x"), (Share("web"),), request_timeout=1.0, retry=model.Retry(2)))
    assert "time limits" in found.problems["edge"] and "retries" in found.problems["edge"]
    assert [type(r.action) for r in found.listeners[0].rules] == [Forward]


def test_no_shares_and_only_weights_of_nothing_answer_500_and_are_no_problem() -> None:
    found = wish(Rule(Match(path="/a")), Rule(Match(path="/b"), (Share("web", 0),)), Rule(Match(path="/c"), (Share(""),)))
    assert not found.problems
    assert [r.action for r in found.listeners[0].rules] == [Fixed(500)] * 3
    assert not found.target_groups


@pytest.mark.parametrize(
    ("redirect", "told"),
    [
        (model.Redirect(301, "https"), Redirect(301, "HTTPS", port="443")),
        (model.Redirect(302, "http", port=8080), Redirect(302, "HTTP", port="8080")),
        (model.Redirect(302, hostname="example.org", port=8443), Redirect(302, host="example.org", port="8443")),
        (model.Redirect(path=model.PathChange("full", "/new")), Redirect(path="/new")),
    ],
)
def test_redirects(redirect: model.Redirect, told: Redirect) -> None:
    found = wish(Rule(Match(path="/old"), filters=model.Filters(redirect=redirect)))
    assert [r.action for r in found.listeners[0].rules] == [told]


def test_what_comes_after_a_rule_for_everything_is_never_reached() -> None:
    found = wish(to("web", path="/a"), to("web"), to("web", path="/b"))
    (listener,) = found.listeners
    assert [r.conditions for r in listener.rules] == [(Condition("path-pattern", ("/a", "/a/*")),)]
    assert isinstance(listener.action, Forward)


@pytest.mark.parametrize(("hostname", "known"), [("localhost", False), ("*.com", True), ("a.example.com", True)])
def test_hosts_need_a_dot(hostname: str, known: bool) -> None:
    found = wish(to("web"), hostname=hostname)
    assert ("edge" not in found.problems) is known
    assert bool(found.listeners[0].rules) is known


def test_grpc_is_spoken_behind_tls() -> None:
    found = wish(to("grpc"), tls=True)
    (group,) = found.target_groups
    assert (group.version, group.health["Matcher"]) == ("GRPC", {"GrpcCode": "12"})
    assert found.listeners[0].certificates == ("arn:aws:acm:x",)

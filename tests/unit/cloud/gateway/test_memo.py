"""What is kept of a decision is used again where nothing has changed, and only there."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SERVICES
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES, REFERENCE_GRANTS
from pilothouse.cloud.gateway.memo import Memo
from pilothouse.cloud.gateway.outcome import Outcome, outcome

from .world import Obj, World, backend, config_map, gateway, grant, pair, policy, route, rule, service


def decide(world: World, memo: Memo | None, *routes: Obj, to: Obj | None = None) -> Outcome:
    return outcome(to or gateway(), (), {"HTTPRoute": routes}, world, memo)


def hosts(out: Outcome) -> dict[str, Any]:
    return {h.hostname: h for e in out.plan.edges for s in e.sites for h in s.hosts}


def test_what_has_not_changed_is_the_same_object() -> None:
    world, memo = World(), Memo()
    one, two = route(name="one", hosts=["one.com"]), route(name="two", hosts=["two.com"])
    before = decide(world, memo, one, two)
    after = decide(world, memo, one, route(name="two", hosts=["two.com"]))
    assert after.plan == before.plan
    assert hosts(after)["one.com"] is hosts(before)["one.com"]
    assert hosts(after)["two.com"] is not hosts(before)["two.com"]


def test_routes_that_are_gone_are_forgotten() -> None:
    world, memo = World(), Memo()
    decide(world, memo, route(name="one"), route(name="two"))
    assert [r.origin for h in hosts(decide(world, memo, route(name="two"))).values() for r in h.rules] == ["HTTPRoute/ns/two#0"]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (SERVICES, service("web", {"name": "http", "port": 81, "protocol": "TCP"})),
        (SERVICES, service("web", {"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"})),
        (SERVICES, service("far", namespace="far")),
        (REFERENCE_GRANTS, grant("far", "HTTPRoute", "ns", "Service")),
        (BACKEND_TLS_POLICIES, policy()),
        (BACKEND_TLS_POLICIES, policy("secure", "secure", hostname="new.example.com", created=-1)),
        (CONFIG_MAPS, config_map(text=pair("b.example.com")[0])),
    ],
)
def test_a_decision_with_a_memo_is_that_without_one_whatever_changes(kind: Any, change: Obj) -> None:
    world = World().put(SERVICES, service("secure")).put(BACKEND_TLS_POLICIES, policy("of-secure", "secure", created=5)).with_ca()
    if kind == REFERENCE_GRANTS:
        world.put(SERVICES, service("far", namespace="far"))
    routes = [route(rule(to=[backend(), backend("secure"), backend("far", namespace="far"), backend("missing")]))]
    memo = Memo()
    decide(world, memo, *routes)
    world.put(kind, change)
    kept, anew = decide(world, memo, *routes), decide(world, None, *routes)
    assert (kept.plan, kept.routes, kept.policies) == (anew.plan, anew.routes, anew.policies)


def test_another_certificate_for_backends_counts() -> None:
    world, memo = World().with_ca().put(BACKEND_TLS_POLICIES, policy()), Memo()
    showing = gateway(tls={"backend": {"clientCertificateRef": {"group": "", "kind": "Secret", "name": "cert"}}})
    one = route()
    decide(world, memo, one)
    assert decide(world, memo, one, to=showing).plan == decide(world, None, one, to=showing).plan

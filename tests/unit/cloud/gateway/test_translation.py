"""From routes to the rules of a data plane: order, matches, filters, shares, limits."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.dataplane.model import (
    Cors,
    Filters,
    Headers,
    Match,
    Mirror,
    PathChange,
    Redirect,
    Retry,
    Rewrite,
    Rule,
    Share,
    Text,
)

from .world import Obj, World, backend, gateway, listener, obj, parent, path, route, rule, service, terminating


def rules_of(world: World, *routes: Obj, host: str = "", at: Obj | None = None, **more: Any) -> list[Rule]:
    out = world.decide(gateway(at or listener()), *routes, **more)
    found = [h for h in out.plan.edges[0].sites[0].hosts if h.hostname == host]
    return list(found[0].rules) if found else []


def paths(world: World, *routes: Obj, **how: Any) -> list[str]:
    return [r.match.path for r in rules_of(world, *routes, **how)]


def test_more_specific_matches_go_first() -> None:
    header, query = {"headers": [{"name": "a", "value": "1"}]}, {"queryParams": [{"name": "q", "value": "1"}]}
    wanted = [
        path("/a", "Exact"),
        path("/a.*", "RegularExpression"),
        path("/long/prefix"),
        path("/a", method="GET", **header),
        path("/a", method="GET"),
        path("/a", headers=[{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]),
        path("/a", **header, **query),
        path("/a", **header),
        path("/a", **query),
        path("/a"),
        path("/"),
    ]
    made = [r.match for r in rules_of(World(), route(*(rule(m) for m in reversed(wanted))))]
    assert [(m.path_type, m.path, m.method, len(m.headers), len(m.query)) for m in made] == [
        (
            m["path"]["type"],
            m["path"]["value"],
            m.get("method", ""),
            len(m.get("headers", ())),
            len(m.get("queryParams", ())),
        )
        for m in wanted
    ]


def test_of_equal_matches_the_older_route_goes_first_then_the_name_then_the_order() -> None:
    made = rules_of(
        World(),
        route(rule(), rule(), name="b", created=1),
        route(name="c", created=0),
        route(name="a", created=1),
    )
    assert [r.origin for r in made] == ["HTTPRoute/ns/c#0", "HTTPRoute/ns/a#0", "HTTPRoute/ns/b#0", "HTTPRoute/ns/b#1"]


def test_what_no_rule_of_a_hostname_matches_goes_to_those_of_the_wider_ones() -> None:
    routes = (
        route(rule(path("/any")), name="any"),
        route(rule(path("/wild/longer")), name="wild", hosts=["*.example.com"]),
        route(rule(path("/x")), name="exact", hosts=["a.example.com"]),
    )
    assert paths(World(), *routes, host="a.example.com") == ["/x", "/wild/longer", "/any"]
    assert paths(World(), *routes, host="*.example.com") == ["/wild/longer", "/any"]
    assert paths(World(), *routes) == ["/any"]


def test_where_routes_come_to_one_hostname_the_one_that_named_it_closer_goes_first() -> None:
    routes = (
        route(rule(path("/longer")), name="wide", hosts=["*.example.com"]),
        route(rule(path("/x")), name="close", hosts=["a.example.com"], created=9),
    )
    assert paths(World(), *routes, host="a.example.com", at=listener(hostname="a.example.com")) == ["/x", "/longer"]


def test_matches_are_translated_with_names_that_are_equal_taken_once() -> None:
    wanted = path(
        "/api/",
        method="POST",
        headers=[
            {"name": "A", "value": "1"},
            {"name": "a", "value": "2"},
            {"name": "B", "value": "x.*", "type": "RegularExpression"},
        ],
        queryParams=[{"name": "q", "value": "1"}, {"name": "Q", "value": "2"}],
    )
    assert rules_of(World(), route(rule(wanted)))[0].match == Match(
        "/api", "PathPrefix", "POST", (Text("A", "1"), Text("B", "x.*", True)), (Text("q", "1"), Text("Q", "2"))
    )


@pytest.mark.parametrize(
    "wrong",
    [
        path("[", "RegularExpression"),
        path("/a(?=b)", "RegularExpression"),
        path("/", headers=[{"name": "a", "value": "(", "type": "RegularExpression"}]),
    ],
)
def test_a_pattern_that_is_none_makes_the_rule_invalid(wrong: Obj) -> None:
    out = World().decide(gateway(), route(rule(wrong)))
    assert out.routes[("HTTPRoute", "ns/r")][0][1][0].reason == "UnsupportedValue"


GRPC = [
    ({"method": {"type": "Exact", "service": "a.B", "method": "Do"}}, Match("/a.B/Do", "Exact")),
    ({"method": {"type": "Exact", "service": "a.B"}}, Match("/a.B", "PathPrefix")),
    ({"method": {"type": "Exact", "method": "Do"}}, Match("/[^/]+/Do", "RegularExpression")),
    ({"method": {"type": "RegularExpression", "service": "a.*"}}, Match("/(?:a.*)/(?:[^/]+)", "RegularExpression")),
    ({"headers": [{"name": "v", "value": "2"}]}, Match(headers=(Text("v", "2"),))),
    ({}, Match()),
]


@pytest.mark.parametrize(("match", "expected"), GRPC)
def test_grpc_methods_are_paths(match: Obj, expected: Match) -> None:
    grpc = obj("g", {"parentRefs": [parent()], "rules": [{"matches": [match], "backendRefs": [backend()]}]})
    assert rules_of(World(), grpc=[grpc])[0].match == expected


def test_grpc_rules_are_ordered_by_service_then_method_then_headers() -> None:
    matches = [GRPC[0][0], GRPC[1][0], GRPC[2][0], GRPC[4][0], GRPC[5][0]]
    grpc = obj(
        "g", {"parentRefs": [parent()], "rules": [{"matches": [m], "backendRefs": [backend()]} for m in reversed(matches)]}
    )
    assert [r.match for r in rules_of(World(), grpc=[grpc])] == [GRPC[i][1] for i in (0, 1, 2, 4, 5)]


def test_a_grpc_route_without_matches_takes_every_call() -> None:
    grpc = obj("g", {"parentRefs": [parent()], "rules": [{"backendRefs": [backend()]}]})
    made = rules_of(World(), grpc=[grpc])
    assert [(r.match, [s.pool for s in r.shares]) for r in made] == [(Match(), ["ns/web:80/grpc"])]


def test_grpc_clients_are_to_hear_that_a_backend_is_unavailable() -> None:
    rules = [{"backendRefs": [backend("missing"), backend()]}, {}]
    grpc = obj("g", {"parentRefs": [parent()], "rules": rules})
    made = rules_of(World(), grpc=[grpc])
    assert [[s.pool for s in r.shares] for r in made] == [["grpc-unavailable", "ns/web:80/grpc"], ["grpc-unavailable"]]


def filtered(*filters: Obj, at: Obj | None = None, to: list[Obj] | None = None) -> Filters:
    return rules_of(World().put(SERVICES, service("copy")), route(rule(filters=list(filters), to=to)), at=at)[0].filters


def test_header_filters() -> None:
    change = {
        "set": [{"name": "a", "value": "1"}, {"name": "A", "value": "2"}],
        "add": [{"name": "b", "value": "2"}],
        "remove": ["c"],
    }
    headers = Headers((("a", "1"),), (("b", "2"),), ("c",))
    assert filtered({"type": "RequestHeaderModifier", "requestHeaderModifier": change}) == Filters(request=headers)
    assert filtered({"type": "ResponseHeaderModifier", "responseHeaderModifier": change}) == Filters(response=headers)


def test_redirects_lead_back_to_the_listeners_port_where_they_say_nothing_else() -> None:
    def redirect(at: Obj, **how: Any) -> Redirect | None:
        return filtered({"type": "RequestRedirect", "requestRedirect": {"statusCode": 301, **how}}, at=at, to=[]).redirect

    assert redirect(listener(), hostname="x.com") == Redirect(301, hostname="x.com")
    assert redirect(listener(port=8080)) == Redirect(301, port=8080)
    assert redirect(listener(port=8080), scheme="https") == Redirect(301, scheme="https")
    assert redirect(listener(port=8080), port=99) == Redirect(301, port=99)
    assert redirect(terminating()) == Redirect(301)
    change = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}
    assert redirect(listener(), path=change) == Redirect(301, path=PathChange("prefix", "/b"))


def test_rewrites() -> None:
    change = {"hostname": "x.com", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/full"}}
    assert filtered({"type": "URLRewrite", "urlRewrite": change}) == Filters(
        rewrite=Rewrite("x.com", PathChange("full", "/full"))
    )


def test_mirrors_by_share_and_those_that_lead_nowhere_left_out() -> None:
    def mirror(name: str = "copy", **how: Any) -> Obj:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": backend(name), **how}}

    made = filtered(mirror(), mirror(percent=7), mirror(fraction={"numerator": 1, "denominator": 3}), mirror("missing"))
    assert made.mirrors == (Mirror("ns/copy:80"), Mirror("ns/copy:80", 7), Mirror("ns/copy:80", 1, 3))


def test_cors() -> None:
    cors = {
        "allowOrigins": ["https://*.example.com"],
        "allowMethods": ["GET"],
        "allowHeaders": ["X-A"],
        "exposeHeaders": ["X-B"],
        "allowCredentials": True,
        "maxAge": 60,
    }
    expected = Cors(("https://*.example.com",), ("GET",), ("X-A",), ("X-B",), True, 60)
    assert filtered({"type": "CORS", "cors": cors}) == Filters(cors=expected)
    assert filtered({"type": "CORS", "cors": {}}).cors == Cors(max_age=5)


def test_shares_have_their_weights_and_filters() -> None:
    own = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x"]}}]
    made = rules_of(World(), route(rule(to=[backend(weight=9, filters=own), backend(weight=0)])))
    assert made[0].shares == (Share("ns/web:80", 9, Filters(request=Headers(remove=("x",)))), Share("ns/web:80", 0))


def test_limits() -> None:
    limits = {
        "timeouts": {"request": "10s", "backendRequest": "500ms"},
        "retry": {"attempts": 2, "codes": [503], "backoff": "100ms"},
    }
    made = rules_of(World(), route(rule(**limits)))[0]
    assert (made.request_timeout, made.backend_timeout, made.retry) == (10.0, 0.5, Retry(2, (503,), 0.1))
    assert rules_of(World(), route(rule(retry={"attempts": 0})))[0].retry is None


@pytest.mark.parametrize(
    ("protocol", "pool", "told"),
    [
        ("", "ns/web:80", ""),
        ("http", "ns/web:80", ""),
        ("HTTP", "ns/web:80", ""),
        ("h2c", "ns/web:80", "kubernetes.io/h2c"),
        ("grpc", "ns/web:80", "grpc"),
        ("kubernetes.io/h2c", "ns/web:80", "kubernetes.io/h2c"),
        ("kubernetes.io/ws", "ns/web:80", "kubernetes.io/ws"),
    ],
)
def test_the_protocol_of_a_backend_is_what_its_port_says(protocol: str, pool: str, told: str) -> None:
    world = World().put(SERVICES, service("web", {"name": "http", "port": 80, "protocol": "TCP", "appProtocol": protocol}))
    out = world.decide(gateway(), route())
    assert [(b.pool, b.app_protocol) for b in out.plan.backends] == [(pool, told)]


def test_http_and_grpc_to_one_port_are_two_pools() -> None:
    grpc = obj("g", {"parentRefs": [parent()], "hostnames": ["g.com"], "rules": [{"backendRefs": [backend()]}]})
    out = World().decide(gateway(), route(hosts=["h.com"]), grpc=[grpc])
    assert {(b.pool, b.app_protocol) for b in out.plan.backends} == {("ns/web:80", ""), ("ns/web:80/grpc", "grpc")}


def test_a_plan_carries_what_the_gateway_asks_of_its_addresses() -> None:
    those = gateway(addresses=[{"type": "IPAddress", "value": "127.0.0.9"}, {"type": "Hostname"}])
    those["status"] = {"addresses": [{"type": "IPAddress", "value": "127.9.0.1"}]}
    those["metadata"]["annotations"] = {"a": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    plan = World().decide(those).plan
    assert plan.wanted == (("IPAddress", "127.0.0.9"), ("Hostname", ""))
    assert plan.given == ("127.9.0.1",) and plan.annotations == {"a": "1"} and plan.key == "Gateway/ns/gw"

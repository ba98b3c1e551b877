"""Whatever objects the definitions let in: a decision is made, and what it tells is what the definitions let in."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.api.crd.defaults import defaulter
from pilothouse.api.crd.rules import checker
from pilothouse.api.crd.validation import NOTHING, validator
from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SECRETS, SERVICES
from pilothouse.cloud.gateway.attachment import parent_of
from pilothouse.cloud.gateway.definitions import GROUP, definitions
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES, REFERENCE_GRANTS
from pilothouse.cloud.gateway.memo import Memo
from pilothouse.cloud.gateway.outcome import Outcome, outcome
from pilothouse.cloud.gateway.statuses import Carried, ancestors, gateway_status, listener_set_status, parents
from pilothouse.cloud.provider import GatewayState

from .world import Obj, World, config_map, grant, obj, secret, service

#: Values that mean something, by the name of their field.
VALUES: dict[str, list[Any]] = {
    "name": ["web", "gw", "cert", "ca", "set", "http", "other"],
    "namespace": ["ns", "far"],
    "hostname": ["a.example.com", "*.example.com", "b.org"],
    "hostnames": ["a.example.com", "*.example.com", "x.a.example.com", "b.org"],
    "port": [80, 443, 81],
    "sectionName": ["http", "web", "other"],
    "protocol": ["HTTP", "HTTPS", "TLS", "TCP", "x.io/y"],
    "group": ["", "", GROUP, "x.io"],
    "kind": ["Service", "Secret", "ConfigMap", "Gateway", "ListenerSet", "HTTPRoute", "Pod"],
    "value": ["/", "/a", "/a/b", "1", "10.0.0.1"],
    "request": ["1s", "0s", "500ms"],
    "backendRequest": ["1s", "0s", "500ms"],
    "gatewayClassName": ["pilothouse"],
    "operator": ["In", "Exists", "Nonsense"],
    "uri": ["spiffe://a/b"],
    "allowOrigins": ["*", "https://a.org"],
    "service": ["a.B"],
    "method": ["Do", "GET"],
}
#: Members of unions, by the value of `type` that they belong to.
UNIONS = {
    kind: kind[0].lower() + kind[1:]
    for kind in (
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "ExtensionRef", "ReplaceFullPath", "ReplacePrefixMatch",
    )
} | {"URLRewrite": "urlRewrite", "CORS": "cors"}  # fmt: skip


def made(schema: Obj, name: str, draw: random.Random) -> Any:
    """Something of the schema's shape."""
    if "properties" in schema:
        required = schema.get("required", ())
        out = {f: made(s, f, draw) for f, s in schema["properties"].items() if f in required or draw.random() < 0.5}
        member = UNIONS.get(out.get("type", ""))
        for each in set(UNIONS.values()) & out.keys():
            if each != member:
                del out[each]
        if member in schema["properties"] and member not in out:
            out[member] = made(schema["properties"][member], member, draw)
        return out
    if schema["type"] == "array":
        few = range(schema.get("minItems", 0), min(schema.get("maxItems", 3), 3) + 1)
        return [made(schema["items"], name, draw) for _ in range(draw.choice(few))]
    if schema["type"] == "object":
        return {
            key: made(schema["additionalProperties"], name, draw) for key in draw.sample(("team", "x.io/a"), draw.randrange(3))
        }
    if "enum" in schema:
        return draw.choice(schema["enum"])
    if schema["type"] == "boolean":
        return draw.random() < 0.5
    if schema["type"] == "integer":
        known = [v for v in VALUES.get(name, ()) if isinstance(v, int)]
        return draw.choice(known) if known else draw.randint(schema.get("minimum", 0), min(schema.get("maximum", 9), 9))
    return draw.choice([v for v in VALUES.get(name, ("x",)) if isinstance(v, str)])


@functools.cache
def openapi(kind: str) -> Obj:
    return next(d for d in definitions() if d["spec"]["names"]["kind"] == kind)["spec"]["versions"][0]["schema"][
        "openAPIV3Schema"
    ]


@functools.cache
def tools(kind: str) -> tuple[Any, Callable[[Obj], bool], Any]:
    """What gives defaults, whether an object is let in, and what checks a status."""
    schema = openapi(kind)
    check, rules = validator(schema), checker(schema)

    def let_in(each: Obj) -> bool:
        errors: list[Any] = []
        check(each, "", NOTHING, errors)
        return not errors and (rules is None or not rules(each, None))

    return defaulter(schema), let_in, validator(schema["properties"]["status"])


def an(kind: str, name: str, draw: random.Random, namespace: str = "ns") -> Obj:
    """An object of a kind that the definitions let in."""
    fill, let_in, _ = tools(kind)
    for _ in itertools.repeat(None, 500):
        each = obj(name, made(openapi(kind)["properties"]["spec"], "spec", draw), namespace, draw.randrange(60))
        fill(each)
        if let_in(each):
            return each
    raise AssertionError(f"no {kind} was let in")


def a_world(draw: random.Random) -> World:
    world = World()
    for namespace in ("ns", "far"):
        world.namespace(namespace, team="x")
        if draw.random() < 0.8:
            port = {"name": "http", "port": 80, "protocol": "TCP", "appProtocol": draw.choice(["", "https", "kubernetes.io/h2c"])}
            world.put(SERVICES, service("web", port, namespace=namespace))
        world.put(SECRETS, secret("cert", namespace))
    world.put(CONFIG_MAPS, config_map())
    for kind in draw.sample(("Gateway", "HTTPRoute", "ListenerSet"), 2):
        world.put(REFERENCE_GRANTS, grant("far", kind, "ns", draw.choice(["Service", "Secret"])))
    for number in range(draw.randrange(3)):
        policy = an("BackendTLSPolicy", f"p{number}", draw)
        policy["spec"]["targetRefs"] = [{"group": "", "kind": "Service", "name": "web"}]
        world.put(BACKEND_TLS_POLICIES, policy)
    return world


def check_statuses(gateway: Obj, out: Outcome, routes: dict[str, list[Obj]], sets: list[Obj], world: World) -> None:
    state = GatewayState(({"type": "IPAddress", "value": "127.0.0.9"},), {"port-80": "taken"}, {"port-443": 40443})
    for carried in (Carried(state), Carried()):
        valid("Gateway", gateway_status(gateway, out, carried, "2026-01-01T00:00:00Z"))
        for each in sets:
            valid("ListenerSet", listener_set_status(each, gateway, out, carried, "2026-01-01T00:00:00Z"))
    for kind, those in routes.items():
        for each in those:
            told = out.routes.get((kind, f"{each['metadata']['namespace']}/{each['metadata']['name']}"), [])
            valid(kind, {"parents": parents(each, told, "2026-01-01T00:00:00Z")})
    for name, verdict in out.policies.items():
        policy = world.get(BACKEND_TLS_POLICIES, *name.split("/"))
        assert policy is not None
        valid("BackendTLSPolicy", {"ancestors": ancestors(policy, [({"name": "gw"}, verdict.told)], "2026-01-01T00:00:00Z")})


def valid(kind: str, status: Obj) -> None:
    errors: list[Any] = []
    tools(kind)[2](status, "status", NOTHING, errors)
    assert not errors, (kind, status, errors)


@pytest.mark.parametrize("seed", range(40))
def test_a_decision_is_made_and_its_statuses_are_valid(seed: int) -> None:
    draw = random.Random(seed)
    world, gateway, memo = a_world(draw), an("Gateway", "gw", draw), Memo()
    sets = [an("ListenerSet", f"set{n}" if n else "set", draw) for n in range(draw.randrange(3))]
    for each in sets:
        each["spec"]["parentRef"] = {"group": GROUP, "kind": "Gateway", "name": "gw"}
    routes = {kind: [an(kind, f"r{n}", draw) for n in range(4)] for kind in ("HTTPRoute", "GRPCRoute", "TLSRoute")}
    for each in [r for those in routes.values() for r in those]:
        refs = [{"group": GROUP, "kind": "Gateway", "name": "gw"}, {"group": GROUP, "kind": "ListenerSet", "name": "set"}]
        each["spec"]["parentRefs"] = refs[: draw.randint(1, 2)]
        assert parent_of(each["spec"]["parentRefs"][0], "ns") == ("Gateway", "ns", "gw")
    out = outcome(gateway, sets, routes, world, memo)
    check_statuses(gateway, out, routes, sets, world)
    again = outcome(gateway, sets, routes, world, memo)
    assert (again.plan, again.routes, again.policies) == (out.plan, out.routes, out.policies)
    names = {b.pool for b in out.plan.backends} | {"", "grpc-unavailable"}
    for edge in out.plan.edges:
        for site in edge.sites:
            shares = [s for h in site.hosts for r in h.rules for s in r.shares] + [s for _, those in site.tunnels for s in those]
            assert {s.pool for s in shares} <= names

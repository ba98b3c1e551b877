"""Which requests go where: listeners, hostnames, paths, headers, queries, methods, and how one rule goes before another."""

from __future__ import annotations

import pytest

from pilothouse.client.reconcile.objects import condition
from pilothouse.cloud.gateway.kinds import GATEWAYS, HTTP_ROUTES

from .city import HTTP, City, eventually, path, to

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_request_comes_to_the_service_that_its_route_names(city: City) -> None:
    await city.backend("web")
    address = await city.gateway("simple")
    assert (await city.ask(address)).status == 404, "nothing matches"
    await city.route("simple", "simple", to("web"))
    answer = await city.ask(address, "/a?b=c", "any.example.com", "POST", data="hello")
    assert (answer.status, answer.pod) == (200, "web")
    assert (answer.told["method"], answer.told["path"], answer.told["body"]) == ("POST", "/a?b=c", "hello")
    assert answer.told["headers"]["host"] == "any.example.com"


async def test_more_specific_matches_win(city: City) -> None:
    for name in ("root", "prefix", "long", "exact", "regex", "method", "header", "headers", "query"):
        await city.backend(f"m-{name}")
    address = await city.gateway("matching")
    header = {"name": "Version", "value": "2"}
    await city.route(
        "matching",
        "matching",
        to("m-root", matches=[path("/")]),
        to("m-query", matches=[path("/p", queryParams=[{"name": "debug", "value": "yes"}])]),
        to("m-prefix", matches=[path("/p")]),
        to("m-long", matches=[path("/p/long/")]),
        to("m-exact", matches=[path("/p/exact", "Exact")]),
        to("m-regex", matches=[path("/r/[0-9]+", "RegularExpression")]),
        to("m-header", matches=[path("/p", headers=[header])]),
        to("m-headers", matches=[path("/p", headers=[header, {"name": "Color", "value": "b.*", "type": "RegularExpression"}])]),
        to("m-method", matches=[path("/p", method="DELETE")]),
    )
    for asked, expected in (
        ("/", "root"),
        ("/pp", "root"),
        ("/p", "prefix"),
        ("/p/", "prefix"),
        ("/p/x", "prefix"),
        ("/p?debug=no", "prefix"),
        ("/p?debug=yes", "query"),
        ("/p/long", "long"),
        ("/p/long/x", "long"),
        ("/p/longer", "prefix"),
        ("/p/exact", "exact"),
        ("/p/exact/", "prefix"),
        ("/r/12", "regex"),
    ):
        assert (await city.ask(address, asked)).pod == f"m-{expected}", asked
    assert (await city.ask(address, "/p", headers={"version": "2"})).pod == "m-header"
    assert (await city.ask(address, "/p", headers={"Version": "2", "color": "blue"})).pod == "m-headers"
    assert (await city.ask(address, "/p", headers={"Version": "2", "Color": "red"})).pod == "m-header"
    assert (await city.ask(address, "/p", headers={"Version": "22"})).pod == "m-prefix"
    assert (await city.ask(address, "/p", method="DELETE", headers={"Version": "2"})).pod == "m-method"


async def test_hostnames_of_listeners_and_routes_meet(city: City) -> None:
    for name in ("exact", "wild", "any"):
        await city.backend(f"h-{name}")
    address = await city.gateway("hosts", {**HTTP, "hostname": "*.example.com"})
    await city.route("h-exact", "hosts", to("h-exact"), hostnames=["a.example.com", "other.org"])
    await city.route("h-wild", "hosts", to("h-wild", matches=[path("/w")]), hostnames=["*.b.example.com"])
    await city.route("h-any", "hosts", to("h-any", matches=[path("/any")]))
    for host, asked, expected in (
        ("a.example.com", "/", "h-exact"),
        ("A.Example.Com:8080", "/", "h-exact"),
        ("x.b.example.com", "/w", "h-wild"),
        ("x.y.b.example.com", "/w", "h-wild"),
        ("x.b.example.com", "/any", "h-any"),
        ("c.example.com", "/any", "h-any"),
    ):
        assert (await city.ask(address, asked, host)).pod == expected, (host, asked)
    for host in ("other.org", "example.com", "b.example.com"):
        assert (await city.ask(address, "/", host)).status == 404, host


async def test_listeners_are_isolated_by_their_hostnames(city: City) -> None:
    for name in ("wide", "near"):
        await city.backend(f"i-{name}")
    wide, near = {**HTTP, "name": "wide", "hostname": "*.example.com"}, {**HTTP, "name": "near", "hostname": "a.example.com"}
    address = await city.gateway("isolated", wide, near)
    await city.route("i-wide", "isolated", to("i-wide", matches=[path("/wide")]), parent={"sectionName": "wide"})
    await city.route("i-near", "isolated", to("i-near", matches=[path("/near")]), parent={"sectionName": "near"})
    assert (await city.ask(address, "/near", "a.example.com")).pod == "i-near"
    assert (await city.ask(address, "/wide", "a.example.com")).status == 404, "it belongs to the other listener"
    assert (await city.ask(address, "/wide", "b.example.com")).pod == "i-wide"


async def test_a_route_chooses_listeners_by_port(city: City) -> None:
    await city.backend("by-port")
    address = await city.gateway("by-port", HTTP, {**HTTP, "name": "second", "port": 8081})
    await city.route("by-port", "by-port", to("by-port"), parent={"port": 8081})
    assert (await city.ask(address)).status == 404
    assert (await city.ask(address, port=8081)).pod == "by-port"


async def test_the_older_route_wins_a_tie(city: City) -> None:
    for name in ("tie-b", "tie-a"):
        await city.backend(name)
    address = await city.gateway("tie")
    await city.route("tie-b", "tie", to("tie-b"))
    await city.route("tie-a", "tie", to("tie-a"))
    made = [(await city.get(HTTP_ROUTES, name))["metadata"] for name in ("tie-b", "tie-a")]
    first = min(made, key=lambda m: (m["creationTimestamp"], m["name"]))  # of two made in one second, the first by name
    assert (await city.ask(address)).pod == first["name"]


async def test_weights_share_traffic_out(city: City) -> None:
    for name in ("w-nine", "w-one", "w-none"):
        await city.backend(name)
    address = await city.gateway("weights")
    refs = [{"name": n, "port": 80, "weight": w} for n, w in (("w-nine", 9), ("w-one", 1), ("w-none", 0))]
    await city.route("weights", "weights", {"backendRefs": refs})
    found = await city.pods_of(address, 200)
    assert set(found) == {"w-nine", "w-one"} and 5 <= found["w-one"] <= 45


async def test_other_namespaces_are_reached_where_a_grant_says_so(city: City) -> None:
    await city.namespace("far")
    await city.backend("far-web", namespace="far")
    address = await city.gateway("grants")
    await city.route("grants", "grants", {"backendRefs": [{"name": "far-web", "namespace": "far", "port": 80}]})
    assert (await city.ask(address)).status == 500
    await city.grant("far", "HTTPRoute", "Service")
    await city.until_answered(address, "far-web")


async def test_routes_come_from_other_namespaces(city: City) -> None:
    await city.namespace("tenant")
    await city.backend("tenant-web", namespace="tenant")
    address = await city.gateway("shared")
    await city.route("tenant", "shared", to("tenant-web"), namespace="tenant")
    assert (await city.ask(address)).pod == "tenant-web"


async def test_what_cannot_be_reached_is_answered_with_an_error(city: City) -> None:
    await city.backend("there")
    await city.service("empty", "", 3000)
    address = await city.gateway("errors")
    await city.route(
        "errors",
        "errors",
        to("missing", matches=[path("/missing")]),
        to("empty", matches=[path("/empty")]),
        to("missing", "there", matches=[path("/half")]),
        {"matches": [path("/none")], "backendRefs": []},
        {"matches": [path("/zero")], "backendRefs": [{"name": "there", "port": 80, "weight": 0}]},
    )
    for asked, status in (("/missing", 500), ("/empty", 503), ("/none", 500), ("/zero", 500), ("/other", 404)):
        assert (await city.ask(address, asked)).status == status, asked
    statuses = [(await city.ask(address, "/half")).status for _ in range(60)]
    assert set(statuses) == {200, 500} and 10 <= statuses.count(500) <= 50


async def test_what_changes_takes_effect_and_what_goes_ends(city: City) -> None:
    await city.backend("first")
    await city.backend("second")
    address = await city.gateway("changes")
    await city.route("changes", "changes", to("first"))
    assert (await city.ask(address)).pod == "first"
    await city.change(HTTP_ROUTES, "changes", {"spec": {"rules": [to("second")]}})
    await city.decided(HTTP_ROUTES, "changes")
    assert (await city.ask(address)).pod == "second"
    await city.admin.request("DELETE", HTTP_ROUTES.path("default", "changes"))
    await city.until_status(address, 404)


async def test_a_gateway_has_the_address_that_it_asks_for(city: City) -> None:
    await city.backend("asked")
    given = await city.gateway("finds")
    wanted = given.rpartition(".")[0] + ".250"
    assert await city.gateway("asks", addresses=[{"type": "IPAddress", "value": wanted}]) == wanted
    await city.route("asked", "asks", to("asked"))
    assert (await city.ask(wanted)).pod == "asked"
    assert await city.gateway("leaves-it-open", addresses=[{"type": "IPAddress"}]) not in (given, wanted)
    await city.create(
        GATEWAYS, "too-late", {"gatewayClassName": "pilothouse", "listeners": [HTTP], "addresses": [{"value": wanted}]}
    )

    async def told() -> bool:
        found = condition(await city.get(GATEWAYS, "too-late"), "Programmed") or {}
        return (found.get("status"), found.get("reason")) == ("False", "AddressNotUsable")

    await eventually(told)

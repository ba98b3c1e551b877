"""Ingresses and ListenerSets carry traffic: the same data plane by other doors."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.client.loopback import port
from pilothouse.cloud.gateway.kinds import GATEWAYS, INGRESS_CLASSES, INGRESSES, LISTENER_SETS

from .certificates import Authority
from .city import HTTP, City, Obj, eventually, to

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORITY = Authority()
#: Where ports 80 and 443 are found by whoever lacks the privilege for them.
PLAIN, SECURE = port(80), port(443)


def backend(service: str, **of: Any) -> Obj:
    return {"service": {"name": service, "port": of or {"number": 80}}}


def paths(host: str, *those: tuple[str, str, Obj]) -> Obj:
    made = [{"path": path, "pathType": type, "backend": to_it} for path, type, to_it in those]
    return {**({"host": host} if host else {}), "http": {"paths": made}}


async def address_of(city: City, name: str) -> str:
    async def told() -> str:
        found = await city.get(INGRESSES, name)
        given = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        return given[0]["ip"] if given else ""

    return str(await eventually(told))


async def test_ingresses_share_an_address_and_divide_by_host_and_path(city: City) -> None:
    for name in ("in-root", "in-long", "in-exact", "in-wild", "in-rest"):
        await city.backend(name)
    pair = AUTHORITY.sign("shop.example.com")
    await city.secret("shop", pair.chain, pair.key)
    await eventually(lambda: city.found(INGRESS_CLASSES.path("", "pilothouse")))
    shop = paths(
        "shop.example.com",
        ("/", "Prefix", backend("in-root", name="http")),
        ("/a/long", "Prefix", backend("in-long")),
        ("/a", "Exact", backend("in-exact")),
    )
    tls = [{"hosts": ["shop.example.com"], "secretName": "shop"}]
    await city.create(INGRESSES, "shop", {"rules": [shop], "tls": tls})
    wild = paths("*.wild.com", ("/", "ImplementationSpecific", backend("in-wild")))
    await city.create(INGRESSES, "wild", {"rules": [wild], "defaultBackend": backend("in-rest")})
    address = await address_of(city, "wild")
    assert await address_of(city, "shop") == address
    for host, asked, pod in (
        ("shop.example.com", "/", "in-root"),
        ("shop.example.com", "/a/long/way", "in-long"),
        ("shop.example.com", "/a/longer", "in-root"),
        ("shop.example.com", "/a", "in-exact"),
        ("shop.example.com", "/a/", "in-root"),
        ("x.wild.com", "/any", "in-wild"),
        ("x.y.wild.com", "/any", "in-rest"),
        ("wild.com", "/any", "in-rest"),
        ("other.org", "/any", "in-rest"),
    ):
        await city.until_answered(address, pod, asked, host, port=PLAIN)
    secure: Any = {"ssl": AUTHORITY.trusting(), "port": SECURE}
    await city.until_answered(address, "in-root", "/", "shop.example.com", **secure)


async def test_a_listener_set_adds_a_listener(city: City) -> None:
    await city.backend("in-set")
    address = await city.gateway("sets", HTTP, allowedListeners={"namespaces": {"from": "Same"}})
    more = {"parentRef": {"name": "sets"}, "listeners": [{**HTTP, "name": "more", "port": 8082}]}
    await city.create(LISTENER_SETS, "more", more)
    await city.route("in-set", "more", to("in-set"), parent={"kind": "ListenerSet"})
    await city.until_answered(address, "in-set", port=8082)
    assert (await city.ask(address)).status == 404
    assert (await city.get(GATEWAYS, "sets"))["status"]["attachedListenerSets"] == 1

"""The Gateway API's definitions in the real hub: they are established, set defaults, and refuse what the upstream ones refuse."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.interface import Transport
from pilothouse.client.reconcile.objects import condition
from pilothouse.client.reconcile.requests import Requests
from pilothouse.clock import VirtualClock
from pilothouse.cloud.gateway.definitions import BUNDLE_VERSION, CRDS, INSTALLED, definitions, install, is_served
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]
GROUP = "gateway.networking.k8s.io"


@contextlib.asynccontextmanager
async def a_hub(certificates: Path) -> AsyncIterator[tuple[Transport, VirtualClock]]:
    clock = VirtualClock()
    hub = ApiHub(Settings(certificates, listen=False), clock=clock, store=MemoryStore(clock))
    async with Cluster(hub, Spokes(controllers=False, scheduler=False, nodes=0)).running():
        yield hub.transport("kubernetes-admin", "system:masters"), clock


@contextlib.asynccontextmanager
async def with_definitions(certificates: Path) -> AsyncIterator[Transport]:
    async with a_hub(certificates) as (admin, clock):
        await install(Requests(admin, "test"))

        async def all_served() -> bool:
            found = [(await admin.request("GET", CRDS.path("", d["metadata"]["name"]))).body for d in definitions()]
            return all(is_served(each, "v1") for each in found)

        await clock.run_until(all_served, 10)
        yield admin


async def post(admin: Transport, kind: str, spec: Obj, version: str = "v1", dry: bool = True) -> tuple[int, Obj]:
    plural = (
        "gatewayclasses" if kind == "GatewayClass" else "backendtlspolicies" if kind == "BackendTLSPolicy" else f"{kind.lower()}s"
    )
    place = "" if kind == "GatewayClass" else "namespaces/default/"
    body = {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    answer = await admin.request("POST", f"/apis/{GROUP}/{version}/{place}{plural}", {"dryRun": "All"} if dry else {}, body)
    return answer.status, answer.body


async def test_all_are_established(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        for each in definitions():
            found = (await admin.request("GET", CRDS.path("", each["metadata"]["name"]))).body
            for kind in ("Established", "NamesAccepted", "KubernetesAPIApprovalPolicyConformant"):
                assert (condition(found, kind) or {}).get("status") == "True", (each["metadata"]["name"], kind)
            assert condition(found, "NonStructuralSchema") is None


async def test_defaults_are_those_of_the_reference(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        _, gateway = await post(admin, "Gateway", {"gatewayClassName": "c", "listeners": [listener]}, dry=False)
        assert gateway["spec"]["listeners"] == [listener | {"allowedRoutes": {"namespaces": {"from": "Same"}}}]
        told = {(c["type"], c["status"], c["reason"], c["lastTransitionTime"]) for c in gateway["status"]["conditions"]}
        assert told == {(t, "Unknown", "Pending", "1970-01-01T00:00:00Z") for t in ("Accepted", "Programmed")}
        _, route = await post(
            admin, "HTTPRoute", {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [{"name": "s", "port": 80}]}]}
        )
        assert route["spec"]["parentRefs"] == [{"group": GROUP, "kind": "Gateway", "name": "g"}]
        path = {"path": {"type": "PathPrefix", "value": "/"}}
        backend = {"group": "", "kind": "Service", "name": "s", "port": 80, "weight": 1}
        assert route["spec"]["rules"] == [{"matches": [path], "backendRefs": [backend]}]
        _, empty = await post(admin, "HTTPRoute", {})
        assert empty["spec"]["rules"] == [{"matches": [path]}]


async def test_a_gateway_is_listed_with_the_columns_of_the_upstream_definition(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        await post(
            admin, "Gateway", {"gatewayClassName": "c", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]}, dry=False
        )
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        table = (await admin.request("GET", f"/apis/{GROUP}/v1/gateways", accept=accept)).body
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Class", "Address", "Programmed", "Age"]
        assert table["rows"][0]["cells"][:4] == ["x", "c", None, "Unknown"]
        resources = (await admin.request("GET", f"/apis/{GROUP}/v1")).body["resources"]
        short = {r["name"]: (r.get("shortNames"), r.get("categories")) for r in resources if "/" not in r["name"]}
        assert short["gateways"] == (["gtw"], ["gateway-api"])
        assert short["gatewayclasses"] == (["gc"], ["gateway-api"])


def listeners(*those: Obj) -> Obj:
    return {
        "gatewayClassName": "c",
        "listeners": [{"name": f"l{i}", "port": 80, "protocol": "HTTP"} | each for i, each in enumerate(those)],
    }


def rule(**members: Any) -> Obj:
    return {"rules": [members]}


def path(value: str, type: str = "PathPrefix") -> Obj:
    return {"path": {"type": type, "value": value}}


def refs(*those: Obj) -> Obj:
    return {"parentRefs": [{"name": "g"} | each for each in those]}


def filter(type: str, **members: Any) -> Obj:
    return {"filters": [{"type": type, **members}]}


CERTIFICATE = {"tls": {"certificateRefs": [{"name": "c"}]}}
REWRITE = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}}
BACKEND = {"backendRefs": [{"name": "s", "port": 80}]}
TARGET = [{"group": "", "kind": "Service", "name": "s"}]
CAS = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}

GOOD: list[tuple[str, Obj]] = [
    ("GatewayClass", {"controllerName": "example.com/controller", "description": "for tests"}),
    ("Gateway", listeners({}, {"hostname": "*.example.com"}, {"port": 443, "protocol": "HTTPS", **CERTIFICATE})),
    ("Gateway", listeners({"protocol": "TLS", "tls": {"mode": "Passthrough"}, "hostname": "a.example.com"})),
    ("Gateway", listeners({"protocol": "example.com/special"})),
    (
        "Gateway",
        {
            **listeners({}),
            "addresses": [{"value": "127.0.0.9"}, {"type": "Hostname", "value": "a.example.com"}, {"value": "::1"}],
        },
    ),
    ("HTTPRoute", {}),
    ("HTTPRoute", refs({"sectionName": "a"}, {"sectionName": "b"}, {"name": "other"})),
    ("HTTPRoute", rule(matches=[path("/a")], filters=[REWRITE], **BACKEND)),
    ("HTTPRoute", rule(matches=[path("/a.+$", "RegularExpression")])),
    ("HTTPRoute", rule(timeouts={"request": "0s", "backendRequest": "2s"})),
    ("HTTPRoute", rule(backendRefs=[{"name": "s", "port": 80, "weight": 1_000_000}])),
    ("HTTPRoute", {"rules": [{"matches": [path(f"/{i}/{j}") for j in range(64)]} for i in range(2)]}),
    ("GRPCRoute", rule(matches=[{"method": {"service": "a.b.C", "method": "Do"}}], **BACKEND)),
    ("TLSRoute", {"hostnames": ["a.example.com"], **rule(**BACKEND)}),
    (
        "ReferenceGrant",
        {"from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "a"}], "to": [{"group": "", "kind": "Service"}]},
    ),
    (
        "BackendTLSPolicy",
        {"targetRefs": TARGET, "validation": {"hostname": "a.example.com", "wellKnownCACertificates": "System"}},
    ),
    ("BackendTLSPolicy", {"targetRefs": TARGET, "validation": {"hostname": "a.example.com", **CAS}}),
    ("ListenerSet", {"parentRef": {"name": "g"}, "listeners": listeners({})["listeners"]}),
]

BAD: list[tuple[str, Obj, str]] = [
    ("GatewayClass", {"controllerName": "no-slash"}, "spec.controllerName"),
    ("GatewayClass", {"controllerName": "a.b/c", "description": "x" * 65}, "spec.description"),
    ("Gateway", {"gatewayClassName": "c", "listeners": []}, "spec.listeners"),
    ("Gateway", listeners({"port": 0}), "spec.listeners[0].port"),
    ("Gateway", listeners({"hostname": "*.*.example.com"}), "spec.listeners[0].hostname"),
    ("Gateway", listeners({"tls": {"mode": "Passthrough"}}), "spec.listeners"),
    ("Gateway", listeners({"protocol": "HTTPS", "tls": {"mode": "Passthrough"}}), "spec.listeners"),
    ("Gateway", listeners({"protocol": "TLS"}), "spec.listeners"),
    ("Gateway", listeners({"protocol": "HTTPS", "tls": {}}), "spec.listeners[0].tls"),
    ("Gateway", listeners({"protocol": "TCP", "hostname": "a.example.com"}), "spec.listeners"),
    ("Gateway", listeners({"name": "same", "port": 1}, {"name": "same", "port": 2}), "spec.listeners[1]"),
    ("Gateway", listeners({}, {}), "spec.listeners"),
    ("Gateway", {**listeners({}), "addresses": [{"value": "not-an-address"}]}, "spec.addresses[0].value"),
    ("Gateway", {**listeners({}), "addresses": [{"value": "127.0.0.9"}] * 2}, "spec.addresses"),
    ("Gateway", {**listeners({}), "addresses": [{"type": "Hostname", "value": "a_b"}]}, "spec.addresses[0]"),
    ("Gateway", {**listeners({}), "infrastructure": {"labels": {"/x": "a"}}}, "spec.infrastructure.labels"),
    ("HTTPRoute", {"hostnames": ["UPPER.example.com"]}, "spec.hostnames[0]"),
    ("HTTPRoute", {"hostnames": [f"h{i}.example.com" for i in range(17)]}, "spec.hostnames"),
    ("HTTPRoute", refs({}, {}), "spec.parentRefs"),
    ("HTTPRoute", refs({"sectionName": "a"}, {}), "spec.parentRefs"),
    ("HTTPRoute", refs({"sectionName": "a"}, {"sectionName": "a"}), "spec.parentRefs"),
    ("HTTPRoute", rule(matches=[path("a")]), "spec.rules[0].matches[0].path"),
    ("HTTPRoute", rule(matches=[path("/a//b")]), "spec.rules[0].matches[0].path"),
    ("HTTPRoute", rule(matches=[path("/a/../b", "Exact")]), "spec.rules[0].matches[0].path"),
    ("HTTPRoute", rule(matches=[path("/a/.")]), "spec.rules[0].matches[0].path"),
    ("HTTPRoute", rule(matches=[path("/a%2fb")]), "spec.rules[0].matches[0].path"),
    ("HTTPRoute", rule(matches=[path("/a b")]), "spec.rules[0].matches[0].path"),
    ("HTTPRoute", rule(matches=[{"method": "get"}]), "spec.rules[0].matches[0].method"),
    ("HTTPRoute", rule(matches=[{"headers": [{"name": "a", "value": "1"}] * 2}]), "spec.rules[0].matches[0].headers[1]"),
    ("HTTPRoute", {"rules": [{"matches": [path(f"/{i}/{j}") for j in range(64)]} for i in range(3)]}, "spec.rules"),
    ("HTTPRoute", rule(filters=[{"type": "RequestMirror"}]), "spec.rules[0].filters[0]"),
    ("HTTPRoute", rule(**filter("CORS", requestMirror={"backendRef": {"name": "s", "port": 1}})), "spec.rules[0].filters[0]"),
    ("HTTPRoute", rule(**filter("ExternalAuth")), "spec.rules[0].filters[0].type"),
    ("HTTPRoute", rule(filters=[REWRITE, REWRITE]), "spec.rules[0].filters"),
    ("HTTPRoute", rule(filters=[REWRITE, {"type": "RequestRedirect", "requestRedirect": {}}]), "spec.rules[0].filters"),
    ("HTTPRoute", rule(matches=[path("/a", "Exact")], filters=[REWRITE]), "spec.rules[0]"),
    ("HTTPRoute", rule(matches=[path("/a"), path("/b")], filters=[REWRITE]), "spec.rules[0]"),
    ("HTTPRoute", rule(**filter("RequestRedirect", requestRedirect={}), **BACKEND), "spec.rules[0]"),
    (
        "HTTPRoute",
        rule(**filter("RequestRedirect", requestRedirect={"statusCode": 200})),
        "spec.rules[0].filters[0].requestRedirect.statusCode",
    ),
    (
        "HTTPRoute",
        rule(**filter("CORS", cors={"allowOrigins": ["*", "https://a.example"]})),
        "spec.rules[0].filters[0].cors.allowOrigins",
    ),
    ("HTTPRoute", rule(backendRefs=[{"name": "s"}]), "spec.rules[0].backendRefs[0]"),
    ("HTTPRoute", rule(backendRefs=[{"name": "s", "port": 80, "weight": -1}]), "spec.rules[0].backendRefs[0].weight"),
    ("HTTPRoute", rule(timeouts={"request": "1s", "backendRequest": "2s"}), "spec.rules[0].timeouts"),
    ("HTTPRoute", rule(timeouts={"request": "1.5s"}), "spec.rules[0].timeouts.request"),
    ("GRPCRoute", rule(matches=[{"method": {}}]), "spec.rules[0].matches[0].method"),
    ("GRPCRoute", rule(matches=[{"method": {"service": "a/b"}}]), "spec.rules[0].matches[0].method"),
    ("TLSRoute", {"hostnames": ["10.0.0.1"], **rule(**BACKEND)}, "spec.hostnames"),
    ("TLSRoute", {"hostnames": [], **rule(**BACKEND)}, "spec.hostnames"),
    ("TLSRoute", {"hostnames": ["a.example.com"], **rule(backendRefs=[])}, "spec.rules[0].backendRefs"),
    ("ReferenceGrant", {"from": [], "to": [{"group": "", "kind": "Service"}]}, "spec.from"),
    ("BackendTLSPolicy", {"targetRefs": TARGET, "validation": {"hostname": "a.example.com"}}, "spec.validation"),
    (
        "BackendTLSPolicy",
        {"targetRefs": TARGET, "validation": {"hostname": "a.example.com", "wellKnownCACertificates": "System", **CAS}},
        "spec.validation",
    ),
    (
        "BackendTLSPolicy",
        {"targetRefs": TARGET * 2, "validation": {"hostname": "a.example.com", "wellKnownCACertificates": "System"}},
        "spec.targetRefs",
    ),
]


async def test_what_the_reference_allows_is_accepted(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        for kind, spec in GOOD:
            status, body = await post(admin, kind, spec)
            assert status == 201, (kind, spec, body.get("message"))
            assert not set(spec) - set(body["spec"]), "nothing is dropped"


async def test_what_the_reference_forbids_is_refused_at_its_field(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        for kind, spec, field in BAD:
            status, body = await post(admin, kind, spec)
            assert status == 422, (kind, spec)
            fields = [c["field"] for c in body["details"]["causes"]]
            assert any(f == field or f.startswith((f"{field}.", f"{field}[")) for f in fields), (
                kind,
                spec,
                body["message"],
            )


async def test_older_versions_serve_the_same_objects(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        for kind, spec in [g for g in GOOD if g[0] in ("GatewayClass", "Gateway", "HTTPRoute", "ReferenceGrant")]:
            assert (await post(admin, kind, spec, "v1beta1"))[0] == 201


async def test_the_controller_of_a_class_cannot_be_changed(pilothouse_certificates: Path) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        await post(admin, "GatewayClass", {"controllerName": "example.com/a"}, dry=False)
        body = {"spec": {"controllerName": "example.com/b"}}
        answer = await admin.request(
            "PATCH", f"/apis/{GROUP}/v1/gatewayclasses/x", body=body, content_type="application/merge-patch+json"
        )
        assert answer.status == 422


@pytest.mark.parametrize(
    ("version", "installed", "stays"),
    [
        ("v1.4.0", "v1.4.0", False),
        ("v1.4.0", "", True),
        ("v1.4.0", "v1.3.0", True),
        ("v9.0.0", "v9.0.0", True),
        ("v9.0.0", "", True),
    ],
)
async def test_only_older_definitions_of_ours_are_replaced(
    pilothouse_certificates: Path, version: str, installed: str, stays: bool
) -> None:
    async with a_hub(pilothouse_certificates) as (admin, _):
        other = definitions()[0]
        other["metadata"]["annotations"] |= {BUNDLE_VERSION: version, INSTALLED: installed}
        assert (await admin.request("POST", CRDS.path(), body=other)).status == 201
        await install(Requests(admin, "test"))
        found = (await admin.request("GET", CRDS.path("", other["metadata"]["name"]))).body
        assert (found["metadata"]["annotations"][BUNDLE_VERSION] == version) is stays


@pytest.mark.parametrize("how", ["apply-patch+yaml", "merge-patch+json"])
async def test_other_releases_can_be_applied_over_ours_and_stay(pilothouse_certificates: Path, how: str) -> None:
    async with with_definitions(pilothouse_certificates) as admin:
        for theirs in definitions():
            notes = theirs["metadata"]["annotations"]
            notes[BUNDLE_VERSION] = "v1.4.1"
            del notes[INSTALLED]
            theirs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "theirs"
            path = CRDS.path("", theirs["metadata"]["name"])
            answer = await admin.request("PATCH", path, {"fieldManager": "kubectl"}, theirs, content_type=f"application/{how}")
            assert answer.status == 200, answer.body.get("message")
            await install(Requests(admin, "test"))
            found = (await admin.request("GET", path)).body
            assert found["metadata"]["annotations"][BUNDLE_VERSION] == "v1.4.1"

"""What is found out about a Gateway's listeners."""

from __future__ import annotations

from typing import Any

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SECRETS
from pilothouse.cloud.gateway.kinds import REFERENCE_GRANTS
from pilothouse.cloud.gateway.listeners import Listener
from pilothouse.cloud.gateway.outcome import Outcome

from .world import Obj, World, gateway, grant, listener, obj, pair, parent, route, secret, terminating, told


def of(out: Outcome, name: str) -> Listener:
    return next(each for each in out.listeners if each.name == name)


def reasons(out: Outcome, name: str) -> dict[str, tuple[Any, str]]:
    found = of(out, name)
    return {t.type: (t.status, t.reason) for t in (found.accepted, found.conflicted, found.resolved)}


def listener_set(name: str, *listeners: Obj, namespace: str = "ns", created: int = 0) -> Obj:
    return obj(name, {"parentRef": parent(), "listeners": list(listeners)}, namespace, created)


def test_a_plain_listener_carries_http_and_grpc() -> None:
    out = World().decide(gateway())
    assert reasons(out, "http") == {
        "Accepted": (True, "Accepted"),
        "Conflicted": (False, "NoConflicts"),
        "ResolvedRefs": (True, "ResolvedRefs"),
    }
    assert of(out, "http").kinds == ("HTTPRoute", "GRPCRoute")
    assert [(e.name, e.port, e.tls) for e in out.plan.edges] == [("port-80", 80, False)]


def test_protocols_without_routes_are_not_supported() -> None:
    out = World().decide(gateway(listener("t", 1, "TCP"), listener("x", 2, "example.com/x"), listener("h", 3, "http")))
    assert reasons(out, "t")["Accepted"] == reasons(out, "x")["Accepted"] == (False, "UnsupportedProtocol")
    assert reasons(out, "h")["Accepted"] == (True, "Accepted"), "protocols are compared without case"
    assert [e.port for e in out.plan.edges] == [3]


def test_kinds_that_a_listener_cannot_carry_are_told_and_the_others_kept() -> None:
    kinds = [{"group": "gateway.networking.k8s.io", "kind": k} for k in ("HTTPRoute", "TCPRoute")]
    out = World().decide(
        gateway(listener("a", allowedRoutes={"kinds": kinds}), listener("b", 81, allowedRoutes={"kinds": kinds[1:]}))
    )
    assert reasons(out, "a")["ResolvedRefs"] == reasons(out, "b")["ResolvedRefs"] == (False, "InvalidRouteKinds")
    assert (of(out, "a").kinds, of(out, "b").kinds) == (("HTTPRoute",), ())


def test_listeners_with_the_same_port_and_hostname_conflict_and_neither_is_served() -> None:
    out = World().decide(
        gateway(listener("a", hostname="x.com"), listener("b", hostname="x.com"), listener("c", hostname="y.com"))
    )
    assert reasons(out, "a")["Conflicted"] == reasons(out, "b")["Conflicted"] == (True, "HostnameConflict")
    assert reasons(out, "a")["Accepted"] == (False, "HostnameConflict")
    assert reasons(out, "c")["Conflicted"] == (False, "NoConflicts")
    assert [s.hostname for s in out.plan.edges[0].sites] == ["y.com"]


def test_plain_and_encrypted_listeners_cannot_share_a_port() -> None:
    out = World().decide(gateway(listener("a", 443), terminating("b"), listener("c", 80)))
    assert reasons(out, "a")["Conflicted"] == reasons(out, "b")["Conflicted"] == (True, "ProtocolConflict")
    assert [e.port for e in out.plan.edges] == [80]


def test_https_and_tls_share_a_port_by_hostname() -> None:
    through = listener("t", 443, "TLS", hostname="t.com", tls={"mode": "Passthrough"})
    out = World().decide(gateway(terminating("h", "h.com"), through))
    assert [(s.hostname, bool(s.certificates)) for s in out.plan.edges[0].sites] == [("h.com", True), ("t.com", False)]
    assert of(out, "t").kinds == ("TLSRoute",)


def test_overlapping_hostnames_of_https_listeners_are_told() -> None:
    out = World().decide(gateway(terminating("a", "a.x.com"), terminating("b", "*.x.com"), terminating("c", "c.org")))
    assert [bool(of(out, n).overlapping) for n in "abc"] == [True, True, False]


def test_a_certificate_has_to_be_there_and_to_be_one() -> None:
    world = World().put(SECRETS, secret("broken", chain="nonsense"), secret("strange", key=pair("b.com")[1]))
    for name in ("missing", "broken", "strange"):
        out = world.decide(gateway(terminating(secret=name)))
        assert reasons(out, "https")["ResolvedRefs"] == (False, "InvalidCertificateRef")
        assert reasons(out, "https")["Accepted"] == (True, "Accepted")
        assert not out.plan.edges
    nothing = World().decide(gateway(listener("https", 443, "HTTPS", tls={"mode": "Terminate", "options": {"a/b": "c"}})))
    assert reasons(nothing, "https")["ResolvedRefs"] == (False, "InvalidCertificateRef")
    other = {"mode": "Terminate", "certificateRefs": [{"group": "example.com", "kind": "Thing", "name": "cert"}]}
    out = World().decide(gateway(listener("https", 443, "HTTPS", tls=other)))
    assert reasons(out, "https")["ResolvedRefs"] == (False, "InvalidCertificateRef")


def test_a_certificate_of_another_namespace_needs_a_grant() -> None:
    world = World().put(SECRETS, secret("cert", "certs"))
    tls = {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "cert", "namespace": "certs"}]}
    those = gateway(listener("https", 443, "HTTPS", tls=tls))
    assert reasons(world.decide(those), "https")["ResolvedRefs"] == (False, "RefNotPermitted")
    for wrong in (
        grant("certs", "HTTPRoute", "ns", "Secret"),
        grant("certs", "Gateway", "x", "Secret"),
        grant("certs", "Gateway", "ns", "Secret", "y"),
    ):
        assert reasons(world.put(REFERENCE_GRANTS, wrong).decide(those), "https")["ResolvedRefs"][1] == "RefNotPermitted"
    world.put(REFERENCE_GRANTS, grant("certs", "Gateway", "ns", "Secret", "cert"))
    assert reasons(world.decide(those), "https")["ResolvedRefs"] == (True, "ResolvedRefs")


def checking(*names: str, per_port: Obj | None = None, kind: str = "ConfigMap", **more: Any) -> Obj:
    """spec.tls that has clients show certificates of these authorities."""
    refs = [{"group": "", "kind": kind, "name": name} for name in names]
    ports = [{"port": port, "tls": tls} for port, tls in (per_port or {}).items()]
    return {"frontend": {"default": {"validation": {"caCertificateRefs": refs, **more}}, "perPort": ports}}


def test_clients_are_checked_where_the_gateway_says_so() -> None:
    those = gateway(terminating("a"), terminating("b") | {"port": 8443}, listener(), tls=checking("ca", per_port={8443: {}}))
    out = World().with_ca().decide(those)
    assert {s.client_authorities for e in out.plan.edges for s in e.sites if e.port == 443} == {pair()[0]}
    assert {s.client_authorities for e in out.plan.edges for s in e.sites if e.port != 443} == {""}
    assert reasons(out, "a")["Accepted"] == reasons(out, "b")["Accepted"] == (True, "Accepted")


def test_a_listener_without_a_valid_authority_is_not_open_to_everybody() -> None:
    for tls, reason in (
        (checking("missing"), "InvalidCACertificateRef"),
        (checking("ca", kind="Secret"), "InvalidCACertificateKind"),
    ):
        out = World().with_ca().decide(gateway(terminating("a"), tls=tls))
        assert reasons(out, "a")["Accepted"] == (False, "NoValidCACertificate")
        assert reasons(out, "a")["ResolvedRefs"] == (False, reason)
        assert not out.plan.edges
    some = World().with_ca().decide(gateway(terminating("a"), tls=checking("missing", "ca")))
    assert reasons(some, "a")["ResolvedRefs"] == (False, "InvalidCACertificateRef")
    assert [s.client_authorities for e in some.plan.edges for s in e.sites] == [pair()[0]]


def test_clients_may_come_in_unchecked_where_that_is_said() -> None:
    out = World().with_ca().decide(gateway(terminating("a"), tls=checking("ca", mode="AllowInsecureFallback")))
    assert [s.client_authorities for e in out.plan.edges for s in e.sites] == [""]


def test_authorities_of_another_namespace_need_a_grant() -> None:
    world = World().put(CONFIG_MAPS, {"metadata": {"name": "ca", "namespace": "far"}, "data": {"ca.crt": pair()[0]}})
    tls = checking("ca")
    tls["frontend"]["default"]["validation"]["caCertificateRefs"][0]["namespace"] = "far"
    assert reasons(world.decide(gateway(terminating("a"), tls=tls)), "a")["ResolvedRefs"] == (False, "RefNotPermitted")
    world.put(REFERENCE_GRANTS, grant("far", "Gateway", "ns", "ConfigMap"))
    assert reasons(world.decide(gateway(terminating("a"), tls=tls)), "a")["ResolvedRefs"] == (True, "ResolvedRefs")


def test_listener_sets_come_in_where_the_gateway_lets_them() -> None:
    world = World().namespace("ns").namespace("other", team="a")
    near, far = listener_set("near", listener("l", 81)), listener_set("far", listener("l", 82), namespace="other")
    assert not world.decide(gateway(), sets=[near, far]).sets
    for source, expected in (("Same", {"near"}), ("All", {"near", "far"}), ("Selector", {"far"})):
        namespaces = {"from": source, "selector": {"matchLabels": {"team": "a"}}}
        out = world.decide(gateway(allowedListeners={"namespaces": namespaces}), sets=[near, far])
        assert {s["metadata"]["name"] for s in out.sets} == expected
        assert {s["metadata"]["name"] for s in out.refused_sets} == {"near", "far"} - expected


def test_of_conflicting_sets_the_oldest_is_served_and_the_gateway_before_all() -> None:
    everybody = {"namespaces": {"from": "Same"}}
    old, new = (
        listener_set("old", listener("a", 81), created=1),
        listener_set("new", listener("b", 81), listener("c", 80), created=2),
    )
    out = World().decide(gateway(allowedListeners=everybody), sets=[new, old])
    assert reasons(out, "a")["Accepted"] == (True, "Accepted")
    assert reasons(out, "b")["Conflicted"] == reasons(out, "c")["Conflicted"] == (True, "HostnameConflict")
    assert reasons(out, "http")["Accepted"] == (True, "Accepted")


def test_routes_are_attached_to_a_set_by_naming_it() -> None:
    everybody = {"namespaces": {"from": "Same"}}
    of_set = route(refs=[parent("s") | {"kind": "ListenerSet"}])
    out = World().decide(gateway(allowedListeners=everybody), of_set, sets=[listener_set("s", listener("l", 81))])
    assert [(e.port, len(e.sites[0].hosts)) for e in out.plan.edges] == [(80, 0), (81, 1)]
    refused = World().decide(gateway(), of_set, sets=[listener_set("s", listener("l", 81))])
    assert told(refused)["Accepted"] == (False, "NoMatchingParent")

"""BackendTLSPolicies: how backends are spoken to, and which policy holds."""

from __future__ import annotations

from typing import Any

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SERVICES
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES
from pilothouse.cloud.gateway.outcome import Outcome
from pilothouse.dataplane.model import Certificate, UpstreamTls

from .world import World, backend, config_map, gateway, pair, policy, route, rule, service, told


def verdicts(out: Outcome, name: str = "tls") -> dict[str, tuple[Any, str]]:
    return {t.type: (t.status, t.reason) for t in out.policies[f"ns/{name}"].told}


def decided(*policies: Any, world: World | None = None) -> Outcome:
    return (world or World().with_ca()).put(BACKEND_TLS_POLICIES, *policies).decide(gateway(), route())


def test_a_backend_with_a_policy_is_spoken_to_over_tls() -> None:
    out = decided(policy(subjectAltNames=[{"type": "Hostname", "hostname": "x.com"}, {"type": "URI", "uri": "spiffe://a/b"}]))
    assert out.plan.backends[0].tls == UpstreamTls("web.example.com", pair()[0], ("x.com", "spiffe://a/b"))
    assert verdicts(out) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (True, "ResolvedRefs")}
    assert told(out)["ResolvedRefs"] == (True, "ResolvedRefs")


def test_the_systems_authorities_can_be_asked_for() -> None:
    out = decided(policy(caCertificateRefs=[], wellKnownCACertificates="System"))
    assert out.plan.backends[0].tls == UpstreamTls("web.example.com")
    strange = decided(policy(caCertificateRefs=[], wellKnownCACertificates="Moon"))
    assert verdicts(strange)["Accepted"] == (False, "Invalid")


def test_requests_fail_where_no_authority_is_valid() -> None:
    kind = [{"group": "example.com", "kind": "Bundle", "name": "ca"}]
    for world, refs, reason in (
        (World(), None, "InvalidCACertificateRef"),
        (World().put(CONFIG_MAPS, config_map(text="none")), None, "InvalidCACertificateRef"),
        (World().with_ca(), kind, "InvalidKind"),
    ):
        out = decided(policy(**({"caCertificateRefs": refs} if refs else {})), world=world)
        assert verdicts(out) == {"Accepted": (False, "NoValidCACertificate"), "ResolvedRefs": (False, reason)}
        assert [s.pool for s in out.plan.edges[0].sites[0].hosts[0].rules[0].shares] == [""]


def test_valid_authorities_are_used_beside_invalid_ones() -> None:
    refs = [{"group": "", "kind": "ConfigMap", "name": name} for name in ("missing", "ca")]
    out = decided(policy(caCertificateRefs=refs))
    assert verdicts(out) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (False, "InvalidCACertificateRef")}
    assert out.plan.backends[0].tls == UpstreamTls("web.example.com", pair()[0])


def test_of_two_policies_the_older_holds_then_the_first_by_name() -> None:
    out = decided(policy("young", created=2, hostname="young.com"), policy("old", created=1, hostname="old.com"))
    assert out.plan.backends[0].tls is not None and out.plan.backends[0].tls.hostname == "old.com"
    assert verdicts(out, "young")["Accepted"] == (False, "Conflicted")
    assert verdicts(out, "old")["Accepted"] == (True, "Accepted")
    equal = decided(policy("b", hostname="b.com"), policy("a", hostname="a.com"))
    assert verdicts(equal, "b")["Accepted"] == (False, "Conflicted")


def test_a_policy_for_a_port_goes_before_one_for_the_service() -> None:
    out = decided(policy("all", hostname="all.com", created=1), policy("one", hostname="one.com", section="http", created=2))
    assert out.plan.backends[0].tls is not None and out.plan.backends[0].tls.hostname == "one.com"
    assert verdicts(out, "all")["Accepted"] == verdicts(out, "one")["Accepted"] == (True, "Accepted")


def test_protocols_over_tls_need_a_policy() -> None:
    port = {"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "kubernetes.io/wss"}
    world = World().with_ca().put(SERVICES, service("web", port))
    assert told(world.decide(gateway(), route()))["ResolvedRefs"] == (False, "UnsupportedProtocol")
    assert told(decided(policy(), world=world))["ResolvedRefs"] == (True, "ResolvedRefs")


def test_a_gateway_shows_its_certificate_to_backends_that_it_speaks_tls_with() -> None:
    world = World().with_ca().put(BACKEND_TLS_POLICIES, policy()).put(SERVICES, service("plain"))
    showing = gateway(tls={"backend": {"clientCertificateRef": {"group": "", "kind": "Secret", "name": "cert"}}})
    out = world.decide(showing, route(rule(to=[backend(), backend("plain")])))
    secure, plain = out.plan.backends
    assert (secure.pool, plain.pool) == ("ns/web:80@ns/gw", "ns/plain:80"), "its own pool, as others show something else"
    assert secure.tls is not None and secure.tls.certificate == Certificate(*pair()) and plain.tls is None
    assert out.resolved is not None and out.resolved.status
    for ref, reason in (
        ({"name": "missing"}, "InvalidClientCertificateRef"),
        ({"name": "cert", "namespace": "far"}, "RefNotPermitted"),
    ):
        wrong = gateway(tls={"backend": {"clientCertificateRef": {"group": "", "kind": "Secret", **ref}}})
        out = world.decide(wrong, route())
        assert out.resolved is not None and (out.resolved.status, out.resolved.reason) == (False, reason)
        assert out.plan.backends[0].tls is not None and out.plan.backends[0].tls.certificate is None

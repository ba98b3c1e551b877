"""Which routes come to which listeners, and what they are told when they do not."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import SERVICES
from pilothouse.cloud.gateway.kinds import REFERENCE_GRANTS
from pilothouse.cloud.gateway.listeners import Listener
from pilothouse.cloud.gateway.outcome import Outcome

from .world import World, backend, gateway, grant, listener, obj, parent, path, route, rule, service, terminating, told


def attached(out: Outcome) -> dict[str, int]:
    return {each.name: len(each.attached) for each in out.listeners}


def test_a_route_is_attached_to_all_listeners_that_let_it_in() -> None:
    out = World().decide(gateway(listener("a"), listener("b", 81)), route())
    assert told(out) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (True, "ResolvedRefs")}
    assert attached(out) == {"a": 1, "b": 1}


def test_section_names_and_ports_choose_listeners() -> None:
    those = gateway(listener("a"), listener("b", 81), listener("c", 81, hostname="x.com"))
    assert attached(World().decide(those, route(refs=[parent(sectionName="b")]))) == {"a": 0, "b": 1, "c": 0}
    assert attached(World().decide(those, route(refs=[parent(port=81)]))) == {"a": 0, "b": 1, "c": 1}
    assert attached(World().decide(those, route(refs=[parent(port=81, sectionName="c")]))) == {"a": 0, "b": 0, "c": 1}
    for ref in (parent(sectionName="z"), parent(port=99), parent(port=80, sectionName="b")):
        assert told(World().decide(those, route(refs=[ref])))["Accepted"] == (False, "NoMatchingParent")


def test_each_parent_reference_is_told_on_its_own() -> None:
    out = World().decide(gateway(listener("a")), route(refs=[parent(sectionName="a"), parent(sectionName="z")]))
    assert told(out, entry=0)["Accepted"] == (True, "Accepted")
    assert told(out, entry=1)["Accepted"] == (False, "NoMatchingParent")


def test_namespaces_are_let_in_by_name_by_label_or_all() -> None:
    world = World().namespace("ns").namespace("far", team="a").put(SERVICES, service(namespace="far"))
    from_far = route(refs=[parent(namespace="ns")], namespace="far")
    for namespaces, accepted in (
        ({"from": "Same"}, False),
        ({"from": "All"}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}, False),
        ({"from": "Selector", "selector": {"matchExpressions": [{"key": "team", "operator": "Nonsense"}]}}, False),
    ):
        out = world.decide(gateway(listener(allowedRoutes={"namespaces": namespaces})), from_far)
        assert told(out, namespace="far")["Accepted"] == ((True, "Accepted") if accepted else (False, "NotAllowedByListeners"))


def test_kinds_are_let_in_as_the_listener_says() -> None:
    only = [{"group": "gateway.networking.k8s.io", "kind": "GRPCRoute"}]
    out = World().decide(gateway(listener(allowedRoutes={"kinds": only, "namespaces": {"from": "Same"}})), route())
    assert told(out)["Accepted"] == (False, "NotAllowedByListeners")


def test_a_route_needs_a_hostname_in_common_with_a_listener() -> None:
    those = gateway(listener("a", hostname="*.example.com"))
    assert told(World().decide(those, route(hosts=["other.org"])))["Accepted"] == (False, "NoMatchingListenerHostname")
    out = World().decide(those, route(hosts=["other.org", "a.example.com"]))
    assert told(out)["Accepted"] == (True, "Accepted")
    assert [h.hostname for h in out.plan.edges[0].sites[0].hosts] == ["a.example.com"]


def test_a_tls_route_needs_a_tls_listener() -> None:
    tls = obj("r", {"parentRefs": [parent()], "hostnames": ["a.com"], "rules": [{"backendRefs": [backend()]}]})
    assert told(World().decide(gateway(), tls=[tls]), kind="TLSRoute")["Accepted"] == (False, "UnsupportedValue")
    through = listener("t", 443, "TLS", tls={"mode": "Passthrough"})
    out = World().decide(gateway(through), tls=[tls])
    assert told(out, kind="TLSRoute")["Accepted"] == (True, "Accepted")
    ((name, shares),) = out.plan.edges[0].sites[0].tunnels
    assert (name, [s.pool for s in shares]) == ("a.com", ["ns/web:80/tls"])


def test_of_an_http_and_a_grpc_route_for_one_hostname_the_older_stays() -> None:
    grpc = obj("g", {"parentRefs": [parent()], "hostnames": ["a.com"], "rules": [{"backendRefs": [backend()]}]}, created=1)
    out = World().decide(gateway(), route(hosts=["a.com"], created=2), grpc=[grpc])
    assert told(out)["Accepted"] == (False, "HostnameConflict")
    assert told(out, "g", "GRPCRoute")["Accepted"] == (True, "Accepted")
    beside = World().decide(gateway(), route(hosts=["b.com"], created=2), grpc=[grpc])
    assert told(beside)["Accepted"] == (True, "Accepted")


def test_a_route_is_attached_to_a_listener_that_cannot_carry_it_yet() -> None:
    out = World().decide(gateway(terminating(secret="missing")), route())
    assert told(out)["Accepted"] == (True, "Accepted") and attached(out) == {"https": 1}


def test_backends_that_cannot_be_reached_are_told_and_their_share_fails() -> None:
    world = World().put(
        SERVICES, service("outside", type="ExternalName"), service("odd", {"name": "x", "port": 80, "appProtocol": "mysql"})
    )
    world.put(SERVICES, service("dns", {"name": "x", "port": 80, "protocol": "UDP"}), service("far", namespace="far"))
    for ref, reason in (
        (backend("missing"), "BackendNotFound"),
        (backend(port=99), "BackendNotFound"),
        (backend() | {"kind": "Pod"}, "InvalidKind"),
        (backend() | {"group": "example.com"}, "InvalidKind"),
        (backend("outside"), "InvalidKind"),
        (backend("odd"), "UnsupportedProtocol"),
        (backend("dns"), "UnsupportedProtocol"),
        (backend("far", namespace="far"), "RefNotPermitted"),
    ):
        out = world.decide(gateway(), route(rule(to=[ref, backend()])))
        assert told(out) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (False, reason)}
        shares = out.plan.edges[0].sites[0].hosts[0].rules[0].shares
        assert [s.pool for s in shares] == ["", "ns/web:80"]


def test_a_grant_opens_a_service_of_another_namespace() -> None:
    world = (
        World().put(SERVICES, service("far", namespace="far")).put(REFERENCE_GRANTS, grant("far", "HTTPRoute", "ns", "Service"))
    )
    out = world.decide(gateway(), route(rule(to=[backend("far", namespace="far")])))
    assert told(out)["ResolvedRefs"] == (True, "ResolvedRefs")
    assert [(b.pool, b.namespace, b.service, b.port) for b in out.plan.backends] == [("far/far:80", "far", "far", 80)]


def test_rules_that_are_not_supported_are_left_out() -> None:
    extension = {"filters": [{"type": "ExtensionRef", "extensionRef": {"group": "x", "kind": "Y", "name": "z"}}]}
    out = World().decide(gateway(), route(rule(**extension)))
    assert told(out)["Accepted"] == (False, "UnsupportedValue") and attached(out) == {"http": 0}
    assert not out.plan.edges[0].sites[0].hosts
    out = World().decide(gateway(), route(rule(path("/bad"), **extension), rule(path("/good"))))
    assert told(out) == {
        "Accepted": (True, "Accepted"),
        "ResolvedRefs": (True, "ResolvedRefs"),
        "PartiallyInvalid": (True, "UnsupportedValue"),
    }
    assert [r.match.path for r in out.plan.edges[0].sites[0].hosts[0].rules] == ["/good"]


def test_a_redirect_and_a_rewrite_are_not_compatible() -> None:
    rewriting = [{"type": "URLRewrite", "urlRewrite": {"hostname": "a.com"}}]
    redirecting = backend(filters=[{"type": "RequestRedirect", "requestRedirect": {}}])
    out = World().decide(gateway(), route(rule(to=[redirecting], filters=rewriting)))
    assert told(out)["Accepted"] == (False, "IncompatibleFilters")


def test_parents_that_are_not_gateways_are_none_of_our_business() -> None:
    out = World().decide(gateway(), route(refs=[{"group": "", "kind": "Service", "name": "web"}, parent("other")]))
    assert not out.routes
    assert all(isinstance(each, Listener) for each in out.listeners)

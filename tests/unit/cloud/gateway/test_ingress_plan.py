"""From the Ingresses of a class to one plan."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.client.reconcile.kinds import SECRETS, SERVICES
from pilothouse.cloud.gateway.ingress_plan import IngressOutcome, ingress_outcome
from pilothouse.dataplane.model import Host, Text

from .world import Obj, World, obj, secret, service

CLASS = {
    "metadata": {"name": "pilothouse", "annotations": {"a": "1"}},
    "spec": {"controller": "pilothouse.dev/ingress-controller"},
}


def path(value: str = "/", type: str = "Prefix", to: str = "web", **port: Any) -> Obj:
    return {"path": value, "pathType": type, "backend": {"service": {"name": to, "port": port or {"number": 80}}}}


def ingress(*paths: Obj, host: str = "", name: str = "i", created: int = 0, **spec: Any) -> Obj:
    rules = [{**({"host": host} if host else {}), "http": {"paths": list(paths)}}] if paths else []
    return obj(name, {"rules": rules, **spec}, created=created)


def decide(*ingresses: Obj, world: World | None = None) -> IngressOutcome:
    return ingress_outcome(CLASS, ingresses, world or World())


def hosts(out: IngressOutcome, edge: int = 0, site: int = 0) -> dict[str, list[str]]:
    return {h.hostname: [r.match.path for r in h.rules] for h in out.plan.edges[edge].sites[site].hosts}


def host(out: IngressOutcome, name: str = "") -> Host:
    return next(h for h in out.plan.edges[0].sites[0].hosts if h.hostname == name)


def test_the_longest_path_goes_first_and_an_exact_one_before_a_prefix() -> None:
    out = decide(ingress(path("/"), path("/a/b"), path("/a"), path("/a", "Exact"), path("/x/y/z", "ImplementationSpecific")))
    assert [(r.match.path, r.match.path_type) for r in host(out).rules] == [
        ("/x/y/z", "PathPrefix"),
        ("/a/b", "PathPrefix"),
        ("/a", "Exact"),
        ("/a", "PathPrefix"),
        ("/", "PathPrefix"),
    ]


def test_of_equal_paths_the_older_ingress_has_it() -> None:
    out = decide(ingress(path(), name="young", created=2), ingress(path(), name="old", created=1))
    assert [r.origin for r in host(out).rules] == ["Ingress/ns/old#0", "Ingress/ns/young#0"]


def test_what_a_hosts_rules_do_not_match_goes_on_to_wider_ones_and_at_last_to_the_default_backend() -> None:
    world = World().put(SERVICES, service("rest"))
    out = decide(
        ingress(path("/exact"), host="a.example.com", name="a"),
        ingress(path("/wild"), host="*.example.com", name="b"),
        ingress(path("/all"), name="c", defaultBackend={"service": {"name": "rest", "port": {"number": 80}}}),
        world=world,
    )
    assert hosts(out) == {
        "a.example.com": ["/exact", "/wild", "/all", "/"],
        "*.example.com": ["/wild", "/all", "/"],
        "": ["/all", "/"],
    }
    assert host(out).rules[-1].shares[0].pool == "ns/rest:80/ingress"


def test_a_wildcard_stands_for_one_label() -> None:
    (header,) = host(decide(ingress(path(), host="*.example.com")), "*.example.com").rules[0].match.headers
    assert isinstance(header, Text) and header.regex and header.name == "Host"
    assert re.match(header.value, "a.example.com:8080") and re.match(header.value, "A.EXAMPLE.com")
    assert not re.match(header.value, "a.b.example.com") and not re.match(header.value, "a.exampleXcom")


def test_ports_are_named_or_numbered() -> None:
    out = decide(ingress(path("/a", name="http"), path("/b", number=80), path("/c", name="none")))
    assert [r.shares[0].pool for r in host(out).rules] == ["ns/web:80/ingress", "ns/web:80/ingress", ""]
    assert out.problems == {"ns/i": [("BackendNotFound", "Service ns/web has no port none")]}


def test_backends_that_are_not_there_are_told() -> None:
    resource = {"path": "/r", "pathType": "Prefix", "backend": {"resource": {"apiGroup": "x", "kind": "Y", "name": "z"}}}
    out = decide(ingress(path("/a", to="missing"), resource))
    assert [reason for reason, _ in out.problems["ns/i"]] == ["BackendNotFound", "InvalidKind"]
    assert [r.shares[0].pool for r in host(out).rules] == ["", ""]


def test_each_host_with_a_secret_is_a_site_on_the_secure_port() -> None:
    world = World().put(SECRETS, secret("other"))
    tls = [{"hosts": ["a.example.com", "*.b.com"], "secretName": "cert"}, {"secretName": "other"}]
    out = decide(ingress(path("/x"), host="a.example.com", tls=tls), ingress(path("/y"), name="j"), world=world)
    edge = out.plan.edges[1]
    assert (edge.port, edge.tls) == (443, True)
    assert [s.hostname for s in edge.sites] == ["a.example.com", "*.b.com", ""]
    assert hosts(out, 1, 0) == {"a.example.com": ["/x", "/y"]}
    assert hosts(out, 1, 1) == {"*.b.com": ["/y"]}
    assert hosts(out, 1, 2) == {"a.example.com": ["/x", "/y"], "": ["/y"]}


def test_a_secret_that_is_missing_leaves_the_host_out_of_the_secure_port() -> None:
    out = decide(ingress(path(), host="a.com", tls=[{"hosts": ["a.com"], "secretName": "missing"}]))
    assert [e.port for e in out.plan.edges] == [80]
    assert out.problems["ns/i"][0][0] == "InvalidCertificateRef"


def test_the_plan_keeps_the_address_that_ingresses_have() -> None:
    given = ingress(path())
    given["status"] = {"loadBalancer": {"ingress": [{"ip": "127.9.0.1"}]}}
    plan = decide(given, ingress(path(), name="j")).plan
    assert (plan.key, plan.given, plan.annotations) == ("IngressClass/pilothouse", ("127.9.0.1",), {"a": "1"})

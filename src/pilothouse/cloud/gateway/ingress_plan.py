"""From the Ingresses of a class to one plan for the data plane: a pure function.

Reference: "Ingress" (path types, multiple matches, wildcard hostnames, default backend, TLS). All Ingresses of a class share an address. The
longest path goes first, an exact one before a prefix of the same length, the older Ingress before the younger. Requests that no rule of their
host matches go to the rules for wider hosts, then to those for all hosts, then to the default backend of the oldest Ingress that has one.
Resource backends are left out; so is a way from HTTP to HTTPS, which Ingress does not describe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.reconcile.kinds import SECRETS, SERVICES
from pilothouse.client.reconcile.objects import annotations_of, key
from pilothouse.cloud.gateway.attachment import age
from pilothouse.cloud.gateway.backends import Backends
from pilothouse.cloud.gateway.certificates import Malformed, certificate_of
from pilothouse.cloud.gateway.hostnames import intersection, specificity, wider
from pilothouse.cloud.gateway.references import Lookup
from pilothouse.cloud.provider import GatewayPlan
from pilothouse.dataplane.model import Certificate, Edge, Host, Match, Rule, Share, Site, Text

Obj = dict[str, Any]

HTTP, HTTPS = 80, 443
#: After every rule of every host.
_LAST = (1,)


@dataclass(slots=True)
class IngressOutcome:
    """`problems`: by the Ingress's key, (reason, message) of what cannot be done for it."""

    plan: GatewayPlan
    problems: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def wrong(self, ingress: Obj, reason: str, message: str) -> None:
        self.problems.setdefault(key(ingress), []).append((reason, message))


@dataclass(frozen=True, slots=True)
class _Placed:
    place: tuple[Any, ...]
    rule: Rule


def plan_key(ingress_class: Obj) -> str:
    return f"IngressClass/{ingress_class['metadata']['name']}"


def ingress_outcome(ingress_class: Obj, ingresses: Iterable[Obj], lookup: Lookup) -> IngressOutcome:
    in_order = sorted(ingresses, key=age)
    out = IngressOutcome(GatewayPlan(plan_key(ingress_class), (), ()))
    backends = Backends(lookup)
    placed: dict[str, list[_Placed]] = {}
    for ingress in in_order:
        _add_rules(ingress, placed, backends, out)
    _add_default(in_order, placed, backends, out)
    sites = _secure_sites(in_order, placed, lookup, out)
    edges = [Edge("port-80", "", HTTP, False, (Site("", tuple(_hosts("", placed))),))]
    edges += [Edge("port-443", "", HTTPS, True, tuple(sites))] if sites else []
    given = dict.fromkeys(address for ingress in in_order for address in addresses_of(ingress))
    out.plan = GatewayPlan(
        plan_key(ingress_class), tuple(edges), tuple(backends.found.values()), (), tuple(given), annotations_of(ingress_class)
    )
    return out


def addresses_of(ingress: Obj) -> list[str]:
    """What its status says: addresses or names."""
    told = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [each.get("ip") or each.get("hostname") or "" for each in told]


# --- rules -------------------------------------------------------------------------------------------------------------------------------


def _add_rules(ingress: Obj, placed: dict[str, list[_Placed]], backends: Backends, out: IngressOutcome) -> None:
    for index, rule in enumerate(ingress["spec"].get("rules") or ()):
        host = rule.get("host") or ""
        made = placed.setdefault(host, [])
        for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            match, order = _match(path, host)
            share = _share(ingress, path["backend"], backends, out)
            origin = f"Ingress/{key(ingress)}#{index}"
            made.append(_Placed((0, *order, *age(ingress), index, number), Rule(match, (share,), origin=origin)))


def _add_default(in_order: Iterable[Obj], placed: dict[str, list[_Placed]], backends: Backends, out: IngressOutcome) -> None:
    for ingress in in_order:
        if backend := ingress["spec"].get("defaultBackend"):
            rule = Rule(Match(), (_share(ingress, backend, backends, out),), origin=f"Ingress/{key(ingress)}#default")
            placed.setdefault("", []).append(_Placed(_LAST, rule))
            return


def _match(path: Obj, host: str) -> tuple[Match, tuple[int, int]]:
    value = path.get("path") or "/"
    headers = (_one_label(host),) if host.startswith("*.") else ()
    if path.get("pathType") == "Exact":
        return Match(value, "Exact", headers=headers), (-len(value), 0)
    value = value.rstrip("/") or "/"
    return Match(value, "PathPrefix", headers=headers), (-len(value), 1)


def _one_label(host: str) -> Text:
    """A wildcard of an Ingress stands for one label, that of a data plane for several."""
    return Text("Host", rf"(?i)^[^.]+{re.escape(host[1:])}(:[0-9]+)?$", True)


def _share(ingress: Obj, backend: Obj, backends: Backends, out: IngressOutcome) -> Share:
    """What cannot be reached is answered 500."""
    wanted = backend.get("service")
    if wanted is None:
        out.wrong(ingress, "InvalidKind", "resource backends are not supported")
        return Share("")
    namespace = ingress["metadata"]["namespace"]
    number = _port_number(backends.lookup.get(SERVICES, namespace, wanted["name"]), wanted.get("port") or {})
    ref = {"group": "", "kind": "Service", "name": wanted["name"], "port": number}
    pool, problem = backends.resolve(ref, "Ingress", namespace)
    if problem is not None:
        out.wrong(ingress, problem.reason, problem.message)
    return Share(pool)


def _port_number(service: Obj | None, port: Obj) -> int | str | None:
    if port.get("number") or service is None:
        return port.get("number") or port.get("name")
    found = (p["port"] for p in service["spec"].get("ports") or () if p.get("name") == port.get("name"))
    return next(found, port.get("name"))


def _hosts(site: str, placed: Mapping[str, list[_Placed]]) -> Iterable[Host]:
    """What a site has to know, by the hostnames that are asked there; the rules of wider ones stand behind."""
    names = {common for name in placed if (common := intersection(site, name)) is not None}
    for common in sorted(names, key=specificity):
        those = [name for name in (common, *wider(common)) if name in placed]
        rules = [p for name in those for p in sorted(placed[name], key=lambda p: p.place)]
        last = [p for p in rules if p.place == _LAST]
        yield Host(common, tuple(p.rule for p in (*(p for p in rules if p.place != _LAST), *last)))


# --- TLS ---------------------------------------------------------------------------------------------------------------------------------


def _secure_sites(
    in_order: Iterable[Obj], placed: Mapping[str, list[_Placed]], lookup: Lookup, out: IngressOutcome
) -> list[Site]:
    """One for each hostname that an Ingress has a certificate for; the oldest one's counts."""
    found: dict[str, Certificate] = {}
    for ingress in in_order:
        for tls in ingress["spec"].get("tls") or ():
            certificate = _certificate(ingress, tls.get("secretName") or "", lookup, out)
            if certificate is not None:
                for host in tls.get("hosts") or ("",):
                    found.setdefault(host, certificate)
    return [Site(host, tuple(_hosts(host, placed)), (found[host],)) for host in sorted(found, key=specificity)]


def _certificate(ingress: Obj, name: str, lookup: Lookup, out: IngressOutcome) -> Certificate | None:
    secret = lookup.get(SECRETS, ingress["metadata"]["namespace"], name)
    try:
        if secret is None:
            raise Malformed("it does not exist")
        return certificate_of(secret)
    except Malformed as error:
        out.wrong(ingress, "InvalidCertificateRef", f"Secret {ingress['metadata']['namespace']}/{name}: {error}")
        return None

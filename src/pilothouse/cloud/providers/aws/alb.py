"""What a GatewayPlan asks of an application load balancer: listeners with rules, and target groups, as values. Nothing here calls AWS.

References: rules of listeners (conditions, actions, quotas) in Elastic Load Balancing's documentation, the annotations of Ingresses of the
AWS Load Balancer Controller, and the Gateway API for what a rule means. What an application load balancer cannot do is a problem of its
edge. A rule whose requests it would handle in another way than was asked for (a filter that cannot be) answers 500, as the Gateway API has
it for such rules. One whose match cannot be told is left out. A limit of time or a retry that cannot be leaves the rule as it is otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.service_endpoints import Target, families, port_of
from pilothouse.cloud.provider import Backend, GatewayPlan
from pilothouse.cloud.providers.aws.annotations import GATEWAY_PREFIX, Annotations
from pilothouse.cloud.providers.aws.model import Action, Condition, Fixed, Forward, Listener, Redirect, Rule, TargetGroup
from pilothouse.dataplane import model

Obj = dict[str, Any]

#: Quotas of a rule: values of its conditions, target groups of its action; and the length of a value.
VALUES, GROUPS, LENGTH = 5, 5, 128
_POLICY = "ELBSecurityPolicy-2016-08"
_PATH = re.compile(r"[A-Za-z0-9_.$/~\"'@:+&-]*")
_HOST = re.compile(r"(?:\*|[A-Za-z0-9_-]+)(?:\.[A-Za-z0-9_-]+)+")
_NOT_FOUND, _FAILED = Fixed(404), Fixed(500)
_PORTS = {"http": 80, "https": 443}
_RUNNING = ("pending", "running")


class Unfit(Exception):
    """An application load balancer cannot do this."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`problems` by the edge's name; `inner` are protocol and port at which targets are reached; `services` those that are followed."""

    listeners: tuple[Listener, ...]
    target_groups: tuple[TargetGroup, ...]
    problems: Mapping[str, str]
    inner: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    services: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is looked up while a plan is read: a Service by namespace and name, its endpoints by port name, the instances of nodes."""

    service: Callable[[str, str], Obj | None]
    endpoints: Callable[[str, str, str], Iterable[Target]]
    instances: Sequence[Obj]


def certificates_of(plan: GatewayPlan) -> list[model.Certificate]:
    """What is to be at ACM before the listeners are made."""
    found = [c for e in plan.edges if e.tls for s in e.sites if not s.tunnels for c in s.certificates]
    return list(dict.fromkeys(found))


def read(plan: GatewayPlan, cluster: Cluster, arns: Mapping[model.Certificate, str]) -> Wish:
    """`arns` are those of the plan's certificates. CloudError for annotations that cannot be."""
    told = Annotations(plan.annotations, GATEWAY_PREFIX)
    pools = _Pools(plan.backends, cluster, told)
    listeners: list[Listener] = []
    problems: dict[str, str] = {}
    for edge in plan.edges:
        made, found = _listener(edge, pools, told, arns)
        listeners += [made] if made else []
        if found:
            problems[edge.name] = "; ".join(dict.fromkeys(found))
    groups = pools.used()
    services = frozenset(f"{b.namespace}/{b.service}" for b in plan.backends)
    return Wish(tuple(listeners), groups, problems, _inner(groups), services)


def _inner(groups: Iterable[TargetGroup]) -> frozenset[tuple[str, int]]:
    found: set[int] = set()
    for group in groups:
        ports = {group.port} if group.target_type == "instance" else {port for _, port in group.targets}
        check = group.health["HealthCheckPort"]
        found |= ports if check == "traffic-port" else {*ports, int(check)}
    return frozenset(("tcp", port) for port in found)


def _listener(
    edge: model.Edge, pools: _Pools, told: Annotations, arns: Mapping[model.Certificate, str]
) -> tuple[Listener | None, list[str]]:
    problems: list[str] = []
    sites = []
    for site in edge.sites:
        if site.tunnels or (edge.tls and not site.certificates and not told.words("certificate-arn")):
            problems.append("an application load balancer does not pass TLS through, and needs a certificate to end it")
        else:
            sites.append(site)
    if edge.sites and not sites:
        return None, problems
    rules: list[Rule] = []
    action: Action = _NOT_FOUND
    for name, asked in _by_host(sites):
        made = _Host(name, edge.tls, pools, problems)
        translated = [rule for each in asked for rule in made.rules(each)]
        if name:
            rules += [*translated, *made.nothing_else()]
            continue
        for rule in translated:
            if not rule.conditions:  # whatever comes after it is never reached
                action = rule.action
                break
            rules.append(rule)
    certificates = [*told.words("certificate-arn"), *(arns[c] for s in sites for c in s.certificates)] if edge.tls else []
    policy = told.text("ssl-policy", _POLICY) if edge.tls else ""
    protocol = "HTTPS" if edge.tls else "HTTP"
    return Listener(edge.port, protocol, action, tuple(dict.fromkeys(certificates)), policy, rules=tuple(rules)), problems


def _by_host(sites: Iterable[model.Site]) -> list[tuple[str, tuple[model.Rule, ...]]]:
    """Hostnames and their rules, the most specific one first. A site without hosts answers nothing."""
    found: dict[str, tuple[model.Rule, ...]] = {}
    for site in sorted(sites, key=lambda s: _rank(s.hostname)):
        for host in site.hosts or (model.Host(site.hostname),):
            found.setdefault(host.hostname or site.hostname, host.rules)
        found.setdefault(site.hostname, ())
    return sorted(found.items(), key=lambda item: _rank(item[0]))


def _rank(hostname: str) -> tuple[int, int, str]:
    kind = 2 if not hostname else 1 if hostname.startswith("*.") else 0
    return kind, -len(hostname), hostname


class _Host:
    """The rules of one hostname."""

    def __init__(self, name: str, tls: bool, pools: _Pools, problems: list[str]) -> None:
        self._name = name
        self._tls = tls
        self._pools = pools
        self._problems = problems

    def rules(self, rule: model.Rule) -> list[Rule]:
        """One, or none where its match cannot be told."""
        where = f" ({rule.origin})" if rule.origin else ""
        try:
            conditions = self._conditions(rule.match)
        except Unfit as unfit:
            self._problems.append(f"{unfit}{where}")
            return []
        try:
            action = self._action(rule)
        except Unfit as unfit:
            self._problems.append(f"{unfit}{where}")
            action = _FAILED
        for asked, what in ((rule.request_timeout or rule.backend_timeout, "time limits"), (rule.retry, "retries")):
            if asked:
                self._problems.append(f"an application load balancer has no {what} for a rule{where}")
        return [Rule(conditions, action)]

    def nothing_else(self) -> list[Rule]:
        """What none of its rules matches is not another host's."""
        try:
            return [Rule(self._conditions(model.Match()), _NOT_FOUND)]
        except Unfit:
            return []

    def _conditions(self, match: model.Match) -> tuple[Condition, ...]:
        found: list[Condition] = []
        if self._name:
            if not _HOST.fullmatch(self._name) or len(self._name) > LENGTH:
                raise Unfit(f"an application load balancer does not know hosts by the name {self._name!r}")
            found.append(Condition("host-header", (self._name,)))
        found += _path(match)
        if match.method:
            found.append(Condition("http-request-method", (match.method,)))
        found += [Condition("http-header", (_plain(h, "headers"),), h.name) for h in match.headers]
        found += [Condition("query-string", (f"{q.name}={_escaped(_plain(q, 'query parameters', True))}",)) for q in match.query]
        if sum(len(c.values) for c in found) > VALUES:
            raise Unfit(f"a rule of an application load balancer compares {VALUES} values at most")
        return tuple(found)

    def _action(self, rule: model.Rule) -> Action:
        _check_filters(rule.filters)
        if rule.filters.redirect:
            return _redirect(rule.filters.redirect, rule.match)
        shares = [s for s in rule.shares if s.weight > 0]
        for share in shares:
            _check_filters(share.filters or model.Filters())
            if share.filters and share.filters.redirect:
                raise Unfit("an application load balancer does not redirect a share of a rule's requests")
        if not any(s.pool for s in shares):
            return _FAILED
        if not all(s.pool for s in shares):
            raise Unfit("an application load balancer does not answer 500 to a share of a rule's requests")
        weights: dict[str, int] = {}
        for share in shares:
            group = self._pools.group(share.pool, self._tls)
            weights[group.key] = weights.get(group.key, 0) + share.weight
        if len(weights) > GROUPS:
            raise Unfit(f"a rule of an application load balancer has {GROUPS} target groups at most")
        return Forward(tuple(_within(weights, 999).items()))


def _within(weights: Mapping[str, int], most: int) -> dict[str, int]:
    """Weights in the same proportion, none above `most` and none that becomes nothing."""
    greatest = max(weights.values())
    if greatest <= most:
        return dict(weights)
    return {k: max(1, round(v * most / greatest)) for k, v in weights.items()}


def _path(match: model.Match) -> list[Condition]:
    path = match.path
    if match.path_type == "RegularExpression":
        raise Unfit("regular expressions for paths are not supported with application load balancers")
    if not _PATH.fullmatch(path) or len(path) + 2 > LENGTH:
        raise Unfit(f"an application load balancer cannot compare paths with {path!r}")
    if match.path_type == "Exact":
        return [Condition("path-pattern", (path,))]
    prefix = path.rstrip("/")
    return [Condition("path-pattern", (prefix, f"{prefix}/*"))] if prefix else []


def _plain(text: model.Text, what: str, escapes: bool = False) -> str:
    if text.regex:
        raise Unfit(f"regular expressions for {what} are not supported with application load balancers")
    if len(text.value) > LENGTH or not text.value or (not escapes and set(text.value) & set("*?")):
        raise Unfit(f"an application load balancer cannot compare {what} with {text.value!r}")
    return text.value


def _escaped(value: str) -> str:
    """Wildcards of queries that are meant as they are."""
    return re.sub(r"([\\*?])", r"\\\1", value)


def _check_filters(filters: model.Filters) -> None:
    for asked, what in (
        (filters.request, "change a request's headers"),
        (filters.response, "change an answer's headers"),
        (filters.rewrite, "rewrite hosts or paths as Gateways ask for it"),
        (filters.mirrors, "mirror requests"),
        (filters.cors, "answer for CORS"),
    ):
        if asked:
            raise Unfit(f"an application load balancer does not {what}")


def _redirect(redirect: model.Redirect, match: model.Match) -> Redirect:
    if redirect.status not in (301, 302):
        raise Unfit(f"an application load balancer redirects with 301 and 302, not {redirect.status}")
    scheme = redirect.scheme.lower()
    port = str(redirect.port or _PORTS.get(scheme) or "#{port}")
    path = "/#{path}"
    if redirect.path is not None and redirect.path.kind == "full":
        path = redirect.path.value
    elif redirect.path is not None:
        if match.path_type != "PathPrefix" or match.path.strip("/"):
            raise Unfit("an application load balancer replaces no prefix of a path but the whole one")
        path = f"{redirect.path.value.rstrip('/')}/#{{path}}"
    return Redirect(redirect.status, scheme.upper() or "#{protocol}", redirect.hostname or "#{host}", port, path)


class _Pools:
    """Target groups of a plan's backends; those that a rule forwards to are made."""

    def __init__(self, backends: Iterable[Backend], cluster: Cluster, told: Annotations) -> None:
        self._backends = {b.pool: b for b in backends}
        self._cluster = cluster
        self._told = told
        self._made: dict[str, TargetGroup] = {}

    def used(self) -> tuple[TargetGroup, ...]:
        return tuple(self._made.values())

    def group(self, pool: str, tls: bool) -> TargetGroup:
        """Unfit where the backend's protocol is none of an application load balancer's."""
        if pool not in self._made:
            self._made[pool] = self._make(pool)
        group = self._made[pool]
        if group.version in ("HTTP2", "GRPC") and not tls:
            raise Unfit(f"an application load balancer speaks {group.version} to backends of HTTPS listeners only")
        return group

    def _make(self, pool: str) -> TargetGroup:
        backend = self._backends[pool]
        if backend.tls is not None or backend.app_protocol == "kubernetes.io/wss":
            raise Unfit("an application load balancer does not verify the certificates of backends")
        version = {"kubernetes.io/h2c": "HTTP2", "grpc": "GRPC"}.get(backend.app_protocol, "HTTP1")
        service = self._cluster.service(backend.namespace, backend.service)
        port = port_of(service, backend.port) if service is not None else None
        if service is None or port is None:
            return self._group(pool, version, "ip", 1, ())
        kind = self._told.choice("target-type", "instance", "ip") or ("instance" if port.get("nodePort") else "ip")
        if kind == "instance":
            inner = port.get("nodePort") or 0
            if not inner:
                raise Unfit(f"the port {backend.port} of {backend.namespace}/{backend.service} has no node port for instances")
            running = [i for i in self._cluster.instances if i["State"]["Name"] in _RUNNING]
            return self._group(pool, version, kind, inner, ((i["InstanceId"], inner) for i in running))
        target = port.get("targetPort", backend.port)
        endpoints = self._cluster.endpoints(
            f"{backend.namespace}/{backend.service}", port.get("name") or "", families(service)[0]
        )
        inner = target if isinstance(target, int) else 1
        family = "ipv6" if families(service)[0] == "IPv6" else "ipv4"
        return self._group(pool, version, kind, inner, ((t.address, t.port) for t in endpoints), family)

    def _group(
        self, pool: str, version: str, kind: str, port: int, targets: Iterable[tuple[str, int]], family: str = "ipv4"
    ) -> TargetGroup:
        told = self._told
        attributes = told.pairs("target-group-attributes")
        return TargetGroup(
            pool, "HTTP", port, kind, self._health(version), attributes, frozenset(targets), version=version, family=family
        )

    def _health(self, version: str) -> Obj:
        told = self._told
        grpc = version == "GRPC"
        port = told.text("healthcheck-port", "traffic-port")
        if port != "traffic-port" and not port.isdigit():
            raise told.wrong("healthcheck-port", "is neither a number nor traffic-port")
        interval = told.number("healthcheck-interval-seconds", 15, 5, 300)
        timeout = told.number("healthcheck-timeout-seconds", min(5, interval - 1), 2, 120)
        if timeout >= interval:
            raise told.wrong("healthcheck-timeout-seconds", f"is not less than the interval, {interval}")
        codes = told.text("success-codes", "12" if grpc else "200")
        return {
            "HealthCheckProtocol": told.choice("healthcheck-protocol", "http", "https").upper() or "HTTP",
            "HealthCheckPort": port,
            "HealthCheckPath": told.text("healthcheck-path", "/AWS.ALB/healthcheck" if grpc else "/"),
            "HealthCheckIntervalSeconds": interval,
            "HealthCheckTimeoutSeconds": timeout,
            "HealthyThresholdCount": told.number("healthy-threshold-count", 2, 2, 10),
            "UnhealthyThresholdCount": told.number("unhealthy-threshold-count", 2, 2, 10),
            "Matcher": {"GrpcCode": codes} if grpc else {"HttpCode": codes},
        }

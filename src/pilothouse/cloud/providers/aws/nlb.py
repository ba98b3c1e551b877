"""What a Service asks of its network load balancer: listeners, target groups and the rest, as values. Nothing here calls AWS.

References: annotations and the guide to network load balancers of the AWS Load Balancer Controller, and those of the AWS cloud provider. There
is no classic load balancer here: a Service that asks for none in particular gets a network load balancer, with the AWS cloud provider's
defaults (facing the internet); one that asks as for the AWS Load Balancer Controller (`external`, `nlb-ip`) gets that one's (internal).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.reconcile.objects import annotations_of, labels_of
from pilothouse.client.service_endpoints import Target
from pilothouse.cloud.provider import CloudError, default_name
from pilothouse.cloud.providers.aws.annotations import Annotations
from pilothouse.cloud.providers.aws.model import Forward, Listener, Owner, TargetGroup

Obj = dict[str, Any]

_NAME = re.compile(r"(?!internal-)[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
_POLICY = "ELBSecurityPolicy-2016-08"
#: A target registers only while it runs.
_RUNNING = ("pending", "running")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a Service asks for. Names of subnets and groups are the user's, to be looked up. `internal` is None where nothing is said."""

    name: str
    internal: bool | None
    #: Asked as for the AWS Load Balancer Controller.
    as_controller: bool
    target_type: str
    family: str
    listeners: tuple[Listener, ...]
    target_groups: tuple[TargetGroup, ...]
    attributes: Mapping[str, str]
    tags: Mapping[str, str]
    subnets: tuple[str, ...] = ()
    allocations: tuple[str, ...] = ()
    private_ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    prefix_lists: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    extra_groups: tuple[str, ...] = ()
    #: Whether the nodes' groups let the load balancer's own group in.
    opens_nodes: bool = True
    #: Protocol and port that the load balancer needs to reach targets at.
    inner: frozenset[tuple[str, int]] = field(default_factory=frozenset)


def owner_of(service: Obj, cluster: str) -> Owner:
    meta = service["metadata"]
    return Owner(cluster, f"Service/{meta['uid']}", {"kubernetes.io/service-name": f"{meta['namespace']}/{meta['name']}"})


def name_of(service: Obj) -> str:
    """The annotation's, or the default one."""
    return Annotations(annotations_of(service)).text("name") or default_name(service)


def read(service: Obj, nodes: Sequence[Obj], instances: Mapping[str, Obj], endpoints: Callable[[str], Iterable[Target]]) -> Wish:
    """CloudError, in one line, where the Service asks for what cannot be.

    `instances` are those of nodes by the node's name, `endpoints` those of a port by the port's name.
    """
    told = Annotations(annotations_of(service))
    kind = told.choice("type", "nlb", "external", "nlb-ip")
    as_controller = kind in ("external", "nlb-ip")
    target_type = "ip" if kind == "nlb-ip" else told.choice("nlb-target-type", "instance", "ip") or "instance"
    family = told.choice("ip-address-type", "ipv4", "dualstack") or "ipv4"
    chosen = [n for n in nodes if _has_labels(n, told.pairs("target-node-labels"))]
    if not _NAME.fullmatch(name_of(service)):
        raise told.wrong("name", "cannot be a load balancer's name: up to 32 letters, digits and hyphens")
    running = [i for i in (instances.get(n["metadata"]["name"]) for n in chosen) if i is not None]
    maker = _Maker(service, told, target_type, running, endpoints)
    listeners, groups = maker.all()
    return Wish(
        name=name_of(service),
        internal=_internal(told),
        as_controller=as_controller,
        target_type=target_type,
        family=family,
        listeners=listeners,
        target_groups=groups,
        attributes=_attributes(told),
        tags=told.pairs("additional-resource-tags"),
        subnets=told.words("subnets"),
        allocations=told.words("eip-allocations"),
        private_ipv4=told.words("private-ipv4-addresses"),
        ipv6=told.words("ipv6-addresses"),
        source_ranges=tuple(service["spec"].get("loadBalancerSourceRanges") or told.source_ranges),
        prefix_lists=told.words("security-group-prefix-lists"),
        groups=told.words("security-groups"),
        extra_groups=told.words("extra-security-groups"),
        opens_nodes=_opens_nodes(told),
        inner=_inner(groups),
    )


def _has_labels(node: Obj, wanted: Mapping[str, str]) -> bool:
    labels = labels_of(node)
    return all(labels.get(k) == v for k, v in wanted.items())


def _internal(told: Annotations) -> bool | None:
    if scheme := told.choice("scheme", "internal", "internet-facing"):
        return scheme == "internal"
    if "internal" not in told:
        return None
    # A range of addresses was once the way to say yes.
    return told.text("internal") not in ("false", "False")


def _opens_nodes(told: Annotations) -> bool:
    said = told.flag("manage-backend-security-group-rules")
    return "security-groups" not in told if said is None else said


def _attributes(told: Annotations) -> dict[str, str]:
    found = told.pairs("attributes")
    if (logs := told.flag("access-log-enabled")) is not None:
        found["access_logs.s3.enabled"] = str(logs).lower()
    for name, attribute in (("access-log-s3-bucket-name", "bucket"), ("access-log-s3-bucket-prefix", "prefix")):
        if name in told:
            found[f"access_logs.s3.{attribute}"] = told.text(name)
    if found.get("access_logs.s3.enabled") == "true" and not found.get("access_logs.s3.bucket"):
        raise told.wrong("access-log-enabled", "needs the name of a bucket")
    if (cross := told.flag("cross-zone-load-balancing-enabled")) is not None:
        found["load_balancing.cross_zone.enabled"] = str(cross).lower()
    return found


def _inner(groups: Iterable[TargetGroup]) -> frozenset[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for group in groups:
        ports = {group.port} if group.target_type == "instance" else {port for _, port in group.targets}
        protocols = {"TCP": ("tcp",), "TLS": ("tcp",), "UDP": ("udp",), "TCP_UDP": ("tcp", "udp")}[group.protocol]
        found |= {(protocol, port) for protocol in protocols for port in ports}
        check = group.health["HealthCheckPort"]
        found |= {("tcp", port) for port in (ports if check == "traffic-port" else {int(check)})}
    return frozenset(found)


class _Maker:
    """Listeners and target groups of one Service."""

    def __init__(
        self,
        service: Obj,
        told: Annotations,
        target_type: str,
        instances: Sequence[Obj],
        endpoints: Callable[[str], Iterable[Target]],
    ) -> None:
        self._spec: Obj = service["spec"]
        self._told = told
        self._type = target_type
        self._instances = instances
        self._endpoints = endpoints
        self._certificates = told.words("ssl-cert")
        self._tls_ports = told.words("ssl-ports")
        self._local = self._spec.get("externalTrafficPolicy") == "Local"

    def all(self) -> tuple[tuple[Listener, ...], tuple[TargetGroup, ...]]:
        by_number: dict[int, list[Obj]] = {}
        for port in self._spec.get("ports") or ():
            by_number.setdefault(port["port"], []).append(port)
        made = [self._port(number, ports) for number, ports in sorted(by_number.items())]
        return tuple(listener for listener, _ in made), tuple(group for _, group in made)

    def _port(self, number: int, ports: Sequence[Obj]) -> tuple[Listener, TargetGroup]:
        protocol = self._protocol(number, ports)
        tls = protocol == "TCP" and self._is_tls(ports[0])
        backend = self._told.choice("backend-protocol", "tcp", "ssl", "http", "https")
        inside = "TLS" if tls and backend in ("ssl", "https") else protocol
        group = self._group(number, inside, ports, tls)
        forward = Forward(((group.key, 1),))
        if not tls:
            return Listener(number, protocol, forward), group
        policy = self._told.text("ssl-negotiation-policy", _POLICY)
        return Listener(number, "TLS", forward, self._certificates, policy, self._told.text("alpn-policy")), group

    def _protocol(self, number: int, ports: Sequence[Obj]) -> str:
        protocols = {p.get("protocol", "TCP") for p in ports}
        if protocols == {"TCP", "UDP"}:
            if self._type == "instance" and len({p.get("nodePort") for p in ports}) > 1:
                raise CloudError(f"port {number} cannot be TCP and UDP: its node ports differ, and a target group has one")
            return "TCP_UDP"
        (protocol,) = protocols if len(protocols) == 1 else ("",)
        if protocol not in ("TCP", "UDP"):
            raise CloudError(f"port {number}: a network load balancer carries TCP and UDP only")
        return protocol

    def _is_tls(self, port: Obj) -> bool:
        if not self._certificates:
            return False
        return not self._tls_ports or "*" in self._tls_ports or bool({str(port["port"]), port.get("name")} & set(self._tls_ports))

    def _group(self, number: int, protocol: str, ports: Sequence[Obj], tls: bool) -> TargetGroup:
        port = ports[0]
        targets: set[tuple[str, int]] = set()
        kept: set[tuple[str, int]] = set()
        family = "ipv4"
        if self._type == "instance":
            inner = port.get("nodePort") or 0
            if not inner:
                raise CloudError(f"port {number} has no node port: targets of the type instance need one")
            targets = {(i["InstanceId"], inner) for i in self._instances if i["State"]["Name"] in _RUNNING}
            kept = {(i["InstanceId"], inner) for i in self._instances if i["State"]["Name"] not in _RUNNING}
        else:
            target = port.get("targetPort", number)
            inner = target if isinstance(target, int) else 1
            targets = {(t.address, t.port) for t in self._endpoints(port.get("name") or "")}
            family = "ipv6" if (self._spec.get("ipFamilies") or ["IPv4"])[0] == "IPv6" else "ipv4"
        return TargetGroup(
            key=f"{protocol}/{number}",
            protocol=protocol,
            port=inner,
            target_type=self._type,
            health=self._health(),
            attributes=self._group_attributes(tls),
            targets=frozenset(targets),
            kept=frozenset(kept),
            family=family,
        )

    def _health(self) -> Obj:
        """Where only the nodes with an endpoint take traffic, their own answer (the health check's node port) tells which they are."""
        told = self._told
        by_node = self._local and self._type == "instance"
        protocol = told.choice("healthcheck-protocol", "tcp", "http", "https").upper() or ("HTTP" if by_node else "TCP")
        port = (
            told.text("healthcheck-port", str(self._spec.get("healthCheckNodePort") or "") if by_node else "") or "traffic-port"
        )
        if port != "traffic-port" and not port.isdigit():
            raise told.wrong("healthcheck-port", "is neither a number nor traffic-port")
        interval = told.number("healthcheck-interval", 10, 5, 300)
        timeout = told.number("healthcheck-timeout", min(interval, 10 if protocol == "TCP" else 6), 2, 120)
        if timeout > interval:
            raise told.wrong("healthcheck-timeout", f"is more than the interval, {interval}")
        threshold = 2 if by_node else 3
        found: Obj = {
            "HealthCheckProtocol": protocol,
            "HealthCheckPort": port,
            "HealthCheckIntervalSeconds": interval,
            "HealthCheckTimeoutSeconds": timeout,
            "HealthyThresholdCount": told.number("healthcheck-healthy-threshold", threshold, 2, 10),
            "UnhealthyThresholdCount": told.number("healthcheck-unhealthy-threshold", threshold, 2, 10),
        }
        if protocol != "TCP":
            found["HealthCheckPath"] = told.text("healthcheck-path", "/healthz" if by_node else "/")
            found["Matcher"] = {"HttpCode": told.text("healthcheck-success-codes", "200-399")}
        return found

    def _group_attributes(self, tls: bool) -> dict[str, str]:
        told = self._told
        found = told.pairs("target-group-attributes")
        if told.flag("connection-draining-enabled") is False:
            found["deregistration_delay.timeout_seconds"] = "0"
        elif "connection-draining-timeout" in told:
            found["deregistration_delay.timeout_seconds"] = str(told.number("connection-draining-timeout", 300, 1, 3600))
        if "proxy-protocol" in told:
            if told.text("proxy-protocol") != "*":
                raise told.wrong("proxy-protocol", "is not '*'")
            found["proxy_protocol_v2.enabled"] = "true"
        found.setdefault("proxy_protocol_v2.enabled", "false")
        if not tls and "stickiness.enabled" not in found:  # AWS has no affinity where TLS ends
            sticky = self._spec.get("sessionAffinity") == "ClientIP"
            found |= {"stickiness.enabled": str(sticky).lower(), "stickiness.type": "source_ip"}
        return found

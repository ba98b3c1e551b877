"""What a Service's fields may be, by type (API reference: ServiceSpec; "Service" in the Kubernetes documentation)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import check_cidr, check_ip, named, non_special_ip, one_of, parse_ip, port, some_of
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_supported, required
from pilothouse.api.meta import validate_labels

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
WITH_CLUSTER_IP = ("ClusterIP", "NodePort", "LoadBalancer")
WITH_NODE_PORT = ("NodePort", "LoadBalancer")
PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
KUBELET_PORT = 10250
LONGEST_AFFINITY = 86400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_KEPT = "may not change once set"
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"


def is_headless(spec: Obj) -> bool:
    return (spec.get("clusterIPs") or [spec.get("clusterIP")])[0] == "None"


def is_external(spec: Obj) -> bool:
    """Whether it can be reached from outside the cluster."""
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def validate(obj: Obj) -> list[FieldError]:
    """Errors of a service, apart from what its allocations tell."""
    spec = obj["spec"]
    out = _validate_type_needs(spec)
    ports = spec.get("ports") or []
    out += _validate_ports(ports)
    out += validate_labels(spec.get("selector"), "spec.selector")
    out += _validate_affinity(spec)
    for n, ip in enumerate(spec.get("externalIPs") or ()):
        path = f"spec.externalIPs[{n}]"
        out += check_ip(path, ip) or non_special_ip(path, ip)
    out += some_of("spec.type", spec["type"], TYPES)
    out += _validate_node_ports(spec, ports)
    out += _validate_load_balancer(obj, spec)
    return out + _validate_policies(spec)


def _validate_type_needs(spec: Obj) -> list[FieldError]:
    kind, out = spec["type"], []
    if not spec.get("ports") and not is_headless(spec) and kind != "ExternalName":
        out.append(required("spec.ports"))
    if kind in ("NodePort", "LoadBalancer") and is_headless(spec):
        out.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "LoadBalancer":
        told = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
        out += [
            invalid(f"spec.ports[{n}].port", KUBELET_PORT, told)
            for n, p in enumerate(spec.get("ports") or ())
            if p.get("port") == KUBELET_PORT
        ]
    return out + _validate_external_name(spec) if kind == "ExternalName" else out


def _validate_external_name(spec: Obj) -> list[FieldError]:
    out = [
        forbidden(f"spec.{key}", "may not be set for ExternalName services")
        for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(key)
    ]
    host = (spec.get("externalName") or "").removesuffix(".")
    if not host:
        return [*out, required("spec.externalName")]
    return out + named("spec.externalName", host, names.dns1123_subdomain(host))


# --- ports ------------------------------------------------------------------------------------------------------------------------


def _validate_ports(ports: list[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, p in enumerate(ports):
        path, name = f"spec.ports[{n}]", p.get("name") or ""
        if name:
            out += named(f"{path}.name", name, names.dns1123_label(name))
            if name in seen:
                out.append(duplicate(f"{path}.name", name))
            seen.add(name)
        elif len(ports) > 1:
            out.append(required(f"{path}.name"))
        out += port(f"{path}.port", p.get("port") or 0)
        out += one_of(f"{path}.protocol", p.get("protocol"), PROTOCOLS)
        target = p.get("targetPort")
        problems = names.port_number(target) if isinstance(target, int) else names.port_name(target or "")
        out += [invalid(f"{path}.targetPort", target, m) for m in problems]
        if p.get("appProtocol") is not None:
            out += named(f"{path}.appProtocol", p["appProtocol"], names.qualified_name(p["appProtocol"]))
    return out


def _validate_node_ports(spec: Obj, ports: list[Obj]) -> list[FieldError]:
    """Node ports where there may be none; ports that stand for the same thing."""
    out: list[FieldError] = []
    if spec["type"] == "ClusterIP":
        told = "may not be used when `type` is 'ClusterIP'"
        out += [forbidden(f"spec.ports[{n}].nodePort", told) for n, p in enumerate(ports) if p.get("nodePort")]
    nodes: set[Any] = set()
    used: set[Any] = set()
    for n, p in enumerate(ports):
        key = (p.get("protocol"), p.get("nodePort"))
        if p.get("nodePort") and key in nodes:
            out.append(duplicate(f"spec.ports[{n}].nodePort", p["nodePort"]))
        nodes.add(key)
    for n, p in enumerate(ports):
        key = (p.get("protocol"), p.get("port"))
        if key in used:
            shown = {
                "Name": "",
                "Protocol": p.get("protocol"),
                "AppProtocol": None,
                "Port": p.get("port"),
                "TargetPort": 0,
                "NodePort": 0,
            }
            out.append(duplicate(f"spec.ports[{n}]", shown))
        used.add(key)
    return out


def _validate_affinity(spec: Obj) -> list[FieldError]:
    kind = spec["sessionAffinity"]
    out = some_of("spec.sessionAffinity", kind, ("ClientIP", "None"))
    if kind == "ClientIP":
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is not None and not 0 < seconds <= LONGEST_AFFINITY:
            out.append(invalid(path, seconds, f"must be greater than 0 and less than {LONGEST_AFFINITY}"))
    return out


# --- load balancers and traffic policies ------------------------------------------------------------------------------------------


def _validate_load_balancer(obj: Obj, spec: Obj) -> list[FieldError]:
    balances = spec["type"] == "LoadBalancer"
    out = _validate_source_ranges(obj, spec, balances)
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balances:
        out.append(forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER))
    if spec.get("loadBalancerClass") is not None:
        name = spec["loadBalancerClass"]
        if balances:
            out += named("spec.loadBalancerClass", name, names.qualified_name(name))
        else:
            out.append(forbidden("spec.loadBalancerClass", _ONLY_LOAD_BALANCER))
    return out


def _validate_source_ranges(obj: Obj, spec: Obj, balances: bool) -> list[FieldError]:
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges:
        out = [] if balances else [forbidden("spec.LoadBalancerSourceRanges", _ONLY_LOAD_BALANCER)]
        for n, text in enumerate(ranges):
            out += check_cidr(f"spec.LoadBalancerSourceRanges[{n}]", text.strip())
        return out
    text = (obj["metadata"].get("annotations") or {}).get(SOURCE_RANGES, "").strip()
    if not text:
        return []
    path = f"metadata.annotations[{SOURCE_RANGES}]"
    out = [] if balances else [forbidden(path, _ONLY_LOAD_BALANCER)]
    for part in text.split(","):
        out += check_cidr(path, part.strip(), strict=False)
    return out


def _validate_policies(spec: Obj) -> list[FieldError]:
    out: list[FieldError] = []
    policy = spec.get("externalTrafficPolicy") or ""
    if is_external(spec):
        out += one_of("spec.externalTrafficPolicy", policy, _POLICIES)
    elif policy:
        out.append(invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services"))
    if spec.get("healthCheckNodePort") and not needs_health_check(spec):
        told = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        out.append(invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], told))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None:
        out += some_of("spec.internalTrafficPolicy", internal, _POLICIES)
    elif spec["type"] in WITH_CLUSTER_IP:
        out.append(required("spec.internalTrafficPolicy"))
    if spec.get("trafficDistribution") is not None:
        out += some_of("spec.trafficDistribution", spec["trafficDistribution"], _DISTRIBUTIONS)
    return out


def validate_change(spec: Obj, old: Obj) -> list[FieldError]:
    """Errors of what may not change: addresses and families, and what the type needs while it stays what it is."""
    out = _validate_kept(spec, old)
    if spec["type"] == old.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") != old.get("loadBalancerClass"):
        out.append(invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), _KEPT))
    both = needs_health_check(spec) and needs_health_check(old)
    if both and spec.get("healthCheckNodePort") != old.get("healthCheckNodePort"):
        out.append(forbidden("spec.healthCheckNodePort", "field is immutable"))
    return out


def _validate_kept(spec: Obj, old: Obj) -> list[FieldError]:
    """The first address and family stay; a second one may come, and go by a policy that says so."""
    with_address = spec["type"] in WITH_CLUSTER_IP and old.get("type") in WITH_CLUSTER_IP
    if not with_address or (is_headless(spec) and is_headless(old)):
        return []
    out = _validate_first(spec, old, "clusterIPs", "clusterIP")
    return out + _validate_first(spec, old, "ipFamilies", "ipFamily")


def _validate_first(spec: Obj, old: Obj, key: str, one: str) -> list[FieldError]:
    new, had, path = spec.get(key) or [], old.get(key) or [], f"spec.{key}"
    if had and not new:
        return [invalid(f"{path}[0]", new, f"primary {one} can not be unset")]
    compared = len(had) if len(new) == len(had) else min(len(had), 1)
    out = [invalid(f"{path}[{n}]", new, _KEPT) for n in range(compared) if new[n] != had[n]]
    if len(new) == 1 < len(had) and spec.get("ipFamilyPolicy") != "SingleStack":
        told = f"must be set to 'SingleStack' when releasing the secondary {one}"
        out.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), told))
    return out


def validate_ingress(ingress: list[Obj], spec: Obj) -> list[FieldError]:
    """Errors of a load balancer's addresses, as its controller writes them."""
    path = "status.loadBalancer.ingress"
    if ingress and spec.get("type") != "LoadBalancer":
        return [forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    out: list[FieldError] = []
    for n, entry in enumerate(ingress):
        out += _validate_ingress_address(entry, f"{path}[{n}]")
    return out


def _validate_ingress_address(entry: Obj, path: str) -> list[FieldError]:
    ip, mode, host = entry.get("ip") or "", entry.get("ipMode"), entry.get("hostname") or ""
    out = check_ip(f"{path}.ip", ip) if ip else []
    if ip and mode is None:
        out.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif not ip and mode is not None:
        out.append(forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode is not None and mode not in ("Proxy", "VIP"):
        out.append(not_supported(f"{path}.ipMode", mode, ("Proxy", "VIP")))
    if host:
        out += named(f"{path}.hostname", host, names.dns1123_subdomain(host))
        if parse_ip(host) is not None:
            out.append(invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return out

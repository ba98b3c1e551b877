"""Service (v1): its fields' defaults and what becomes of them when its type changes. Rules are in service_validation.

Cluster IPs, IP families and node ports come from the hub's allocators, which also judge what users say about them.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.checks import parse_cidr, parse_ip
from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds import service_validation as rules
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Path, Strategy
from pilothouse.api.table import NONE, age, labels_text

AFFINITY_SECONDS = 10800


class ServiceStrategy(Strategy):
    allow_create_on_update = True
    delete_returns_object = True
    selectable = ("spec.clusterIP", "spec.type")
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Type"), Column("Cluster-IP"), Column("External-IP"), Column("Port(s)"), AGE_COLUMN,
               Column("Selector", priority=1))  # fmt: skip

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.dns1123_label(name, prefix)

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        _default_affinity(spec)
        if not spec.get("type"):
            spec["type"] = "ClusterIP"
        for port in spec.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        if rules.is_external(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if spec["type"] in rules.WITH_CLUSTER_IP and not spec.get("internalTrafficPolicy"):
            spec["internalTrafficPolicy"] = "Cluster"
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            for ingress in _ingress(obj):
                if ingress.get("ip"):
                    ingress.setdefault("ipMode", "VIP")

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)
        _forget_type_dependent(obj["spec"], old["spec"])
        if old["spec"].get("type") == "LoadBalancer" and obj["spec"]["type"] != "LoadBalancer":
            obj["status"] = {**(obj.get("status") or {}), "loadBalancer": {}}

    def validate(self, obj: Obj) -> list[FieldError]:
        return rules.validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return rules.validate_change(obj["spec"], old["spec"]) + rules.validate(obj)

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        return rules.validate_ingress(_ingress(obj), obj["spec"]) if sub == "status" else []

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        spec = obj["spec"]
        out: list[str] = []
        if rules.is_headless(spec):
            told = (("loadBalancerIP", spec.get("loadBalancerIP")), ("externalIPs", spec.get("externalIPs")),
                    ("SessionAffinity", spec.get("sessionAffinity") != "None"))  # fmt: skip
            out += [f"spec.{field} is ignored for headless services" for field, used in told if used]
        out += _uncanonical(spec)
        if spec.get("trafficDistribution") == "PreferClose":
            out.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
        return out

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.clusterIP": obj["spec"].get("clusterIP", ""), "spec.type": obj["spec"].get("type", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj["spec"]
        ports = [
            f"{p['port']}:{p['nodePort']}/{p['protocol']}" if p.get("nodePort") else f"{p['port']}/{p['protocol']}"
            for p in spec.get("ports") or ()
        ]
        return [obj["metadata"]["name"], spec.get("type", ""), spec.get("clusterIP") or NONE, _external(obj), ",".join(ports) or NONE,
                age(obj, now), labels_text(spec.get("selector"))]  # fmt: skip


def _ingress(obj: Obj) -> list[Obj]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def _default_affinity(spec: Obj) -> None:
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", AFFINITY_SECONDS)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)


def _forget_type_dependent(spec: Obj, old: Obj) -> None:
    """Fields that the former type needed, the new one does not have, and the user did not touch: they go with the type."""
    if old.get("type") in rules.WITH_CLUSTER_IP and spec["type"] not in rules.WITH_CLUSTER_IP:
        if _same(spec, old, ("clusterIP", "clusterIPs")):
            _drop(spec, "clusterIP", "clusterIPs")
        for key in ("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            _drop_if_same(spec, old, key)
    if old.get("type") in rules.WITH_NODE_PORT and spec["type"] not in rules.WITH_NODE_PORT and _same_node_ports(spec, old):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if rules.needs_health_check(old) and not rules.needs_health_check(spec):
        _drop_if_same(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and spec["type"] != "LoadBalancer":
        _drop_if_same(spec, old, "allocateLoadBalancerNodePorts")
        _drop_if_same(spec, old, "loadBalancerClass")
    if rules.is_external(old) and not rules.is_external(spec):
        _drop_if_same(spec, old, "externalTrafficPolicy")


def _same(spec: Obj, old: Obj, keys: tuple[str, ...]) -> bool:
    return all((spec.get(k) or None) == (old.get(k) or None) for k in keys)


def _drop(spec: Obj, *keys: str) -> None:
    for key in keys:
        spec.pop(key, None)


def _drop_if_same(spec: Obj, old: Obj, key: str) -> None:
    if spec.get(key) == old.get(key):
        spec.pop(key, None)


def _same_node_ports(spec: Obj, old: Obj) -> bool:
    """Whether all node ports that are asked for are those that the service had."""
    had = {p.get("nodePort") for p in old.get("ports") or ()}
    return {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")} <= had


def _uncanonical(spec: Obj) -> list[str]:
    """Addresses and ranges that are written in another way than they would be shown."""
    out: list[str] = []
    single = [(f"spec.clusterIPs[{n}]", ip) for n, ip in enumerate(spec.get("clusterIPs") or ()) if ip != "None"]
    single += [(f"spec.externalIPs[{n}]", ip) for n, ip in enumerate(spec.get("externalIPs") or ())]
    if spec.get("loadBalancerIP"):
        single.append(("spec.loadBalancerIP", spec["loadBalancerIP"]))
    for path, text in single:
        found = parse_ip(text)
        if found is not None and ":" in text and str(found) != text:
            out.append(f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{found}")')
    for n, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found_range = parse_cidr(text)
        if found_range is not None and ":" in text and str(found_range) != text:
            path = f"spec.loadBalancerSourceRanges[{n}]"
            out.append(f'{path}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{found_range}")')
    return out


def _external(obj: Obj) -> str:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    addresses = list(spec.get("externalIPs") or ())
    if spec.get("type") == "LoadBalancer":
        addresses = [*sorted({i.get("ip") or i.get("hostname") or "" for i in _ingress(obj)}), *addresses]
        return ",".join(addresses) or "<pending>"
    return ",".join(addresses) or NONE

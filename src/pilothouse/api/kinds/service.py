"""Service (v1): fields and their rules; addresses and node ports come from the hub's allocators."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, not_supported, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Path, Strategy
from pilothouse.api.table import age, labels_text

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


class ServiceStrategy(Strategy):
    allow_create_on_update = True
    delete_returns_object = True
    selectable = ("spec.clusterIP", "spec.type")
    reset_fields: dict[str, tuple[Path, ...]] = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (
        NAME_COLUMN,
        Column("Type"),
        Column("Cluster-IP"),
        Column("External-IP"),
        Column("Port(s)"),
        AGE_COLUMN,
        Column("Selector", priority=1),
    )

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        return names.dns1123_label(name, prefix)

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("sessionAffinity"):
            spec["sessionAffinity"] = "None"
        if spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
            config.setdefault("timeoutSeconds", 10800)
        elif spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        if not spec.get("type"):
            spec["type"] = "ClusterIP"
        for port in spec.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        if spec["type"] in ("NodePort", "LoadBalancer") and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if spec["type"] != "ExternalName" and not spec.get("internalTrafficPolicy"):
            spec["internalTrafficPolicy"] = "Cluster"
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj["spec"]
        out: list[FieldError] = []
        headless = spec.get("clusterIP") == "None"
        if not spec.get("ports") and not headless and spec["type"] != "ExternalName":
            out.append(required("spec.ports"))
        if spec["type"] not in _TYPES:
            out.append(not_supported("spec.type", spec["type"], _TYPES))
        if spec["type"] == "ExternalName":
            host = (spec.get("externalName") or "").removesuffix(".")
            if host:
                out += [invalid("spec.externalName", host, m) for m in names.dns1123_subdomain(host)]
            else:
                out.append(required("spec.externalName"))
        out += _validate_ports(spec.get("ports") or [])
        for key, value in sorted((spec.get("selector") or {}).items()):
            out += [invalid("spec.selector", key, m) for m in names.qualified_name(key)]
            out += [invalid("spec.selector", value, m) for m in names.label_value(value)]
        if spec["sessionAffinity"] not in ("ClientIP", "None"):
            out.append(not_supported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None")))
        return out

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.clusterIP": obj["spec"].get("clusterIP", ""), "spec.type": obj["spec"].get("type", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj["spec"]
        ports = [
            f"{p['port']}:{p['nodePort']}/{p['protocol']}" if p.get("nodePort") else f"{p['port']}/{p['protocol']}"
            for p in spec.get("ports") or ()
        ]
        return [obj["metadata"]["name"], spec.get("type", ""), spec.get("clusterIP") or "<none>", _external(obj), ",".join(ports) or "<none>",
                age(obj, now), labels_text(spec.get("selector"))]  # fmt: skip


def _external(obj: Obj) -> str:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    addresses = list(spec.get("externalIPs") or ())
    if spec.get("type") == "LoadBalancer":
        given = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        addresses = [*sorted({i.get("ip") or i.get("hostname") or "" for i in given}), *addresses]
        return ",".join(addresses) or "<pending>"
    return ",".join(addresses) or "<none>"


def _validate_ports(ports: list[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    used: set[tuple[str, int]] = set()
    for n, p in enumerate(ports):
        path, name = f"spec.ports[{n}]", p.get("name") or ""
        if not name and len(ports) > 1:
            out.append(required(f"{path}.name"))
        elif name:
            out += [invalid(f"{path}.name", name, m) for m in names.dns1123_label(name)]
            if name in seen:
                out.append(duplicate(f"{path}.name", name))
            seen.add(name)
        out += [invalid(f"{path}.port", p.get("port") or 0, m) for m in names.port_number(p.get("port") or 0)]
        if p.get("protocol") not in _PROTOCOLS:
            out.append(not_supported(f"{path}.protocol", p.get("protocol"), _PROTOCOLS))
        target = p.get("targetPort")
        check = names.port_number(target) if isinstance(target, int) else names.port_name(target or "")
        out += [invalid(f"{path}.targetPort", target, m) for m in check]
        key = (p.get("protocol") or "", p.get("port") or 0)
        if key in used:
            out.append(duplicate(path, {k: v for k, v in p.items() if k in ("protocol", "port")}))
        used.add(key)
    return out

"""Ingress and IngressClass: HTTP from outside, by host and path."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import check_ip, immutable, named, parse_ip, port, some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, not_supported, required, too_long
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
LONGEST_CONTROLLER = 250
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATH, _NOT_AT_END = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
_NOT_A_DOMAIN_PATH = 'must be a domain-prefixed path (such as "acme.io/foo")'
_SHOWN = 3


class IngressStrategy(Strategy):
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Class"), Column("Hosts"), Column("Address"), Column("Ports"), AGE_COLUMN)

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out = _validate_spec(spec)
        annotated = (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
        if annotated is not None and spec.get("ingressClassName") not in (None, annotated):
            told = "must match `ingressClassName` when both are specified"
            out.append(invalid(f"annotations.{CLASS_ANNOTATION}", annotated, told))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return _validate_spec(obj.get("spec") or {})

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        for n, entry in enumerate(((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
            path, host = f"status.loadBalancer.ingress[{n}]", entry.get("hostname") or ""
            if entry.get("ip"):
                out += check_ip(f"{path}.ip", entry["ip"])
            if host:
                out += named(f"{path}.hostname", host, names.dns1123_subdomain(host))
                out += _no_address(f"{path}.hostname", host)
        return out

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        by_annotation = CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {})
        if old is not None or not by_annotation or (obj.get("spec") or {}).get("ingressClassName") is not None:
            return []
        return [f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        annotated = (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
        named = spec.get("ingressClassName")
        return [
            table.name_of(obj),
            table.or_word(annotated) if named is None else named,
            _hosts(spec.get("rules") or []),
            table.load_balancer(obj.get("status") or {}),
            "80, 443" if spec.get("tls") else "80",
            table.age(obj, now),
        ]


def _no_address(path: str, host: str) -> list[FieldError]:
    return [invalid(path, host, "must be a DNS name, not an IP address")] if parse_ip(host) is not None else []


def _host(path: str, host: str) -> list[FieldError]:
    """A host's name, or all the hosts right below one."""
    return named(path, host, names.wildcard_subdomain(host) if "*" in host else names.dns1123_subdomain(host))


def _validate_spec(spec: Obj) -> list[FieldError]:
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    out: list[FieldError] = []
    if not rules and backend is None:
        out.append(invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        out += _validate_backend(backend, "spec.defaultBackend")
    for n, rule in enumerate(rules):
        out += _validate_rule(rule, f"spec.rules[{n}]")
    for n, tls in enumerate(spec.get("tls") or ()):
        for m, host in enumerate(tls.get("hosts") or ()):
            out += _host(f"spec.tls[{n}].hosts[{m}]", host)
        if tls.get("secretName"):
            out += named(f"spec.tls[{n}].secretName", tls["secretName"], names.dns1123_subdomain(tls["secretName"]))
    name = spec.get("ingressClassName")
    return out if name is None else out + named("spec.ingressClassName", name, names.dns1123_subdomain(name))


def _validate_rule(rule: Obj, path: str) -> list[FieldError]:
    host, out = rule.get("host") or "", []
    if host:
        out += _no_address(f"{path}.host", host) + _host(f"{path}.host", host)
    http = rule.get("http")
    if http is None:
        return out
    if not http.get("paths"):
        out.append(required(f"{path}.http.paths"))
    for n, entry in enumerate(http.get("paths") or ()):
        where = f"{path}.http.paths[{n}]"
        out += _validate_path(entry, where)
        if entry.get("pathType") is not None:
            out += _validate_backend(entry.get("backend") or {}, f"{where}.backend")
    return out


def _validate_path(entry: Obj, where: str) -> list[FieldError]:
    kind, path = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        return [required(f"{where}.pathType", "pathType must be specified")]
    if kind not in _PATH_TYPES:
        return [not_supported(f"{where}.pathType", kind, _PATH_TYPES)]
    if kind == "ImplementationSpecific" and not path:
        return []
    out = [] if path.startswith("/") else [invalid(f"{where}.path", path, "must be an absolute path")]
    if kind != "ImplementationSpecific":
        out += [invalid(f"{where}.path", path, f"must not contain '{bad}'") for bad in _NOT_IN_PATH if bad in path]
        out += [invalid(f"{where}.path", path, f"cannot end with '{bad}'") for bad in _NOT_AT_END if path.endswith(bad)]
    return out


def _validate_backend(backend: Obj, path: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _validate_reference(resource, f"{path}.resource")
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    name, target = service.get("name") or "", service.get("port") or {}
    out = named(f"{path}.service.name", name, names.dns1123_label(name)) if name else [required(f"{path}.service.name")]
    if target.get("name") and target.get("number"):
        out.append(invalid(path, "", "cannot set both port name & port number"))
    elif target.get("name"):
        out += named(f"{path}.service.port.name", target["name"], names.port_name(target["name"]))
    elif target.get("number"):
        out += port(f"{path}.service.port.number", target["number"])
    else:
        out.append(required(path, "port name or number is required"))
    return out


def _validate_reference(ref: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    if ref.get("apiGroup") is not None:
        out += named(f"{path}.apiGroup", ref["apiGroup"], names.dns1123_subdomain(ref["apiGroup"]))
    for key in ("kind", "name"):
        value = ref.get(key) or ""
        out += named(f"{path}.{key}", value, names.path_segment(value)) if value else [required(f"{path}.{key}")]
    return out


def _hosts(rules: list[Obj]) -> str:
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    return table.more(hosts[:_SHOWN], len(hosts)) if hosts else "*"


class IngressClassStrategy(Strategy):
    has_generation = True
    columns = (NAME_COLUMN, Column("Controller"), Column("Parameters"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        parameters = (obj.get("spec") or {}).get("parameters")
        if parameters is not None:
            parameters.setdefault("scope", "Cluster")

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out = _validate_controller(spec.get("controller") or "", "spec.controller")
        return out if spec.get("parameters") is None else out + _validate_parameters(spec["parameters"], "spec.parameters")

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        new, before = ((o.get("spec") or {}).get("controller") or "" for o in (obj, old))
        return immutable("spec.controller", new, before) + self.validate(obj)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        name = table.marked_default(obj, DEFAULT_CLASS_ANNOTATION)
        return [name, spec.get("controller", ""), _parameters(spec.get("parameters")), table.age(obj, now)]


def _validate_controller(controller: str, path: str) -> list[FieldError]:
    out = [too_long(path, LONGEST_CONTROLLER)] if names.size(controller) > LONGEST_CONTROLLER else []
    if not controller:
        return [required(path)]
    domain, _, rest = controller.partition("/")
    if not domain or not rest:
        return [*out, invalid(path, controller, _NOT_A_DOMAIN_PATH)]
    return out + named(path, domain, names.dns1123_subdomain(domain))


def _validate_parameters(ref: Obj, path: str) -> list[FieldError]:
    out = _validate_reference(ref, path)
    scope, namespace = ref["scope"], ref.get("namespace")
    out += some_of(f"{path}.scope", scope, ("Cluster", "Namespace"))
    if scope == "Namespace":
        if namespace is None:
            out.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            out += named(f"{path}.namespace", namespace, names.dns1123_label(namespace))
    elif scope == "Cluster" and namespace is not None:
        out.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return out


def _parameters(ref: Obj | None) -> str:
    if not ref:
        return table.NONE
    kind = f"{ref.get('kind', '')}.{ref['apiGroup']}" if ref.get("apiGroup") else ref.get("kind", "")
    return f"{kind}/{ref.get('name', '')}"

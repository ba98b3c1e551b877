"""Objects as the API server has them (with their defaults), and a cluster to look them up in, for decisions that are pure functions."""

from __future__ import annotations

import base64
import datetime
import functools
from collections.abc import Iterable
from typing import Any

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, NAMESPACES, SECRETS, SERVICES, Kind
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES, GROUP, REFERENCE_GRANTS
from pilothouse.cloud.gateway.outcome import Outcome, outcome

Obj = dict[str, Any]


def obj(name: str, spec: Obj, namespace: str = "ns", created: int = 0, **more: Any) -> Obj:
    stamp = f"2026-01-01T00:00:{created:02d}Z" if created >= 0 else "2025-01-01T00:00:00Z"
    return {
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "uid": name, "creationTimestamp": stamp},
        "spec": spec,
        **more,
    }


def listener(name: str = "http", port: int = 80, protocol: str = "HTTP", **more: Any) -> Obj:
    return {"name": name, "port": port, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": "Same"}}, **more}


def terminating(name: str = "https", hostname: str = "", secret: str = "cert", **more: Any) -> Obj:
    tls = {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": secret}]}
    return listener(name, 443, "HTTPS", tls=tls, **({"hostname": hostname} if hostname else {}), **more)


def gateway(*listeners: Obj, name: str = "gw", **spec: Any) -> Obj:
    return obj(name, {"gatewayClassName": "pilothouse", "listeners": list(listeners) or [listener()], **spec})


def parent(name: str = "gw", **more: Any) -> Obj:
    return {"group": GROUP, "kind": "Gateway", "name": name, **more}


def backend(name: str = "web", port: int = 80, **more: Any) -> Obj:
    return {"group": "", "kind": "Service", "name": name, "port": port, "weight": 1, **more}


def path(value: str = "/", type: str = "PathPrefix", **more: Any) -> Obj:
    return {"path": {"type": type, "value": value}, **more}


def rule(*matches: Obj, to: Iterable[Obj] | None = None, **more: Any) -> Obj:
    return {"matches": list(matches) or [path()], "backendRefs": list(to) if to is not None else [backend()], **more}


def route(*rules: Obj, name: str = "r", hosts: Iterable[str] = (), refs: Iterable[Obj] | None = None, **how: Any) -> Obj:
    spec = {"parentRefs": list(refs) if refs is not None else [parent()], "rules": list(rules) or [rule()]}
    return obj(name, {**spec, **({"hostnames": list(hosts)} if hosts else {})}, **how)


def service(name: str = "web", *ports: Obj, namespace: str = "ns", **spec: Any) -> Obj:
    return obj(name, {"ports": list(ports) or [{"name": "http", "port": 80, "protocol": "TCP"}], **spec}, namespace)


def grant(namespace: str, kind: str, of: str, to: str, name: str = "") -> Obj:
    spec = {
        "from": [{"group": GROUP, "kind": kind, "namespace": of}],
        "to": [{"group": "", "kind": to, **({"name": name} if name else {})}],
    }
    return obj("grant", spec, namespace)


@functools.cache
def pair(hostname: str = "a.example.com") -> tuple[str, str]:
    """A self-signed certificate and its key, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname)])
    since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(since)
        .not_valid_after(since + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), text.decode()


def secret(name: str = "cert", namespace: str = "ns", chain: str = "", key: str = "") -> Obj:
    own = pair()
    texts = {"tls.crt": chain or own[0], "tls.key": key or own[1]}
    data = {k: base64.b64encode(v.encode()).decode() for k, v in texts.items()}
    return {"metadata": {"name": name, "namespace": namespace}, "type": "kubernetes.io/tls", "data": data}


def config_map(name: str = "ca", text: str = "") -> Obj:
    return {"metadata": {"name": name, "namespace": "ns"}, "data": {"ca.crt": text or pair()[0]}}


def policy(name: str = "tls", of: str = "web", section: str = "", created: int = 0, **validation: Any) -> Obj:
    ref = {"group": "", "kind": "Service", "name": of, **({"sectionName": section} if section else {})}
    checked = {
        "hostname": "web.example.com",
        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
        **validation,
    }
    return obj(name, {"targetRefs": [ref], "validation": checked}, created=created)


class World:
    """A `Lookup` of objects, told by kind."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str, str], Obj] = {}
        self.put(SERVICES, service())
        self.put(SECRETS, secret())

    def put(self, kind: Kind, *those: Obj) -> World:
        for each in those:
            self.objects[(kind, each["metadata"].get("namespace", ""), each["metadata"]["name"])] = each
        return self

    def namespace(self, name: str, **labels: str) -> World:
        return self.put(NAMESPACES, {"metadata": {"name": name, "labels": labels}})

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        return self.objects.get((kind, namespace, name))

    def grants(self, namespace: str) -> Iterable[Obj]:
        return [o for (kind, ns, _), o in self.objects.items() if kind == REFERENCE_GRANTS and ns == namespace]

    def policies(self, namespace: str, service: str) -> Iterable[Obj]:
        those = [o for (kind, ns, _), o in self.objects.items() if kind == BACKEND_TLS_POLICIES and ns == namespace]
        return [o for o in those if any(r["name"] == service for r in o["spec"]["targetRefs"])]

    def with_ca(self) -> World:
        return self.put(CONFIG_MAPS, config_map())

    def decide(
        self, gateway: Obj, *http: Obj, grpc: Iterable[Obj] = (), tls: Iterable[Obj] = (), sets: Iterable[Obj] = ()
    ) -> Outcome:
        routes = {"HTTPRoute": http, "GRPCRoute": list(grpc), "TLSRoute": list(tls)}
        return outcome(gateway, sets, routes, self)


def told(
    out: Outcome, name: str = "r", kind: str = "HTTPRoute", namespace: str = "ns", entry: int = 0
) -> dict[str, tuple[bool | None, str]]:
    """What a route is told of one of its parents: by type of condition, status and reason."""
    return {t.type: (t.status, t.reason) for t in out.routes[(kind, f"{namespace}/{name}")][entry][1]}

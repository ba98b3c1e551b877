"""What the Gateway API's schemas say beyond shapes, for `generate_gateway.py`: the standard channel's fields, defaults, lists, rules, names.

Source: the API reference (gateway-api.sigs.k8s.io/reference) and the markers of the API's types. The rules are written here, in CEL as the API
server has it; what they refuse is what the reference says is not allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GROUP = "gateway.networking.k8s.io"
#: The release that these definitions are equal to.
BUNDLE = "v1.5.1"
APPROVED = "https://github.com/kubernetes-sigs/gateway-api/pull/4530"
Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource. The first version has the schema; columns are (name, type, path) and the priority where it is not 0."""

    name: str
    plural: str
    description: str
    columns: tuple[tuple[Any, ...], ...]
    versions: tuple[str, ...] = ("v1",)
    storage: str = "v1"
    short: str = ""
    scope: str = "Namespaced"
    labels: dict[str, str] = field(default_factory=dict)


def annotations(kind: Kind) -> dict[str, str]:
    return {
        "api-approved.kubernetes.io": APPROVED,
        f"{GROUP}/bundle-version": BUNDLE,
        f"{GROUP}/channel": "standard",
    }


def _status(condition: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].status'


AGE = ("Age", "date", ".metadata.creationTimestamp")
HOSTNAMES = ("Hostnames", "string", ".spec.hostnames")

KINDS = (
    Kind(
        "GatewayClass",
        "gatewayclasses",
        "A class of Gateways and the controller that carries them out.",
        (
            ("Controller", "string", ".spec.controllerName"),
            ("Accepted", "string", _status("Accepted")),
            AGE,
            ("Description", "string", ".spec.description", 1),
        ),
        versions=("v1", "v1beta1"),
        short="gc",
        scope="Cluster",
    ),
    Kind(
        "Gateway",
        "gateways",
        "Where traffic enters: listeners bound to addresses.",
        (
            ("Class", "string", ".spec.gatewayClassName"),
            ("Address", "string", ".status.addresses[*].value"),
            ("Programmed", "string", _status("Programmed")),
            AGE,
        ),
        versions=("v1", "v1beta1"),
        short="gtw",
    ),
    Kind(
        "HTTPRoute",
        "httproutes",
        "Which HTTP requests go to which backends, and what is changed on the way.",
        (HOSTNAMES, AGE),
        versions=("v1", "v1beta1"),
    ),
    Kind("GRPCRoute", "grpcroutes", "Which gRPC calls go to which backends.", (HOSTNAMES, AGE)),
    Kind("TLSRoute", "tlsroutes", "Which TLS connections, by the name that they ask for, go to which backends.", (AGE,)),
    Kind(
        "ReferenceGrant",
        "referencegrants",
        "What other namespaces may refer to in this one.",
        (AGE,),
        versions=("v1", "v1beta1"),
        storage="v1beta1",
        short="refgrant",
    ),
    Kind(
        "BackendTLSPolicy",
        "backendtlspolicies",
        "How a Gateway speaks TLS with a backend.",
        (AGE,),
        short="btlspolicy",
        labels={f"{GROUP}/policy": "Direct"},
    ),
    Kind(
        "ListenerSet",
        "listenersets",
        "Further listeners for a Gateway.",
        (("Accepted", "string", _status("Accepted")), ("Programmed", "string", _status("Programmed")), AGE),
        short="lset",
    ),
)

# --- types of the apimachinery, which every definition has for itself ------------------------------------------------------------

_APIMACHINERY = "IoK8sApimachineryPkgApisMetaV1"
TYPES: dict[str, Obj] = {
    f"{_APIMACHINERY}ObjectMeta": {"type": "object"},
    f"{_APIMACHINERY}Condition": {
        "type": "object",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "message": {"type": "string", "maxLength": 32768},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "type": {
                "type": "string",
                "maxLength": 316,
                "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            },
        },
    },
    f"{_APIMACHINERY}LabelSelector": {
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": {
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string"},
                        "operator": {"type": "string"},
                        "values": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
                    },
                },
            },
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
}

#: Fields that the package loses, because of their name.
LOST: dict[str, Obj] = {"GatewayClassSpec": {"description": {"type": "string", "maxLength": 64}}}

#: Fields that only the experimental channel has.
EXPERIMENTAL: dict[str, tuple[str, ...]] = {
    "GatewaySpec": ("defaultScope",),
    "CommonRouteSpec": ("useDefaultGateways",),
    "HTTPRouteRule": ("retry", "sessionPersistence"),
    "HTTPRouteFilter": ("externalAuth",),
    "GRPCRouteRule": ("sessionPersistence",),
}

# --- defaults and kinds of lists ---------------------------------------------------------------------------------------------------

_ATOMIC = {"x-kubernetes-list-type": "atomic"}
_SET = {"x-kubernetes-list-type": "set"}


def _by(key: str) -> Obj:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _waiting(*types: str) -> list[Obj]:
    told = {
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    return [{"type": each, **told} for each in types]


_OF_SAME = {"namespaces": {"from": "Same"}}
_ALL_PATHS = {"type": "PathPrefix", "value": "/"}
_IP = {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
_IF_ADDRESS = {
    "oneOf": [
        {"properties": {"type": {"enum": ["IPAddress"]}, "value": _IP}},
        {"properties": {"type": {"not": {"enum": ["IPAddress"]}}}},
    ]
}

#: What stands beside a type's own keywords.
WHOLE: dict[str, Obj] = {"GatewaySpecAddress": _IF_ADDRESS, "GatewayStatusAddress": _IF_ADDRESS}


def _rules(*rules: tuple[str, str]) -> Obj:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


_LISTENERS = _rules(
    (
        "self.all(l, !(l.protocol.upperAscii() in ['HTTP', 'TCP', 'UDP']) || !has(l.tls))",
        "HTTP, TCP and UDP listeners cannot have tls",
    ),
    (
        "self.all(l, l.protocol.upperAscii() != 'HTTPS' || !has(l.tls) || !has(l.tls.mode) || l.tls.mode in ['', 'Terminate'])",
        "the tls mode of an HTTPS listener must be Terminate",
    ),
    (
        "self.all(l, l.protocol.upperAscii() != 'TLS' || (has(l.tls) && has(l.tls.mode) && l.tls.mode != ''))",
        "a TLS listener must have a tls mode",
    ),
    (
        "self.all(l, !(l.protocol.upperAscii() in ['TCP', 'UDP']) || !has(l.hostname) || l.hostname == '')",
        "TCP and UDP listeners cannot have a hostname",
    ),
    ("self.all(l, self.exists_one(other, other.name == l.name))", "names of listeners must be unique"),
    (
        "self.all(l, self.exists_one(other, other.port == l.port && other.protocol == l.protocol"
        " && (has(other.hostname) ? other.hostname : '') == (has(l.hostname) ? l.hostname : '')))",
        "two listeners cannot have the same port, protocol and hostname",
    ),
)


def _distinct_addresses(kind: str) -> tuple[str, str]:
    return (
        f"self.all(a, a.type != '{kind}' || !has(a.value) || self.exists_one(b, b.type == a.type && has(b.value) && b.value == a.value))",
        f"values of type {kind} must be unique",
    )


def _once(*types: str) -> list[tuple[str, str]]:
    return [(f"self.filter(f, f.type == '{each}').size() <= 1", f"there can be one {each} filter only") for each in types]


_HTTP_FILTERS = _ATOMIC | _rules(
    (
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
        "RequestRedirect and URLRewrite cannot be used together",
    ),
    *_once("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite"),
)
_GRPC_FILTERS = _ATOMIC | _rules(*_once("RequestHeaderModifier", "ResponseHeaderModifier"))


def _alone(what: str) -> Obj:
    return _SET | _rules(("!('*' in self) || self.size() == 1", f"'*' must be the only one of {what}"))


def _same_parent(a: str, b: str) -> str:
    namespaces = f"(has({a}.__namespace__) ? {a}.__namespace__ : '') == (has({b}.__namespace__) ? {b}.__namespace__ : '')"
    return f"{a}.group == {b}.group && {a}.kind == {b}.kind && {a}.name == {b}.name && {namespaces}"


def _same_target(a: str, b: str) -> str:
    return f"{a}.group == {b}.group && {a}.kind == {b}.kind && {a}.name == {b}.name"


def _sections(same: Any, what: str) -> Obj:
    section = "(has({0}.sectionName) ? {0}.sectionName : '')"
    a, b = section.format("a"), section.format("b")
    return _ATOMIC | _rules(
        (
            f"self.all(a, self.all(b, !({same('a', 'b')}) || ({a} == '') == ({b} == '')))",
            f"sectionName must be given everywhere where several {what} name the same object",
        ),
        (
            f"self.all(a, self.exists_one(b, {same('a', 'b')} && {a} == {b}))",
            f"{what} must differ in the object or in sectionName",
        ),
    )


_TOO_MANY = "a route can have 128 matches in all its rules together"
_KEY = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$"
_KEYS = _rules(
    (
        f"self.all(key, key.matches('{_KEY}'))",
        "keys must be names of up to 63 characters, with or without a DNS subdomain before them",
    ),
    ("self.all(key, key.split('/')[0].size() < 253)", "the DNS subdomain of a key can have 252 characters"),
)
_TYPE_EXACT = {"type": {"default": "Exact"}}
_SERVICE = {"group": {"default": ""}, "kind": {"default": "Service"}}
_CONDITIONS = {"conditions": _by("type")}

FIELDS: dict[str, dict[str, Obj]] = {
    "GatewayClass": {"status": {"default": {"conditions": _waiting("Accepted")}}},
    "GatewayClassSpec": {"controllerName": _rules(("self == oldSelf", "the controller of a class cannot be changed"))},
    "GatewayClassStatus": {"conditions": _by("type") | {"default": _waiting("Accepted")}, "supportedFeatures": _by("name")},
    "Gateway": {"status": {"default": {"conditions": _waiting("Accepted", "Programmed")}}},
    "GatewaySpec": {
        "listeners": _by("name") | _LISTENERS,
        "addresses": _ATOMIC | _rules(_distinct_addresses("IPAddress"), _distinct_addresses("Hostname")),
    },
    "GatewayStatus": {
        "addresses": _ATOMIC,
        "conditions": _by("type") | {"default": _waiting("Accepted", "Programmed")},
        "listeners": _by("name"),
    },
    "ListenerSet": {"status": {"default": {"conditions": _waiting("Accepted", "Programmed")}}},
    "ListenerSetSpec": {"listeners": _by("name") | _LISTENERS},
    "ListenerSetStatus": {"conditions": _by("type") | {"default": _waiting("Accepted", "Programmed")}, "listeners": _by("name")},
    "ListenerStatus": {"supportedKinds": _ATOMIC, **_CONDITIONS},
    "ListenerEntryStatus": {"supportedKinds": _ATOMIC, **_CONDITIONS},
    "ParentGatewayReference": {"group": {"default": GROUP}, "kind": {"default": "Gateway"}},
    "Listener": {"allowedRoutes": {"default": _OF_SAME}},
    "ListenerEntry": {"allowedRoutes": {"default": _OF_SAME}},
    "AllowedRoutes": {"namespaces": {"default": {"from": "Same"}}, "kinds": _ATOMIC},
    "RouteNamespaces": {"from": {"default": "Same"}},
    "AllowedListeners": {"namespaces": {"default": {"from": "None"}}},
    "ListenerNamespaces": {"from": {"default": "None"}},
    "RouteGroupKind": {"group": {"default": GROUP}},
    "ListenerTLSConfig": {"mode": {"default": "Terminate"}, "certificateRefs": _ATOMIC},
    "FrontendTLSConfig": {
        "perPort": _by("port") | _rules(("self.all(t, self.exists_one(u, u.port == t.port))", "ports must be unique"))
    },
    "FrontendTLSValidation": {"mode": {"default": "AllowValidOnly"}, "caCertificateRefs": _ATOMIC},
    "SecretObjectReference": {"group": {"default": ""}, "kind": {"default": "Secret"}},
    "GatewaySpecAddress": {"type": {"default": "IPAddress"}},
    "GatewayStatusAddress": {"type": {"default": "IPAddress"}},
    "GatewayInfrastructure": {"labels": _KEYS, "annotations": _KEYS},
    "CommonRouteSpec": {"parentRefs": _sections(_same_parent, "parentRefs")},
    "ParentReference": {"group": {"default": GROUP}, "kind": {"default": "Gateway"}},
    "RouteStatus": {"parents": _ATOMIC},
    "RouteParentStatus": _CONDITIONS,
    "PolicyStatus": {"ancestors": _ATOMIC},
    "PolicyAncestorStatus": _CONDITIONS,
    "BackendObjectReference": _SERVICE,
    "BackendRef": {"weight": {"default": 1}},
    "HTTPRouteSpec": {
        "hostnames": _ATOMIC,
        "rules": _ATOMIC
        | {"default": [{"matches": [{"path": _ALL_PATHS}]}]}
        | _rules(("self.map(r, has(r.matches) ? r.matches.size() : 0).sum() <= 128", _TOO_MANY)),
    },
    "HTTPRouteRule": {"matches": _ATOMIC | {"default": [{"path": _ALL_PATHS}]}, "filters": _HTTP_FILTERS, "backendRefs": _ATOMIC},
    "HTTPBackendRef": {"filters": _HTTP_FILTERS},
    "HTTPRouteMatch": {"path": {"default": _ALL_PATHS}, "headers": _by("name"), "queryParams": _by("name")},
    "HTTPPathMatch": {"type": {"default": "PathPrefix"}, "value": {"default": "/"}},
    "HTTPHeaderMatch": _TYPE_EXACT,
    "HTTPQueryParamMatch": _TYPE_EXACT,
    "HTTPRouteFilter": {
        "type": {
            "enum": [
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestMirror",
                "RequestRedirect",
                "URLRewrite",
                "ExtensionRef",
                "CORS",
            ]
        }
    },
    "HTTPHeaderFilter": {"set": _by("name"), "add": _by("name"), "remove": _SET},
    "HTTPRequestRedirectFilter": {"statusCode": {"default": 302}},
    "Fraction": {"denominator": {"default": 100}},
    "HTTPCORSFilter": {
        "allowOrigins": _alone("allowOrigins"),
        "allowMethods": _alone("allowMethods"),
        "allowHeaders": _alone("allowHeaders"),
        "exposeHeaders": _SET,
        "maxAge": {"default": 5},
    },
    "GRPCRouteSpec": {
        "hostnames": _ATOMIC,
        "rules": _ATOMIC | _rules(("self.map(r, has(r.matches) ? r.matches.size() : 0).sum() <= 128", _TOO_MANY)),
    },
    "GRPCRouteRule": {"matches": _ATOMIC, "filters": _GRPC_FILTERS, "backendRefs": _ATOMIC},
    "GRPCBackendRef": {"filters": _GRPC_FILTERS},
    "GRPCRouteMatch": {"headers": _by("name")},
    "GRPCMethodMatch": _TYPE_EXACT,
    "GRPCHeaderMatch": _TYPE_EXACT,
    "TLSRouteSpec": {
        "hostnames": _ATOMIC | _rules(("self.all(h, !isIP(h))", "hostnames cannot be addresses")),
        "rules": _ATOMIC,
    },
    "TLSRouteRule": {"backendRefs": _ATOMIC},
    "ReferenceGrantSpec": {"from": _ATOMIC, "to": _ATOMIC},
    "BackendTLSPolicySpec": {"targetRefs": _sections(_same_target, "targetRefs")},
    "BackendTLSPolicyValidation": {"caCertificateRefs": _ATOMIC, "subjectAltNames": _ATOMIC},
}

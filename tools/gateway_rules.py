"""Rules of the Gateway API's types that say something about more than one field, in CEL, for `generate_gateway.py`.

What they refuse is what the reference (gateway-api.sigs.k8s.io/reference) says is not allowed.
"""

from __future__ import annotations


def _belongs(**fields: str) -> list[tuple[str, str]]:
    """A union: each of these fields is there for one value of `type` and for no other."""
    return [
        (f"has(self.{name}) == (self.type == '{kind}')", f"{name} must be set for type {kind}, and only then")
        for name, kind in fields.items()
    ]


_COMMON_FILTERS = {
    "requestHeaderModifier": "RequestHeaderModifier",
    "responseHeaderModifier": "ResponseHeaderModifier",
    "requestMirror": "RequestMirror",
    "extensionRef": "ExtensionRef",
}
_LITERAL = "!(self.type in ['Exact', 'PathPrefix']) || "
_PATH = r"^(?:[-A-Za-z0-9/._~!$&\'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
_ONE_PREFIX = "(self.matches.size() == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix')"


def _prefix_only(filter: str) -> list[tuple[str, str]]:
    replaces = f"has(f.{filter}) && has(f.{filter}.path) && f.{filter}.path.type == 'ReplacePrefixMatch'"
    message = f"a rule whose {filter} replaces the prefix must have exactly one match, by PathPrefix"
    return [
        (f"!has(self.filters) || !self.filters.exists(f, {replaces}) || {_ONE_PREFIX}", message),
        (
            f"!has(self.backendRefs) || !self.backendRefs.exists(b, has(b.filters) && b.filters.exists(f, {replaces})) || {_ONE_PREFIX}",
            f"{message} (backendRefs)",
        ),
    ]


_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOSTNAME = rf"^(\\*\\.)?{_NAME}(\\.{_NAME})*$"

RULES: dict[str, list[tuple[str, str]]] = {
    "ListenerTLSConfig": [
        (
            "self.mode != 'Terminate' || (has(self.certificateRefs) && self.certificateRefs.size() > 0)"
            " || (has(self.options) && self.options.size() > 0)",
            "certificateRefs or options must be given where TLS is terminated",
        )
    ],
    "GatewaySpecAddress": [
        (
            f"self.type != 'Hostname' || !has(self.value) || self.value == '' || self.value.matches('{_HOSTNAME}')",
            "a Hostname must be a DNS name",
        )
    ],
    "GatewayStatusAddress": [(f"self.type != 'Hostname' || self.value.matches('{_HOSTNAME}')", "a Hostname must be a DNS name")],
    "HTTPRouteRule": [
        (
            "!has(self.backendRefs) || self.backendRefs.size() == 0 || !has(self.filters) || !self.filters.exists(f, has(f.requestRedirect))",
            "a rule with RequestRedirect cannot have backendRefs",
        ),
        *_prefix_only("requestRedirect"),
        *_prefix_only("urlRewrite"),
    ],
    "HTTPRouteTimeouts": [
        (
            "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s')"
            " && duration(self.backendRequest) > duration(self.request))",
            "backendRequest cannot be longer than request",
        )
    ],
    "HTTPPathMatch": [
        (f"{_LITERAL}self.value.startsWith('/')", "the path must begin with '/'"),
        *(
            (f"{_LITERAL}!self.value.contains('{part}')", f"the path cannot contain '{part}'")
            for part in ("//", "/./", "/../", "%2f", "%2F", "#")
        ),
        *((f"{_LITERAL}!self.value.endsWith('{end}')", f"the path cannot end in '{end}'") for end in ("/..", "/.")),
        (f"{_LITERAL}self.value.matches('{_PATH}')", "the path can only have characters that a URL's path can have"),
    ],
    "HTTPRouteFilter": _belongs(**_COMMON_FILTERS, requestRedirect="RequestRedirect", urlRewrite="URLRewrite", cors="CORS"),
    "GRPCRouteFilter": _belongs(**_COMMON_FILTERS),
    "HTTPRequestMirrorFilter": [("!has(self.percent) || !has(self.fraction)", "percent and fraction cannot be used together")],
    "Fraction": [("self.numerator <= self.denominator", "numerator cannot be greater than denominator")],
    "HTTPPathModifier": _belongs(replaceFullPath="ReplaceFullPath", replacePrefixMatch="ReplacePrefixMatch"),
    "GRPCMethodMatch": [
        ("has(self.service) || has(self.method)", "service or method must be given"),
        (
            "self.type != 'Exact' || !has(self.service) || self.service.matches('^(?i)\\\\.?[a-z_][a-z_0-9]*(\\\\.[a-z_][a-z_0-9]*)*$')",
            "service must be the name of a gRPC service",
        ),
        (
            "self.type != 'Exact' || !has(self.method) || self.method.matches('^[A-Za-z_][A-Za-z_0-9]*$')",
            "method must be the name of a gRPC method",
        ),
    ],
    "BackendObjectReference": [
        ("self.group != '' || self.kind != 'Service' || has(self.port)", "a reference to a Service must have a port"),
    ],
    "BackendTLSPolicyValidation": [
        (
            "(has(self.caCertificateRefs) && self.caCertificateRefs.size() > 0)"
            " != (has(self.wellKnownCACertificates) && self.wellKnownCACertificates != '')",
            "one of caCertificateRefs and wellKnownCACertificates must be given",
        ),
    ],
    "SubjectAltName": [
        (
            "(has(self.hostname) && self.hostname != '') == (self.type == 'Hostname')",
            "hostname must be set for type Hostname, and only then",
        ),
        ("(has(self.uri) && self.uri != '') == (self.type == 'URI')", "uri must be set for type URI, and only then"),
    ],
}

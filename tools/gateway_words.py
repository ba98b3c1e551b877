"""What the first fields of the Gateway API's kinds are for, in our words, for `kubectl explain`. By type and field."""

from __future__ import annotations

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "GatewayClassSpec": {
        "controllerName": "Who carries out the Gateways of this class, as domain/path. It cannot be changed.",
        "description": "What the class is for.",
        "parametersRef": "An object with settings of the class, if its controller has some.",
    },
    "GatewaySpec": {
        "gatewayClassName": "The class, which says who carries this Gateway out.",
        "listeners": "Where traffic enters: ports with their protocols and hostnames.",
        "addresses": "Addresses that are asked for. Without them one is assigned.",
        "infrastructure": "Labels and annotations for what is made for this Gateway.",
        "allowedListeners": "From which namespaces ListenerSets may add listeners. None by default.",
        "tls": "How clients are verified, and as whom this Gateway shows itself to backends.",
    },
    "Listener": {
        "name": "The name that routes refer to by sectionName.",
        "hostname": "The hostname that requests are for: exact, or *. and a suffix. All, if there is none.",
        "port": "The port. Listeners with other hostnames may share it.",
        "protocol": "HTTP, HTTPS, TLS, TCP or UDP.",
        "tls": "How TLS is ended, or that it passes through.",
        "allowedRoutes": "Which routes may be attached, by namespace and kind. Those of the same namespace by default.",
    },
    "ListenerTLSConfig": {
        "mode": "Terminate ends TLS here, Passthrough leaves it to the backend.",
        "certificateRefs": "Secrets with the certificate and its key.",
        "options": "Settings of the implementation's own.",
    },
    "ListenerSetSpec": {"parentRef": "The Gateway that the listeners are for.", "listeners": "The listeners that are added."},
    "CommonRouteSpec": {"parentRefs": "The Gateways, or listeners of them, that the route is to be attached to."},
    "HTTPRouteSpec": {
        "hostnames": "The hostnames that the route is for, as far as a listener has them. All of the listener's, if there are none.",
        "rules": "Matches, what is changed, and where matching requests go.",
    },
    "HTTPRouteRule": {
        "name": "A name for the rule.",
        "matches": "What a request has to be like: any of these. All requests, if there are none.",
        "filters": "What is changed on the way.",
        "backendRefs": "Services that requests are sent to, by weight.",
        "timeouts": "How long a request may take.",
    },
    "HTTPRouteMatch": {
        "path": "The path: Exact, PathPrefix or RegularExpression.",
        "headers": "Headers that the request has to have.",
        "queryParams": "Query parameters that the request has to have.",
        "method": "The method.",
    },
    "GRPCRouteSpec": {
        "hostnames": "The hostnames that the route is for.",
        "rules": "Matches, what is changed, and where matching calls go.",
    },
    "GRPCRouteRule": {
        "name": "A name for the rule.",
        "matches": "What a call has to be like: any of these. All calls, if there are none.",
        "filters": "What is changed on the way.",
        "backendRefs": "Services that calls are sent to, by weight.",
    },
    "TLSRouteSpec": {
        "hostnames": "The names, asked for in the handshake (SNI), that the route is for.",
        "rules": "Where connections go.",
    },
    "ReferenceGrantSpec": {
        "from": "Who may refer: kinds of objects and their namespaces.",
        "to": "What may be referred to in this namespace.",
    },
    "BackendTLSPolicySpec": {
        "targetRefs": "The Services, or ports of them, that the policy is for.",
        "validation": "Which certificate a backend has to show.",
        "options": "Settings of the implementation's own.",
    },
    "BackendTLSPolicyValidation": {
        "caCertificateRefs": "ConfigMaps with authorities under ca.crt.",
        "wellKnownCACertificates": "System, for the authorities that the system knows.",
        "hostname": "The name that is asked for (SNI), and that the certificate has to be for.",
        "subjectAltNames": "Other names, one of which the certificate has to be for instead.",
    },
}

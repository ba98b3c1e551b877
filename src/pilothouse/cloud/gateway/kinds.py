"""The resources of the Gateway API and of Ingress, and the names under which this implementation is known."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import Kind

GROUP = "gateway.networking.k8s.io"
#: What GatewayClasses name to be carried out here.
CONTROLLER = "pilothouse.dev/gateway-controller"
#: The class that is there from the start.
CLASS = "pilothouse"

GATEWAY_CLASSES = Kind(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
GATEWAYS = Kind(GROUP, "v1", "gateways", "Gateway")
LISTENER_SETS = Kind(GROUP, "v1", "listenersets", "ListenerSet")
HTTP_ROUTES = Kind(GROUP, "v1", "httproutes", "HTTPRoute")
GRPC_ROUTES = Kind(GROUP, "v1", "grpcroutes", "GRPCRoute")
TLS_ROUTES = Kind(GROUP, "v1", "tlsroutes", "TLSRoute")
REFERENCE_GRANTS = Kind(GROUP, "v1beta1", "referencegrants", "ReferenceGrant")
BACKEND_TLS_POLICIES = Kind(GROUP, "v1", "backendtlspolicies", "BackendTLSPolicy")

ROUTES: dict[str, Kind] = {k.kind: k for k in (HTTP_ROUTES, GRPC_ROUTES, TLS_ROUTES)}

INGRESSES = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESS_CLASSES = Kind("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)

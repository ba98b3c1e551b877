"""What a Service wants of a cloud's load balancers, and which nodes these get: the rules, without doing anything.

Reference: "Service: type LoadBalancer", "Deleting a load balancer: finalizer", `loadBalancerClass`; KEP-3458 (which nodes, and when).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pilothouse.client.reconcile.objects import Obj, annotations_of, is_deleting, labels_of, uid

#: Keeps a Service until its load balancer is gone.
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
#: A node with this label, whatever its value says but "false", gets no traffic from outside.
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
#: The cluster autoscaler is about to remove a node with this taint.
LEAVING = "ToBeDeletedByClusterAutoscaler"
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
#: Names told in an event, at most.
NAMES = 20


def wants_load_balancer(service: Obj) -> bool:
    """A Service with a class is another controller's."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") is None


def has_finalizer(service: Obj) -> bool:
    return FINALIZER in (service["metadata"].get("finalizers") or ())


def needs_cleanup(service: Obj) -> bool:
    """Whether a load balancer may be there that must not be there any longer."""
    return has_finalizer(service) and (is_deleting(service) or service["spec"].get("type") != "LoadBalancer")


def needs_update(old: Obj, new: Obj) -> bool:
    """Whether a change of a Service concerns its load balancer."""
    if not wants_load_balancer(old) and not wants_load_balancer(new):
        return False
    return _concerned(old) != _concerned(new)


def _concerned(service: Obj) -> tuple[Any, ...]:
    spec = service["spec"]
    return (
        wants_load_balancer(service),
        uid(service),
        annotations_of(service),
        [_port(p) for p in spec.get("ports") or ()],
        spec.get("sessionAffinity"),
        spec.get("sessionAffinityConfig"),
        spec.get("loadBalancerSourceRanges") or [],
        spec.get("loadBalancerIP"),
        spec.get("externalIPs") or [],
        spec.get("externalTrafficPolicy"),
        spec.get("healthCheckNodePort"),
        len(spec.get("ipFamilies") or ()),
    )


def _port(port: Obj) -> tuple[Any, ...]:
    return tuple(port.get(k) for k in ("name", "protocol", "port", "nodePort", "targetPort", "appProtocol"))


def is_included(node: Obj) -> bool:
    """Whether its labels let it have traffic."""
    value = labels_of(node).get(EXCLUDED)
    return value is None or value in _FALSE


def is_eligible(node: Obj) -> bool:
    """Whether load balancers send traffic to this node. Being ready does not matter: health checks see to that."""
    taints = node["spec"].get("taints") or ()
    return not is_deleting(node) and is_included(node) and all(t["key"] != LEAVING for t in taints)


def concerns_load_balancers(old: Obj, new: Obj) -> bool:
    """Whether a change of a node is one that load balancers are told of at once."""
    return is_included(old) != is_included(new) or old["spec"].get("providerID") != new["spec"].get("providerID")


def identities(nodes: Iterable[Obj]) -> frozenset[tuple[str, str]]:
    """What two sets of nodes are compared by."""
    return frozenset((n["metadata"]["name"], n["spec"].get("providerID") or "") for n in nodes)


def names(nodes: Sequence[Obj]) -> str:
    """The nodes, as events tell them."""
    first = sorted(n["metadata"]["name"] for n in nodes[:NAMES])
    more = [f"<{len(nodes) - NAMES} more>"] if len(nodes) > NAMES else []
    return f"[{' '.join([*first, *more])}]"


def status_of(service: Obj) -> Obj:
    """The load balancer's part of a Service's status."""
    return (service.get("status") or {}).get("loadBalancer") or {}


def same_status(one: Obj, other: Obj) -> bool:
    """Whether two statuses of load balancers say the same; an address without a mode is a virtual IP."""
    return [_ingress(i) for i in one.get("ingress") or ()] == [_ingress(i) for i in other.get("ingress") or ()]


def _ingress(point: Obj) -> tuple[Any, ...]:
    address = point.get("ip") or ""
    ports = [(p.get("port"), p.get("protocol") or "TCP", p.get("error")) for p in point.get("ports") or ()]
    return address, point.get("hostname") or "", point.get("ipMode") or ("VIP" if address else ""), ports

"""Why a Service answers, or does not: what lies between its address and its pods, step by step, as `pilothouse explain service/NAME` shows it.

Pure, but for `connect`. A finding is something that is as it should be, or a problem and what it is due to. Source: "Debug Services" of the
Kubernetes documentation, whose questions are asked in its order. Network policies, DNS and the proxy of cluster IPs are left out.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.client import loopback
from pilothouse.client.reconcile.objects import annotations_of, condition, is_deleting
from pilothouse.client.service_endpoints import Target, by_port, families, is_simulated, usable

Obj = dict[str, Any]

#: Where a load balancer's ports are that were moved: `80/TCP=40080, ...` (the local provider's annotation).
MOVED = "pilothouse.dev/load-balancer-ports"
#: How many endpoints of a port are shown and tried.
SHOWN = 5
SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    well: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of the cluster: the Service, its slices, the pods that its selector matches, nodes by name, events about it."""

    service: Obj
    slices: Sequence[Obj] = ()
    pods: Sequence[Obj] = ()
    nodes: Mapping[str, Obj] | None = None
    events: Sequence[Obj] = ()


_REFUSALS = {errno.ECONNREFUSED: "refuses connections", errno.ECONNRESET: "ends connections"}
#: What became of trying places (an address and a TCP port): "" if somebody listens there, else what came instead.
Tried = Mapping[tuple[str, int], str]


def places(found: Found) -> list[tuple[str, int]]:
    """What is worth trying from here: endpoints on simulated nodes, and the load balancer."""
    out = [_reach(t, found.nodes) for p in _tcp_ports(found.service) for t in _targets(found, p)[:SHOWN] if _is_here(t, found)]
    return [*dict.fromkeys((*out, *_fronts(found.service)))]


def findings(found: Found, tried: Tried) -> list[Finding]:
    """From the pods to the address."""
    spec = found.service["spec"]
    if spec.get("type") == "ExternalName":
        return [Finding(f"it is only another name for {spec.get('externalName', '')}: nothing is forwarded")]
    out = list(_of_pods(found))
    for port in spec.get("ports") or ():
        out += _of_port(found, port, tried)
    if spec.get("type") == "LoadBalancer":
        out += _of_balancer(found, tried)
    return out


async def connect(places: Iterable[tuple[str, int]]) -> Tried:
    """Try them all at once."""
    wanted = list(places)
    return dict(zip(wanted, await asyncio.gather(*(_try(*place) for place in wanted)), strict=True))


async def _try(host: str, port: int) -> str:
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return _REFUSALS.get(error.errno or 0) or f"cannot be reached: {os.strerror(error.errno) if error.errno else error}"
    writer.close()
    return ""


# --- pods and endpoints ---------------------------------------------------------------------------------------------------------------


def _of_pods(found: Found) -> Iterable[Finding]:
    selector = found.service["spec"].get("selector")
    if not selector:
        yield Finding("it has no selector: somebody else makes its endpoints")
        return
    text = ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
    if not found.pods:
        yield Finding(f"no pod has the labels {text}", well=False)
        return
    ready = [p for p in found.pods if (condition(p, "Ready") or {}).get("status") == "True" and not is_deleting(p)]
    count = "1 pod has" if len(found.pods) == 1 else f"{len(found.pods)} pods have"
    yield Finding(f"{count} the labels {text}, {len(ready)} ready", well=bool(ready))
    for pod in found.pods[:SHOWN]:
        if pod not in ready:
            yield Finding(f"pod {pod['metadata']['name']} is not ready: {_why_not_ready(pod)}", well=False)


def _why_not_ready(pod: Obj) -> str:
    if is_deleting(pod):
        return "it is being deleted"
    status = pod.get("status") or {}
    for each in status.get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return f"container {each['name']} waits: {waiting['reason']}"
    for kind in ("PodScheduled", "Ready"):
        told = condition(pod, kind) or {}
        if told.get("status") != "True" and told:
            return str(told.get("message") or told.get("reason") or f"{kind} is {told.get('status')}")
    return f"its phase is {status.get('phase', 'unknown')}"


def _of_port(found: Found, port: Obj, tried: Tried) -> Iterable[Finding]:
    named = f"port {port['port']}/{port.get('protocol', 'TCP')}"
    targets = _targets(found, port)
    if not targets:
        known = by_port(found.slices, _family(found.service)).get(port.get("name") or "", ())
        why = f"none of its {len(known)} endpoints is ready" if known else _why_no_endpoint(found, port)
        yield Finding(f"{named} has no endpoint that takes traffic: {why}", well=False)
        return
    shown = ", ".join(f"{t.address}:{t.port}" + (f" ({t.pod})" if t.pod else "") for t in targets[:SHOWN])
    more = f" and {len(targets) - SHOWN} more" if len(targets) > SHOWN else ""
    yield Finding(f"{named} goes to {shown}{more}")
    for target in targets[:SHOWN]:
        host, number = _reach(target, found.nodes)
        if said := tried.get((host, number), ""):
            yield Finding(f"{host}:{number}, where {target.pod or target.address} is found, {said}", well=False)


def _why_no_endpoint(found: Found, port: Obj) -> str:
    wanted = port.get("targetPort", port["port"])
    if isinstance(wanted, str) and found.pods and not any(wanted in _port_names(p) for p in found.pods):
        return f"no pod has a port of the name {wanted}"
    return "there are none"


def _port_names(pod: Obj) -> set[str]:
    return {p.get("name", "") for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()}


# --- the load balancer ---------------------------------------------------------------------------------------------------------------------


def _of_balancer(found: Found, tried: Tried) -> Iterable[Finding]:
    service = found.service
    addresses = _addresses(service)
    if not addresses:
        yield Finding(f"it has no address: {_why_no_address(found)}", well=False)
        return
    yield Finding(f"its load balancer is {', '.join(addresses)}")
    last = max(found.events, key=_when, default={})
    if last.get("type") == "Warning" and last.get("reason") == "SyncLoadBalancerFailed":
        yield Finding(f"its last change failed: {last['message']}", well=False)
    if told := (condition(service, "LoadBalancerPortsError") or {}).get("message"):
        yield Finding(str(told), well=False)
    ranges = service["spec"].get("loadBalancerSourceRanges")
    if ranges:
        yield Finding(f"only clients of {', '.join(ranges)} may use it")
    for host, number in _fronts(service):
        said = tried.get((host, number))
        if said is not None:
            yield Finding(f"{host}:{number} {said or 'accepts connections'}", well=not said)


def _why_no_address(found: Found) -> str:
    warnings = [e for e in found.events if e.get("type") == "Warning"]
    if warnings:
        return str(max(warnings, key=_when)["message"])
    if chosen := found.service["spec"].get("loadBalancerClass"):
        return f"whoever takes care of the class {chosen} has not given it one"
    return "no cloud-controller-manager has made one"


def _when(event: Obj) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or ""


def _addresses(service: Obj) -> list[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i.get("ip") or i.get("hostname") or "" for i in ingress]


def _fronts(service: Obj) -> list[tuple[str, int]]:
    told = (part.strip().partition("=") for part in annotations_of(service).get(MOVED, "").split(","))
    moved = {port: int(there) for port, _, there in told if there.isdecimal()}
    numbers = [moved.get(f"{p['port']}/TCP") or int(p["port"]) for p in _tcp_ports(service)]
    return [(address, number) for address in _addresses(service) for number in numbers]


# --- what several ask ---------------------------------------------------------------------------------------------------------------------


def _tcp_ports(service: Obj) -> list[Obj]:
    return [p for p in service["spec"].get("ports") or () if p.get("protocol", "TCP") == "TCP"]


def _family(service: Obj) -> str:
    return "IPv4" if "IPv4" in families(service) else "IPv6"


def _targets(found: Found, port: Obj) -> tuple[Target, ...]:
    return usable(by_port(found.slices, _family(found.service)).get(port.get("name") or "", ()))


def _is_here(target: Target, found: Found) -> bool:
    return is_simulated((found.nodes or {}).get(target.node))


def _reach(target: Target, nodes: Mapping[str, Obj] | None) -> tuple[str, int]:
    if is_simulated((nodes or {}).get(target.node)):
        return loopback.twin(target.address), loopback.port(target.port)
    return target.address, target.port

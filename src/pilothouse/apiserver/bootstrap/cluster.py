"""Everything that a brand-new cluster contains, created before the API server says that it is ready.

At a restart nearly everything is there already, and finding that out reads only the caches. Independent objects are written at
the same time, so that the store commits them together.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import ipaddress
import socket
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

from pilothouse.api import tables
from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.bootstrap import flowcontrol, objects, rbac_policy, reconcile
from pilothouse.apiserver.interface import Hub
from pilothouse.clock import new_uid, rfc3339, rfc3339_micro


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """What the objects of this cluster depend on. `port` is where the API server listens, `addresses` how nodes reach it."""

    service_ranges: tuple[str, ...] = ("10.96.0.0/16",)
    addresses: tuple[str, ...] = ("127.0.0.1",)
    port: int = 6443
    client_ca: str = ""
    front_proxy_ca: str = ""
    hostname: str = field(default_factory=socket.gethostname)
    rbac: bool = True


async def bootstrap(hub: Hub, options: BootstrapOptions) -> None:
    """Create what is missing."""
    await _together(_ensure(hub, "", "namespaces", objects.namespace(name)) for name in objects.NAMESPACES)
    await _together((*_rbac(hub, options), *_singles(hub, options), _flow_control(hub), _service(hub, options)))


async def _together(works: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*works)


async def _ensure(hub: Hub, group: str, plural: str, obj: Obj, manager: str = "kube-apiserver") -> None:
    """Create an object unless there is one of its name."""
    metadata = obj["metadata"]
    if hub.cache(group, plural).get(metadata.get("namespace", ""), metadata["name"]) is not None:
        return
    try:
        await hub.create(group, plural, copy.deepcopy(obj), manager=manager)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise


def _rbac(hub: Hub, options: BootstrapOptions) -> list[Awaitable[None]]:
    return [reconcile.ensure(hub, obj) for obj in rbac_policy.objects()] if options.rbac else []


def _singles(hub: Hub, options: BootstrapOptions) -> list[Awaitable[None]]:
    now = hub.clock.now()
    today = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
    works: list[Awaitable[None]] = [
        _ensure(hub, "scheduling.k8s.io", "priorityclasses", dict(c)) for c in objects.PRIORITY_CLASSES
    ]
    works.append(_ensure(hub, "", "configmaps", objects.token_tracking_configmap(today)))
    if options.client_ca or options.front_proxy_ca:
        works.append(_configmap(hub, objects.authentication_configmap(options.client_ca, options.front_proxy_ca)))
    works.append(_identity_lease(hub, options.hostname))
    works += [_ensure(hub, "apiregistration.k8s.io", "apiservices", s) for s in objects.api_services(_served(hub))]
    return works


def _served(hub: Hub) -> list[tuple[str, str]]:
    """The groups and versions that are served, each once."""
    known = ((r.group, r.version) for r in tables.RESOURCES if hub.resource(r.group, r.plural, r.version) is not None)
    return list(dict.fromkeys(known))


async def _configmap(hub: Hub, wanted: Obj) -> None:
    """A config map whose data must be these (a new certificate authority, for example)."""
    metadata = wanted["metadata"]
    entry = hub.cache("", "configmaps").get(metadata["namespace"], metadata["name"])
    if entry is None:
        await _ensure(hub, "", "configmaps", wanted)
    elif entry.obj.get("data") != wanted["data"]:
        await hub.update("", "configmaps", {**entry.obj, "data": wanted["data"]})


async def _flow_control(hub: Hub) -> None:
    group, producer = flowcontrol.GROUP, flowcontrol.PRODUCER
    levels = flowcontrol.priority_levels()
    await _together(_ensure(hub, group, "prioritylevelconfigurations", level, producer) for level in levels)
    await _together(_flow_schema(hub, schema) for schema in flowcontrol.flow_schemas())


async def _flow_schema(hub: Hub, schema: Obj) -> None:
    group = flowcontrol.GROUP
    await _ensure(hub, group, "flowschemas", schema, flowcontrol.PRODUCER)
    entry = hub.cache(group, "flowschemas").get("", schema["metadata"]["name"])
    if entry is not None and not (entry.obj.get("status") or {}).get("conditions"):
        status = flowcontrol.dangling(schema, True, rfc3339(hub.clock.now()))
        await hub.apply(group, "flowschemas", status, manager=flowcontrol.CONSUMER, subresource="status")


# --- the API server as a service ------------------------------------------------------------------------------------------------------


async def _service(hub: Hub, options: BootstrapOptions) -> None:
    if not options.service_ranges:
        return
    await _service_cidr(hub, list(options.service_ranges))
    address = objects.first_address(options.service_ranges[0])
    await _kubernetes_service(hub, objects.kubernetes_service(address, options.port))
    addresses = [a for a in map(outside_address, options.addresses) if a]
    if not addresses:
        return
    await _together(
        (
            _endpoints(hub, "", "endpoints", objects.kubernetes_endpoints(addresses, options.port), "subsets"),
            _endpoints(
                hub, "discovery.k8s.io", "endpointslices", objects.kubernetes_endpointslice(addresses, options.port), "endpoints"
            ),
        )
    )


def outside_address(address: str) -> str:
    """The address at which others find this machine: itself, or for a loopback address the machine's own; "" if it has none."""
    if not ipaddress.ip_address(address).is_loopback:
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks for the route
        except OSError:
            return ""
        found: str = probe.getsockname()[0]
    return "" if ipaddress.ip_address(found).is_loopback else found


async def keep_service(hub: Hub, options: BootstrapOptions) -> None:
    """The default range and the service come back if they are gone: to be called every ten seconds. What is there is left alone."""
    if options.service_ranges:
        await _service_cidr(hub, list(options.service_ranges))
        address = objects.first_address(options.service_ranges[0])
        await _ensure(hub, "", "services", objects.kubernetes_service(address, options.port))


async def _service_cidr(hub: Hub, ranges: list[str]) -> None:
    """The default range, which is ready without anybody's doing."""
    group, plural = "networking.k8s.io", "servicecidrs"
    await _ensure(hub, group, plural, objects.service_cidr(ranges))
    entry = hub.cache(group, plural).get("", "kubernetes")
    if entry is not None and not (entry.obj.get("status") or {}).get("conditions"):
        ready = objects.service_cidr_ready(rfc3339(hub.clock.now()))
        await hub.apply(group, plural, ready, manager="kubernetes-service-cidr-controller", subresource="status")


async def _kubernetes_service(hub: Hub, wanted: Obj) -> None:
    """The service in front of the API servers, which lead to their port of today."""
    await _ensure(hub, "", "services", wanted)
    entry = hub.cache("", "services").get("default", "kubernetes")
    port = wanted["spec"]["ports"][0]
    if entry is not None and entry.obj["spec"].get("ports") != [port]:
        await hub.update("", "services", {**entry.obj, "spec": {**entry.obj["spec"], "ports": [port]}})


async def _endpoints(hub: Hub, group: str, plural: str, wanted: Obj, key: str) -> None:
    """Where the API server is now: its port may be another one than before."""
    metadata = wanted["metadata"]
    entry = hub.cache(group, plural).get(metadata["namespace"], metadata["name"])
    if entry is None:
        await _ensure(hub, group, plural, wanted)
    elif entry.obj.get(key) != wanted[key] or entry.obj.get("ports") != wanted.get("ports"):
        changed = {k: wanted[k] for k in (key, "ports") if k in wanted}
        await hub.update(group, plural, {**entry.obj, **changed})


# --- identity ---------------------------------------------------------------------------------------------------------------------------


async def _identity_lease(hub: Hub, hostname: str) -> None:
    """The lease by which this API server is known, as of this start."""
    name = objects.identity(hostname)
    holder = f"{name}_{new_uid(hub.clock)}"
    lease = objects.identity_lease(name, holder, hostname, rfc3339_micro(hub.clock.now()))
    entry = hub.cache("coordination.k8s.io", "leases").get("kube-system", name)
    if entry is None:
        await _ensure(hub, "coordination.k8s.io", "leases", lease)
    else:
        await hub.update("coordination.k8s.io", "leases", {**entry.obj, "spec": lease["spec"]})


async def renew_identity(hub: Hub) -> None:
    """Say that this API server is still there."""
    hostname = socket.gethostname()
    entry = hub.cache("coordination.k8s.io", "leases").get("kube-system", objects.identity(hostname))
    if entry is None:
        await _identity_lease(hub, hostname)
        return
    spec = {**entry.obj["spec"], "renewTime": rfc3339_micro(hub.clock.now())}
    await hub.update("coordination.k8s.io", "leases", {**entry.obj, "spec": spec})


async def keep_namespaces(hub: Hub) -> None:
    """The four namespaces come back if they are gone: to be called every minute."""
    await _together(_ensure(hub, "", "namespaces", objects.namespace(name)) for name in objects.NAMESPACES)

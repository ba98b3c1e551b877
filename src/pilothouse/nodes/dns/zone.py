"""The cluster's zone: finds what a question is answered with, in informers, and says which answers a change makes stale.

References: "Kubernetes DNS-Based Service Discovery" 1.1.0, CoreDNS' kubernetes plugin (the apex, names without records, PTR of endpoints), RFC 2308
(NXDOMAIN and NODATA), RFC 6604 (the code at the end of a chain of CNAMEs). Nothing is kept here but indexes: a question costs its own service,
a change what was answered from it. Pods and the indexes of addresses are followed only once somebody asks by them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from pilothouse.client import loopback
from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.client.service_endpoints import is_simulated, service_of
from pilothouse.clock import Clock
from pilothouse.nodes.dns import records
from pilothouse.nodes.dns.names import Asked, Labels, reverse_address, take_apart
from pilothouse.nodes.dns.records import Host, Obj

PodMode = Literal["insecure", "verified", "disabled"]
Twins = Literal["services", "pods"]

SCHEMA_VERSION, SCHEMA_TTL = "1.1.0", 28_800
LONGEST_CHAIN = 8
_SERVICE, _ADDRESS = "service", "address"
_SIMULATED_PODS = ipaddress.ip_network("10.64.0.0/10")


@dataclass(frozen=True, slots=True)
class Options:
    """What the zone is called and says. `twins`: what is told by the address at which this machine finds it, if it is simulated."""

    zone: str = "cluster.local"
    ttl: int = 5
    twins: frozenset[Twins] = frozenset()
    #: Names of pods: of any address in a namespace that exists, only of pods that exist, or none.
    pods: PodMode = "insecure"
    #: The Service whose address the name server's own name has.
    service: str = "kube-system/kube-dns"


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record. The name "" is the question's; data as the type has it: a text, or SRV's and SOA's parts."""

    name: str
    type: str
    ttl: int
    data: str | tuple[str | int, ...]


@dataclass(slots=True)
class Found:
    """An answer, and the keys of what it was made from. `elsewhere` is the name outside the zone at which a chain of CNAMEs goes on."""

    rcode: Literal["NOERROR", "NXDOMAIN", "REFUSED"] = "NOERROR"
    answers: list[Record] = field(default_factory=list)
    extra: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    depends: set[str] = field(default_factory=set)
    elsewhere: str = ""
    #: Whether it holds until something of `depends` changes.
    lasting: bool = True


class ClusterZone:
    """`changed` is told the keys of what has changed: `namespace/service`, `namespace/`, `@address`."""

    def __init__(
        self, informers: InformerFactory, clock: Clock, changed: Callable[[str], None], options: Options | None = None
    ) -> None:
        self.options = options or Options()
        self.labels: Labels = tuple(self.options.zone.rstrip(".").lower().split("."))
        self.name = ".".join(self.labels)
        self._informers = informers
        self._clock = clock
        self._changed = changed
        self._serial = int(clock.now())
        self._services = informers.informer("/api/v1/services")
        self._slices = informers.informer("/apis/discovery.k8s.io/v1/endpointslices")
        self._namespaces = informers.informer("/api/v1/namespaces")
        self._nodes = informers.informer("/api/v1/nodes") if "pods" in self.options.twins else None
        self._pods: Informer | None = None
        self._by_address = False
        self._slices.add_index(_SERVICE, lambda s: (service_of(s),))
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        self._namespaces.add_handler(self._namespace_changed)
        if self._nodes is not None:
            self._nodes.add_handler(self._node_changed)
        if self.options.pods == "verified":
            self._follow_pods()

    async def wait_synced(self) -> None:
        for each in (self._services, self._slices, self._namespaces, self._nodes, self._pods):
            if each is not None:
                await each.wait_synced()

    @property
    def synced(self) -> bool:
        return self._services.synced and self._slices.synced and self._namespaces.synced

    # --- questions -----------------------------------------------------------------------------------------------------------------

    def resolve(self, labels: Labels, qtype: str) -> Found | None:
        """The answer for a name (labels in lower case); None if it is not for this zone to say."""
        asked = take_apart(labels, self.labels)
        if asked is None:
            return self._reverse(labels) if qtype == "PTR" else None
        if qtype in ("AXFR", "IXFR"):
            return Found("REFUSED")
        found = self._find(asked, qtype, 0)
        if (not found.answers or found.rcode == "NXDOMAIN") and not found.elsewhere:
            found.authority = [self.soa()]
        return found

    def _find(self, asked: Asked, qtype: str, depth: int) -> Found:
        match asked.form:
            case "apex":
                return self._apex(qtype)
            case "node":
                return Found()
            case "namespace":
                return self._if_namespace(asked.namespace)
            case "service":
                return self._service(asked, qtype, depth)
            case "pod":
                return self._pod(asked, qtype)
            case "version":
                return Found(answers=[Record("", "TXT", SCHEMA_TTL, SCHEMA_VERSION)] if qtype == "TXT" else [])
            case "server":
                return self._server(qtype)
        return Found("NXDOMAIN")

    def _apex(self, qtype: str) -> Found:
        if qtype == "SOA":
            return Found(answers=[self.soa()], lasting=False)
        if qtype == "NS":
            server = f"ns.dns.{self.name}"
            extra = [Record(server, r.type, r.ttl, r.data) for t in records.FAMILIES for r in self._server(t).answers]
            return Found(answers=[Record("", "NS", self.options.ttl, server)], extra=extra, depends={self.options.service})
        return Found()

    def _server(self, qtype: str) -> Found:
        service = self._services.get(*self.options.service.split("/"))
        found = tuple(Host(a) for a in records.cluster_ips(service)) if service else ()
        return Found(answers=self._addresses("", found, qtype), depends={self.options.service})

    def _if_namespace(self, namespace: str) -> Found:
        there = self._namespaces.get("", namespace) is not None
        return Found("NOERROR" if there else "NXDOMAIN", depends={f"{namespace}/"})

    def _service(self, asked: Asked, qtype: str, depth: int) -> Found:
        key = f"{asked.namespace}/{asked.service}"
        found = Found("NXDOMAIN", depends={key})
        service = self._services.get(asked.namespace, asked.service)
        if service is None:
            return found
        target = records.external_name(service)
        if target and not (asked.endpoint or asked.port):
            return self._alias(found, target, qtype, depth)
        hosts = records.hosts(asked, service, self._slices.indexed(_SERVICE, key))
        if not hosts:
            return found
        found.rcode = "NOERROR"
        if qtype == "SRV":
            self._srv(found, asked, hosts)
        else:
            found.answers = self._addresses("", hosts, qtype)
        return found

    def _alias(self, found: Found, target: str, qtype: str, depth: int) -> Found:
        found.rcode = "NOERROR"
        found.answers.append(Record("", "CNAME", self.options.ttl, target))
        if qtype == "CNAME" or depth >= LONGEST_CHAIN:
            return found
        asked = take_apart(tuple(target.split(".")), self.labels)
        if asked is None:
            found.elsewhere = target
            return found
        end = self._find(asked, qtype, depth + 1)
        found.rcode, found.elsewhere = end.rcode, end.elsewhere
        found.depends |= end.depends
        found.answers += [Record(r.name or target, r.type, r.ttl, r.data) for r in end.answers]
        found.extra += end.extra
        return found

    def _srv(self, found: Found, asked: Asked, hosts: tuple[Host, ...]) -> None:
        """RFC 2782: all of the same priority, the weights shared; the addresses besides."""
        base = f"{asked.service}.{asked.namespace}.svc.{self.name}"
        targets = dict.fromkeys((self._port(h), f"{h.label}.{base}" if h.label else base) for h in hosts if h.port)
        weight = max(1, 100 // max(1, len(targets)))
        found.answers = [Record("", "SRV", self.options.ttl, (0, weight, port, target)) for port, target in targets]
        shown = ((f"{h.label}.{base}" if h.label else base, h) for h in hosts if h.port)
        found.extra = list(dict.fromkeys(r for name, h in shown for r in self._addresses(name, (h,), h.type)))

    def _pod(self, asked: Asked, qtype: str) -> Found:
        if self.options.pods == "disabled":
            return Found("NXDOMAIN")
        if self._pods is None:
            found = self._if_namespace(asked.namespace)
        else:
            there = any(p["metadata"]["namespace"] == asked.namespace for p in self._pods.indexed(_ADDRESS, asked.address))
            found = Found("NOERROR" if there else "NXDOMAIN", depends={f"@{asked.address}"})
        if found.rcode == "NOERROR" and qtype == Host(asked.address).type:
            address = asked.address
            if self._nodes is not None and qtype == "A" and ipaddress.ip_address(address) in _SIMULATED_PODS:
                address = loopback.twin(address)
            found.answers = [Record("", qtype, self.options.ttl, address)]
        return found

    def _reverse(self, labels: Labels) -> Found | None:
        """The names of an address of the cluster; None for others."""
        address = reverse_address(labels)
        if not address:
            return None
        self._index_addresses()
        if self.options.twins and address.startswith("127."):
            address = f"10{address[3:]}"
        services = self._services.indexed(_ADDRESS, address)
        names = [f"{s['metadata']['name']}.{s['metadata']['namespace']}.svc.{self.name}" for s in services]
        names = names or sorted({n for s in self._slices.indexed(_ADDRESS, address) for n in self._endpoint_names(s, address)})
        if not names:
            return None
        return Found(answers=[Record("", "PTR", self.options.ttl, name) for name in names], depends={f"@{address}"})

    def _endpoint_names(self, slice: Obj, address: str) -> Iterable[str]:
        namespace, _, service = service_of(slice).partition("/")
        for endpoint in slice.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready") is not False
            if service and ready and address in map(_canonical, endpoint["addresses"]):
                yield f"{records.endpoint_label(endpoint, address)}.{service}.{namespace}.svc.{self.name}"

    # --- records -------------------------------------------------------------------------------------------------------------------

    def _addresses(self, name: str, hosts: Iterable[Host], qtype: str) -> list[Record]:
        shown = dict.fromkeys(self._shown(h) for h in hosts if h.type == qtype)
        return [Record(name, qtype, self.options.ttl, address) for address in shown]

    def _shown(self, host: Host) -> str:
        return loopback.twin(host.address) if self._has_twin(host) else host.address

    def _port(self, host: Host) -> int:
        return loopback.port(host.port) if self._has_twin(host) else host.port

    def _has_twin(self, host: Host) -> bool:
        if ":" in host.address:
            return False
        if not host.label:
            return "services" in self.options.twins
        return self._nodes is not None and is_simulated(self._nodes.get("", host.node))

    def soa(self) -> Record:
        ttl = self.options.ttl
        data = (f"ns.dns.{self.name}", f"hostmaster.{self.name}", self._serial, 7200, 1800, 86400, ttl)
        return Record(self.name, "SOA", ttl, data)

    # --- changes -------------------------------------------------------------------------------------------------------------------

    def _tell(self, *keys: str) -> None:
        self._serial = max(int(self._clock.now()), self._serial)
        for key in keys:
            self._changed(key)

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old or {}
        if old is not None and new is not None and old["spec"] == new["spec"]:
            return
        ips = {_canonical(a) for s in (old, new) if s is not None for a in records.cluster_ips(s)} if self._by_address else ()
        self._tell(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}", *(f"@{a}" for a in ips))

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        for each in (old, new):
            if each is not None and (key := service_of(each)):
                ips = map(_canonical, records.addresses(each)) if self._by_address else ()
                self._tell(key, *(f"@{a}" for a in ips))

    def _namespace_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None:
            self._tell(f"{(new or old or {})['metadata']['name']}/")

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        """A node's slices may be heard of before it is; this is rare, and only where twins are told."""
        if is_simulated(old) != is_simulated(new):
            self._tell("*")

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, after = (set(_pod_addresses(p)) if p is not None else set() for p in (old, new))
        self._tell(*(f"@{a}" for a in before ^ after))

    def _follow_pods(self) -> None:
        self._pods = self._informers.informer("/api/v1/pods")
        self._pods.add_index(_ADDRESS, _pod_addresses)
        self._pods.add_handler(self._pod_changed)

    def _index_addresses(self) -> None:
        if not self._by_address:
            self._by_address = True
            self._services.add_index(_ADDRESS, lambda s: [_canonical(a) for a in records.cluster_ips(s)])
            self._slices.add_index(_ADDRESS, lambda s: {_canonical(a) for a in records.addresses(s)})


def _pod_addresses(pod: Obj) -> list[str]:
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return []
    return [_canonical(i["ip"]) for i in status.get("podIPs") or ()]


def _canonical(address: str) -> str:
    """IPv6 addresses can be written in several ways."""
    return str(ipaddress.ip_address(address)) if ":" in address else address

"""A pod as the scheduler sees it: everything that a plugin asks about, parsed once when the pod enters.

Resource rules follow the API reference ("Resource Management for Pods and Containers"): a pod needs the larger of the sum of its
containers (restartable init containers included) and of each init container with the sidecars started before it, plus overhead;
pod-level resources, where set, take the place of that sum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from pilothouse.api import quantity
from pilothouse.scheduler.resizing import occupied_spec
from pilothouse.scheduler.terms import AffinityTerms, affinity_terms
from pilothouse.scheduler.volumes import PodVolumes, pod_volumes

Obj = dict[str, Any]

#: What a container without requests counts for when nodes are scored (never when they are filtered).
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024

Requests = dict[str, int]


def amount(resource: str, text: Any) -> int:
    """A quantity as the scheduler counts it: CPU in thousandths, everything else in whole units, both rounded up."""
    return quantity.milli_value(text) if resource == "cpu" else quantity.value(text)


def amount_text(resource: str, value: int) -> str:
    """The amount as people read it: 500m, 1.5, 512Mi."""
    if resource == "cpu":
        return f"{value / 1000:g}" if abs(value) >= 1000 or value == 0 else f"{value}m"
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if abs(value) >= size:
                return f"{round(value / size, 1):g}{unit}"
    return str(value)


def parse_requests(requests: Obj | None) -> Requests:
    return {name: amount(name, text) for name, text in (requests or {}).items()}


def _add(into: Requests, more: Requests) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0) + value


def _maximum(into: Requests, other: Requests) -> None:
    for name, value in other.items():
        if value > into.get(name, 0):
            into[name] = value


def _scored(requests: Requests) -> Requests:
    """A container's requests for scoring: with the stand-ins for what it does not say."""
    return {"cpu": DEFAULT_MILLI_CPU, "memory": DEFAULT_MEMORY, **requests}


def total_requests(spec: Obj, of_container: Callable[[Requests], Requests] = lambda r: r) -> Requests:
    """What the pod needs of a node. `of_container` may fill in stand-ins per container."""
    total: Requests = {}
    for c in spec.get("containers", ()):
        _add(total, of_container(parse_requests((c.get("resources") or {}).get("requests"))))
    sidecars: Requests = {}
    peak: Requests = {}
    for c in spec.get("initContainers") or ():
        own = of_container(parse_requests((c.get("resources") or {}).get("requests")))
        if c.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _maximum(peak, own)
    _maximum(total, peak)
    total.update(parse_requests((spec.get("resources") or {}).get("requests")))
    if spec.get("overhead"):
        _add(total, parse_requests(spec["overhead"]))
    return total


def host_ports(spec: Obj) -> tuple[tuple[str, str, int], ...]:
    """(host IP, protocol, port) of each host port, init containers' sidecars included."""
    found = []
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for c in (*spec.get("containers", ()), *sidecars):
        for p in c.get("ports") or ():
            if p.get("hostPort"):
                found.append((p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", int(p["hostPort"])))
    return tuple(found)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(slots=True)
class PodInfo:
    """One pod, parsed. `key` is namespace/name; `obj` is shared with the informer and never changed."""

    obj: Obj
    key: str
    uid: str
    namespace: str
    name: str
    labels: dict[str, str]
    priority: int
    node_name: str
    requests: Requests
    scored: Requests
    ports: tuple[tuple[str, str, int], ...]
    terminating: bool
    terms: AffinityTerms | None = None
    volumes: PodVolumes | None = None
    #: When the pod first entered the queue (epoch seconds), attempts so far: kept by the queue.
    queued_at: float = 0.0
    attempts: int = 0
    #: Plugins that last refused it, and reasons.
    refused_by: frozenset[str] = frozenset()
    #: Where room is being made for it, before its status says so.
    nominated: str = ""
    _signature: bytes | None = field(default=None, repr=False)

    @property
    def spec(self) -> Obj:
        return self.obj["spec"]

    @property
    def started_at(self) -> float:
        """When it began to run (epoch seconds); a pod that did not begin is the latest of all."""
        text = (self.obj.get("status") or {}).get("startTime")
        return _epoch(text) if text else float("inf")

    @property
    def expected_node(self) -> str:
        """The node that it was nominated for."""
        return (self.obj.get("status") or {}).get("nominatedNodeName") or self.nominated

    @property
    def signature(self) -> bytes:
        """Equal for pods whose scheduling requirements are equal: the key of their class."""
        if self._signature is None:
            spec = self.obj["spec"]
            parts = [spec.get(k) for k in _SIGNATURE_FIELDS]
            parts += [bool(spec.get("resourceClaims")), self.volumes is not None]
            containers = (*(spec.get("initContainers") or ()), *spec.get("containers", ()))
            images = [[c.get("image"), c.get("restartPolicyRules")] for c in containers]
            self._signature = orjson.dumps(
                [self.namespace, self.labels, self.requests, self.scored, self.ports, images, parts], option=orjson.OPT_SORT_KEYS
            )
        return self._signature


_SIGNATURE_FIELDS = (
    "nodeName",
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "schedulerName",
    "hostNetwork",
    "hostUsers",
)


def observed_generation(pod: PodInfo) -> Obj:
    """What a condition says of the state of the pod that it is about."""
    generation = pod.obj["metadata"].get("generation")
    return {"observedGeneration": generation} if generation else {}


def _resources_text(spec: Obj) -> bytes:
    """What of a spec says how much it needs: the same for all pods of a template."""
    kinds = ("containers", "initContainers")
    listed = {k: [{f: c[f] for f in ("resources", "restartPolicy") if f in c} for c in spec.get(k) or ()] for k in kinds}
    return orjson.dumps({**listed, "resources": spec.get("resources"), "overhead": spec.get("overhead")})


@functools.lru_cache(maxsize=1024)
def _totals(text: bytes) -> tuple[Requests, Requests]:
    """Requests as they are filtered and as they are scored. Shared by pods: never changed."""
    spec = orjson.loads(text)
    return total_requests(spec), total_requests(spec, _scored)


def pod_info(obj: Obj) -> PodInfo:
    """Parse a Pod object (as stored: defaulted)."""
    meta, spec = obj["metadata"], obj["spec"]
    namespace = meta.get("namespace", "")
    requests, scored = _totals(_resources_text(occupied_spec(obj)))
    return PodInfo(
        obj=obj,
        key=f"{namespace}/{meta['name']}",
        uid=meta.get("uid", ""),
        namespace=namespace,
        name=meta["name"],
        labels=meta.get("labels") or {},
        priority=spec.get("priority") or 0,
        node_name=spec.get("nodeName") or "",
        requests=requests,
        scored=scored,
        ports=host_ports(spec),
        terminating="deletionTimestamp" in meta,
        terms=affinity_terms(spec, namespace),
        volumes=pod_volumes(meta["name"], spec),
    )

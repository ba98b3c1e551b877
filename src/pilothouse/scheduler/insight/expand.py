"""From manifests to the pods that their controllers would make: names and templates as they would be, with the API server's defaults.

Deployment, ReplicaSet, ReplicationController, StatefulSet (with its claims), Job and CronJob (one run) by their counts; a DaemonSet one
pod for each node that its template allows. Priority classes are looked up; what admission would do besides is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from pilothouse.api import tables
from pilothouse.api.decode import decode_parsed
from pilothouse.api.errors import StatusError
from pilothouse.api.kinds import strategy_for
from pilothouse.api.nodeselectors import required_predicate
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import Context
from pilothouse.scheduler.insight.situation import Collections, plural_of
from pilothouse.scheduler.table import Row
from pilothouse.scheduler.tolerations import untolerated

Obj = dict[str, Any]

_SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
#: What the daemonset controller adds to its pods.
_DAEMON_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
]
_HARD = ("NoSchedule", "NoExecute")


@cache
def _resources() -> dict[str, Resource]:
    return {f"{r.api_version}/{r.kind}": r for r in tables.RESOURCES if r.prefix}


def admitted(obj: Obj, namespace: str = "default") -> Obj:
    """The object as the API server would store it: checked, with defaults. ValueError, in one line, if it would not."""
    resource = _resources().get(f"{obj.get('apiVersion')}/{obj['kind']}")
    if resource is None:
        raise ValueError(f"no matches for kind {obj['kind']!r} in version {obj.get('apiVersion')!r}")
    told = f"{obj['kind']} {obj['metadata'].get('name', '')}"
    kind = (resource.group, resource.version, resource.kind)
    try:
        decoded, _ = decode_parsed(obj, [], tables.schema_for(*kind), kind)
        strategy = strategy_for(resource)
        if resource.namespaced:
            decoded["metadata"].setdefault("namespace", namespace)
        strategy.default(decoded)
        decoded["metadata"].setdefault("uid", "what-if")
        strategy.prepare_create(decoded, Context(0.0, resource.api_version))
        errors = strategy.validate(decoded)
    except StatusError as error:
        raise ValueError(f"{told}: {error.message}") from None
    if errors:
        raise ValueError(f"{told} is invalid: {'; '.join(map(str, errors))}")
    return decoded


class Expansion:
    """The pods of manifests, and the objects that exist besides. `nodes` are those that daemons may run on."""

    def __init__(self, namespace: str, nodes: Callable[[], Iterable[Row]], classes: Iterable[Obj] = ()) -> None:
        self._namespace = namespace
        self._nodes = nodes
        self._classes = {c["metadata"]["name"]: c for c in classes}
        self.pods: list[Obj] = []
        self.more: Collections = {}
        #: Nodes as they would be, status included.
        self.nodes: list[Obj] = []
        #: Kinds that were not understood.
        self.ignored: list[str] = []

    def add_all(self, objects: Iterable[Obj]) -> None:
        """Take in manifests: priority classes first, wherever they stand. ValueError for one that the API server would refuse."""
        listed = list(objects)
        for obj in listed:
            if plural_of(obj) == "priorityclasses":
                self._classes[obj["metadata"]["name"]] = obj
        for obj in listed:
            self._add(obj)

    def _add(self, obj: Obj) -> None:
        plural = plural_of(obj)
        if not plural:
            self.ignored.append(f"{obj['kind']} {obj['metadata']['name']}")
            return
        if plural == "nodes":
            self.nodes.append(obj)
            return
        obj = admitted(obj, self._namespace)
        make = _PODS.get(obj["kind"])
        if make is None:
            self._exists(plural, obj)
            return
        for pod in make(self, obj):
            self.pods.append(self._pod(pod))

    def _exists(self, plural: str, obj: Obj) -> None:
        self.more.setdefault(plural, {})[obj["metadata"].get("namespace", ""), obj["metadata"]["name"]] = obj

    def _pod(self, pod: Obj) -> Obj:
        """The pod with the priority that its class gives it."""
        spec = pod["spec"]
        name = spec.get("priorityClassName")
        chosen = self._classes.get(name) if name else next((c for c in self._classes.values() if c.get("globalDefault")), None)
        if name and chosen is None and name not in _SYSTEM_CLASSES:
            raise ValueError(f"pod {pod['metadata']['name']}: no PriorityClass with name {name} was found")
        spec["priority"] = chosen["value"] if chosen else _SYSTEM_CLASSES.get(name or "", 0)
        if chosen and chosen.get("preemptionPolicy"):
            spec.setdefault("preemptionPolicy", chosen["preemptionPolicy"])
        return pod

    # --- kinds -----------------------------------------------------------------------------------------------------------------

    def _single(self, pod: Obj) -> Iterator[Obj]:
        yield pod

    def _replicas(self, owner: Obj) -> Iterator[Obj]:
        kind = "ReplicationController" if owner["kind"] == "ReplicationController" else "ReplicaSet"
        plural = "replicationcontrollers" if kind == "ReplicationController" else "replicasets"
        self._exists(plural, {"kind": kind, "metadata": owner["metadata"], "spec": owner["spec"]})
        for n in range(owner["spec"]["replicas"]):
            yield from_template(owner, owner["spec"]["template"], f"{owner['metadata']['name']}-{n}", kind)

    def _stateful(self, owner: Obj) -> Iterator[Obj]:
        spec, meta = owner["spec"], owner["metadata"]
        self._exists("statefulsets", owner)
        first = (spec.get("ordinals") or {}).get("start") or 0
        for n in range(first, first + spec["replicas"]):
            pod = from_template(owner, spec["template"], f"{meta['name']}-{n}", "StatefulSet")
            volumes = list(pod["spec"].get("volumes") or ())
            for claim in spec.get("volumeClaimTemplates") or ():
                name = f"{claim['metadata']['name']}-{pod['metadata']['name']}"
                metadata = {**claim["metadata"], "name": name, "namespace": meta["namespace"]}
                self._exists("persistentvolumeclaims", {**claim, "metadata": metadata})
                volumes = [v for v in volumes if v["name"] != claim["metadata"]["name"]]
                volumes.append({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": name}})
            pod["spec"]["volumes"] = volumes
            yield pod

    def _job(self, owner: Obj) -> Iterator[Obj]:
        spec = owner["spec"]
        parallelism = spec.get("parallelism", 1)
        count = parallelism if spec.get("completions") is None else min(parallelism, spec["completions"])
        for n in range(count):
            yield from_template(owner, spec["template"], f"{owner['metadata']['name']}-{n}", "Job")

    def _cron(self, owner: Obj) -> Iterator[Obj]:
        template = owner["spec"]["jobTemplate"]
        yield from self._job({"kind": "Job", "metadata": owner["metadata"], "spec": template["spec"]})

    def _daemons(self, owner: Obj) -> Iterator[Obj]:
        template = owner["spec"]["template"]
        tolerations = [*(template["spec"].get("tolerations") or ()), *_DAEMON_TOLERATIONS]
        fits = required_predicate(template["spec"])
        for row in self._nodes():
            if untolerated(tolerations, row.taints, _HARD) or (fits is not None and not fits(row.name, row.labels)):
                continue
            pod = from_template(owner, template, f"{owner['metadata']['name']}-{row.name}", "DaemonSet")
            affinity = {**(pod["spec"].get("affinity") or {})}
            own = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [row.name]}]}
            required = {"nodeSelectorTerms": [own]}
            affinity["nodeAffinity"] = {
                **(affinity.get("nodeAffinity") or {}),
                "requiredDuringSchedulingIgnoredDuringExecution": required,
            }
            pod["spec"].update(affinity=affinity, tolerations=tolerations)
            yield pod


_PODS: dict[str, Callable[[Expansion, Obj], Iterator[Obj]]] = {
    "Pod": Expansion._single,
    "Deployment": Expansion._replicas,
    "ReplicaSet": Expansion._replicas,
    "ReplicationController": Expansion._replicas,
    "StatefulSet": Expansion._stateful,
    "Job": Expansion._job,
    "CronJob": Expansion._cron,
    "DaemonSet": Expansion._daemons,
}


def from_template(owner: Obj, template: Obj, name: str, kind: str) -> Obj:
    """A pod of a controller. Its spec is its own, at the first level."""
    meta = template.get("metadata") or {}
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": owner["metadata"]["name"], "uid": "", "controller": True}
    metadata = {
        "name": name,
        "namespace": owner["metadata"].get("namespace", "default"),
        "labels": meta.get("labels") or {},
        "annotations": meta.get("annotations") or {},
        "ownerReferences": [reference],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(template["spec"])}

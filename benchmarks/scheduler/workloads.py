"""What is scheduled: nodes, pods that are there first, and pods that are measured, as Kubernetes' scheduler_perf describes them.

The counts are those of the workloads with a published floor (pods a second below which its test fails); `scale` shrinks them all.
A node has 4 CPU, 32 Gi and 110 pods, a pod asks for 100m and 500 Mi, unless the workload says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Obj = dict[str, Any]

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SPECIAL = "scheduler-perf-node"
IMAGE = "registry.k8s.io/pause:3.10.1"


@dataclass(slots=True)
class Workload:
    """One case. `others` are further objects by the path of their collection; `churn` makes an object each time it is called."""

    name: str
    floor: float
    nodes: list[Obj] = field(default_factory=list)
    others: list[tuple[str, Obj]] = field(default_factory=list)
    gated: list[Obj] = field(default_factory=list)
    first: list[Obj] = field(default_factory=list)
    measured: list[Obj] = field(default_factory=list)
    #: Pods that are deleted while the measured ones are scheduled.
    deleted: list[Obj] = field(default_factory=list)
    #: Something that happens all the time: made anew each `every` measured pods, and gone again the next time if `recreated`.
    churn: Callable[[int], list[tuple[str, Obj]]] | None = None
    every: int = 100
    recreated: bool = True


def node(name: str, labels: Obj | None = None, cpu: str = "4", memory: str = "32Gi", pods: str = "110", **spec: Any) -> Obj:
    capacity = {"cpu": cpu, "memory": memory, "pods": pods}
    status = {"allocatable": capacity, "capacity": capacity, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {HOSTNAME: name, **(labels or {})}},
            "spec": spec, "status": status}  # fmt: skip


def nodes(count: int, zones: tuple[str, ...] = (), prefix: str = "node", **more: Any) -> list[Obj]:
    return [node(f"{prefix}-{i}", {ZONE: zones[i % len(zones)]} if zones else None, **more) for i in range(count)]


def pod(
    name: str, namespace: str = "default", labels: Obj | None = None, cpu: str = "100m", memory: str = "500Mi", **spec: Any
) -> Obj:
    requests = {"cpu": cpu, "memory": memory}
    container = {
        "name": "pause",
        "image": IMAGE,
        "ports": [{"containerPort": 80}],
        "resources": {"limits": requests, "requests": requests},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"containers": [container], **spec}}  # fmt: skip


def pods(count: int, prefix: str, make: Callable[..., Obj] = pod, **more: Any) -> list[Obj]:
    return [make(f"{prefix}-{i}", **more) for i in range(count)]


def namespaces(*names: str, **labels: str) -> list[tuple[str, Obj]]:
    kind = {"apiVersion": "v1", "kind": "Namespace"}
    return [
        ("/api/v1/namespaces", {**kind, "metadata": {"name": n, "labels": {"kubernetes.io/metadata.name": n, **labels}}})
        for n in names
    ]


# --- pods that want to be near or far ------------------------------------------------------------------------------------------


def term(color: str, key: str, **where: Any) -> Obj:
    return {
        "labelSelector": {"matchLabels": {"color": color}},
        "topologyKey": key,
        **(where or {"namespaces": ["sched-1", "sched-0"]}),
    }


def near(name: str, kind: str, color: str, key: str, preferred: bool = False, namespace: str = "sched-0", **where: Any) -> Obj:
    """A pod of a colour that wants its own colour near (podAffinity) or far (podAntiAffinity)."""
    wish = term(color, key, **where)
    rule = (
        {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": wish}]}
        if preferred
        else {"requiredDuringSchedulingIgnoredDuringExecution": [wish]}
    )
    return pod(name, namespace, {"color": color}, affinity={kind: rule})


ANTI = partial(near, kind="podAntiAffinity", color="green", key=HOSTNAME)
LIKES = partial(near, kind="podAffinity", color="blue", key=ZONE)
LIKES_A_LITTLE = partial(near, kind="podAffinity", color="red", key=HOSTNAME, preferred=True)
DISLIKES_A_LITTLE = partial(near, kind="podAntiAffinity", color="yellow", key=HOSTNAME, preferred=True)


def _two_namespaces(name: str, floor: float, make: Callable[..., Obj], first: int, measured: int, n: Callable[[int], int],
                    zones: tuple[str, ...] = ()) -> Workload:  # fmt: skip
    return Workload(
        name, floor, nodes(n(5000), zones), namespaces("sched-0", "sched-1"),
        first=pods(n(first), "first", make, namespace="sched-0"), measured=pods(n(measured), "measured", make, namespace="sched-1"),
    )  # fmt: skip


def _selected(name: str, floor: float, make: Callable[..., Obj], count: int, per: int, measured: int, n: Callable[[int], int],
              zones: tuple[str, ...] = ()) -> Workload:  # fmt: skip
    """A hundred namespaces that a selector means."""
    names = [f"init-ns-{i}" for i in range(n(100))]
    where = {"namespaceSelector": {"matchLabels": {"team": "devops"}}}
    first = [make(f"first-{i}", namespace=ns, **where) for ns in names for i in range(per)]
    return Workload(
        name, floor, nodes(n(count), zones), namespaces(*names, "measure-ns-0", team="devops"),
        first=first, measured=pods(n(measured), "measured", make, namespace="measure-ns-0", **where),
    )  # fmt: skip


def _mixed(n: Callable[[int], int]) -> Workload:
    kinds = {
        "plain": partial(pod, namespace="sched-0"),
        "likes": LIKES,
        "anti": ANTI,
        "little": LIKES_A_LITTLE,
        "away": DISLIKES_A_LITTLE,
    }
    first = [p for name, make in kinds.items() for p in pods(n(2000), name, make, namespace="sched-0")]  # type: ignore[operator]
    return Workload("MixedSchedulingBasePod", 140, nodes(n(5000), ("zone1",)), namespaces("sched-0"), first=first,
                    measured=pods(n(5000), "measured"))  # fmt: skip


# --- other wishes --------------------------------------------------------------------------------------------------------------


def in_zones(name: str) -> Obj:
    wanted = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}]}
    return pod(
        name, affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [wanted]}}}
    )


def on_special(name: str) -> Obj:
    wanted = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [SPECIAL]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [wanted]}}}
    return pod(name, cpu="1m", memory="1Mi", affinity=affinity)


def spread(name: str, action: str = "DoNotSchedule", key: str = ZONE, skew: int = 5, **more: Any) -> Obj:
    constraint = {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": action,
        "labelSelector": {"matchLabels": {"color": "blue"}},
        **more,
    }
    return pod(name, labels={"color": "blue"}, topologySpreadConstraints=[constraint])


def gated(name: str, **spec: Any) -> Obj:
    return pod(name, schedulingGates=[{"name": "test.k8s.io/hold"}], **spec)


def gated_and_near(name: str) -> Obj:
    wish = {"labelSelector": {"matchLabels": {"app": "test"}}, "topologyKey": HOSTNAME}
    return gated(name, affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [wish]}})


def special_node() -> Obj:
    return node(SPECIAL, cpu="100000", memory="100000Gi", pods="100000")


def secret(name: str) -> Obj:
    volumes = [{"name": "secret", "secret": {"secretName": "secret"}}]
    return pod(name, volumes=volumes)


MOONS = ("moon-1", "moon-2", "moon-3")


# --- volumes and devices -------------------------------------------------------------------------------------------------------


def _volumes(
    name: str, floor: float, source: Callable[[str], Obj], first: int, measured: int, n: Callable[[int], int]
) -> Workload:
    """Pods with a claim each, bound to a volume already."""
    made: list[tuple[str, Obj]] = []

    def with_claim(pod_name: str) -> Obj:
        size, modes = {"storage": "1Gi"}, ["ReadOnlyMany"]
        claim = f"pvc-{pod_name}"
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"pv-{pod_name}"},
                  "spec": {"accessModes": modes, "capacity": size, "persistentVolumeReclaimPolicy": "Retain", **source(f"pv-{pod_name}"),
                           "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "default", "name": claim, "uid": claim}},
                  "status": {"phase": "Bound"}}  # fmt: skip
        bound = {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                 "metadata": {"name": claim, "namespace": "default", "uid": claim, "annotations": {"pv.kubernetes.io/bind-completed": "true"}},
                 "spec": {"accessModes": modes, "resources": {"requests": size}, "volumeName": volume["metadata"]["name"],
                          "storageClassName": "", "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}}  # fmt: skip
        made.extend((("/api/v1/persistentvolumes", volume), ("/api/v1/namespaces/default/persistentvolumeclaims", bound)))
        return pod(pod_name, volumes=[{"name": "vol", "persistentVolumeClaim": {"claimName": claim}}])

    out = Workload(
        name, floor, nodes(n(5000)), first=pods(n(first), "first", with_claim), measured=pods(n(measured), "measured", with_claim)
    )
    drivers = [{"name": "ebs.csi.aws.com", "nodeID": "n", "topologyKeys": [], "allocatable": {"count": 39}}]
    for each in out.nodes:
        migrated = {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"}
        meta = {"name": each["metadata"]["name"], "annotations": migrated}
        made.append(("/apis/storage.k8s.io/v1/csinodes", {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": meta,
                                                          "spec": {"drivers": drivers}}))  # fmt: skip
    out.others = made
    return out


def _ebs(name: str) -> Obj:
    return {"awsElasticBlockStore": {"volumeID": name, "fsType": "ext4"}}


def _csi(name: str) -> Obj:
    return {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": name}}


def _devices(name: str, floor: float, first: int, measured: int, taken: int, n: Callable[[int], int]) -> Workload:
    """A claim of one device for each pod; ten devices on each of 500 nodes, of which `taken` are allocated to claims of nobody."""
    group, driver, device_class = "resource.k8s.io/v1", "test-driver.cdi.k8s.io", "test-class"
    base = "/apis/resource.k8s.io/v1"
    out = Workload(name, floor, nodes(n(500)))
    selector = [{"cel": {"expression": f"device.driver == '{driver}'"}}]
    out.others.append((f"{base}/deviceclasses", {"apiVersion": group, "kind": "DeviceClass", "metadata": {"name": device_class},
                                                 "spec": {"selectors": selector}}))  # fmt: skip
    for each in out.nodes:
        where = each["metadata"]["name"]
        spec = {"driver": driver, "nodeName": where, "pool": {"name": where, "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": f"d{i}"} for i in range(10)]}  # fmt: skip
        out.others.append(
            (f"{base}/resourceslices", {"apiVersion": group, "kind": "ResourceSlice", "metadata": {"name": where}, "spec": spec})
        )

    def claim(claim_name: str) -> Obj:
        request = {"name": "req-0", "exactly": {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": 1}}
        made = {"apiVersion": group, "kind": "ResourceClaim", "metadata": {"name": claim_name, "namespace": "default", "uid": claim_name},
                "spec": {"devices": {"requests": [request]}}}  # fmt: skip
        out.others.append((f"{base}/namespaces/default/resourceclaims", made))
        return made

    def with_claim(pod_name: str) -> Obj:
        claim(f"claim-{pod_name}")
        own = {"name": "pause", "image": IMAGE, "resources": {"claims": [{"name": "r"}]}}
        made = pod(pod_name, resourceClaims=[{"name": "r", "resourceClaimName": f"claim-{pod_name}"}])
        made["spec"]["containers"] = [own]
        return made

    for i in range(n(taken)):
        where = out.nodes[i % len(out.nodes)]["metadata"]["name"]
        result = {"request": "req-0", "driver": driver, "pool": where, "device": f"d{i // len(out.nodes)}"}
        terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [where]}]}]
        claim(f"taken-{i}")["status"] = {
            "allocation": {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": terms}}
        }
    out.first, out.measured = pods(n(first), "first", with_claim), pods(n(measured), "measured", with_claim)
    return out


# --- preemption, backlog, churn ------------------------------------------------------------------------------------------------


def _preemption(name: str, floor: float, n: Callable[[int], int], count: int, asynchronous: bool) -> Workload:
    """Full nodes, four pods each; what preempts is measured itself, or goes on beside ordinary pods (async)."""
    low = pods(n(4 * count), "low", cpu="900m", memory="500Mi", priority=0, terminationGracePeriodSeconds=0)
    important = partial(pod, cpu="3", memory="500Mi", priority=100)
    classes: list[tuple[str, Obj]] = [
        ("/apis/scheduling.k8s.io/v1/priorityclasses",
         {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high-100"}, "value": 100})
    ]  # fmt: skip
    out = Workload(name, floor, nodes(n(count)), classes, first=low)
    if not asynchronous:
        out.measured = pods(n(count), "high", important)
        return out
    out.measured = pods(n(count), "measured", cpu="1m", memory="1Mi")
    out.churn = lambda i: [("/api/v1/namespaces/default/pods", important(f"preemptor-{i}"))]
    out.every, out.recreated = 40, False
    return out


def _backlog(n: Callable[[int], int]) -> Workload:
    """Pods that fit nowhere keep coming."""
    out = Workload("Unschedulable", 140, nodes(n(5000)), first=pods(100, "first"), measured=pods(n(10000), "measured"))
    out.churn = lambda i: [("/api/v1/namespaces/default/pods", pod(f"huge-{i}", cpu="9", memory="500Mi"))]
    out.every, out.recreated = 50, False
    return out


def _mixed_churn(n: Callable[[int], int]) -> Workload:
    """A node, a service and an important pod that fits nowhere come and go."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default"},
        "spec": {"selector": {"app": "foo"}, "ports": [{"port": 8080}]},
    }

    def made(i: int) -> list[tuple[str, Obj]]:
        named = {**service, "metadata": {"name": f"churn-{i}", "namespace": "default"}}
        return [
            ("/api/v1/nodes", node(f"churn-{i}")),
            ("/api/v1/namespaces/default/services", named),
            ("/api/v1/namespaces/default/pods", pod(f"churn-{i}", cpu="9", memory="500Mi", priority=10)),
        ]

    return Workload("SchedulingWithMixedChurn", 265, nodes(n(5000)), measured=pods(n(10000), "measured"), churn=made, every=270)


# --- the list ------------------------------------------------------------------------------------------------------------------

Make = Callable[[Callable[[int], int]], Workload]


def _nodes_5000(name: str, floor: float, first: int, measured: int, make: Callable[..., Obj], zones: tuple[str, ...] = (),
                plain_first: bool = False, others: list[tuple[str, Obj]] | None = None) -> Make:  # fmt: skip
    def build(n: Callable[[int], int]) -> Workload:
        before = pods(n(first), "first", pod if plain_first else make)
        return Workload(
            name, floor, nodes(n(5000), zones), others or [], first=before, measured=pods(n(measured), "measured", make)
        )

    return build


def _matching(n: Callable[[int], int]) -> Workload:
    out = _two_namespaces("SchedulingPodMatchingAntiAffinity", 600, ANTI, 1000, 5000, n)
    out.measured = pods(n(5000), "measured", partial(pod, namespace="sched-1", labels={"color": "green"}))
    return out


def _gated_near(n: Callable[[int], int]) -> Workload:
    return Workload("SchedulingGatedPodsWithPodAffinity", 110, [special_node()], gated=pods(n(10000), "gated", gated_and_near),
                    measured=pods(n(20000), "measured", cpu="1m", memory="1Mi"))  # fmt: skip


def _while_gated(n: Callable[[int], int]) -> Workload:
    small = {"cpu": "1m", "memory": "1Mi"}
    before = pods(n(20000), "deleted", **small)
    return Workload("SchedulingWhileGated", 130, [special_node()], gated=pods(n(10000), "gated", gated), first=before, deleted=before,
                    measured=pods(n(20000), "measured", **small))  # fmt: skip


def _daemons(n: Callable[[int], int]) -> Workload:
    return Workload(
        "SchedulingDaemonset", 390, [special_node(), *nodes(n(15000))], measured=pods(n(30000), "measured", on_special)
    )


def _inclusion(n: Callable[[int], int]) -> Workload:
    tainted = nodes(n(1000), prefix="tainted", taints=[{"key": "foo", "effect": "NoSchedule"}])
    make = partial(spread, key=HOSTNAME, skew=1, nodeTaintsPolicy="Honor")
    return Workload(
        "SchedulingWithNodeInclusionPolicy", 68, [*nodes(n(4000)), *tainted], measured=pods(n(4000), "measured", make)
    )


def _default_spread(n: Callable[[int], int]) -> Workload:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "service", "namespace": "default"},
               "spec": {"selector": {"app": "scheduler-perf"}, "ports": [{"port": 80}]}}  # fmt: skip
    labelled = partial(pod, labels={"app": "scheduler-perf"})
    return Workload("DefaultTopologySpreading", 0, nodes(n(5000), MOONS), [("/api/v1/namespaces/default/services", service)],
                    first=pods(n(5000), "first"), measured=pods(n(10000), "measured", labelled))  # fmt: skip


def _large(n: Callable[[int], int]) -> Workload:
    return Workload("10,000 nodes, 100,000 pods", 0, nodes(n(10000), MOONS), measured=pods(n(100000), "measured"))


WORKLOADS: dict[str, Make] = {
    "SchedulingBasic": _nodes_5000("SchedulingBasic", 270, 1000, 10000, pod),
    "SchedulingNodeAffinity": _nodes_5000("SchedulingNodeAffinity", 220, 5000, 10000, in_zones, ("zone1",)),
    "SchedulingPodAntiAffinity": lambda n: _two_namespaces("SchedulingPodAntiAffinity", 60, ANTI, 1000, 2000, n),
    "SchedulingPodMatchingAntiAffinity": _matching,
    "SchedulingPodAffinity": lambda n: _two_namespaces("SchedulingPodAffinity", 35, LIKES, 5000, 5000, n, ("zone1",)),
    "SchedulingPreferredPodAffinity": lambda n: _two_namespaces("SchedulingPreferredPodAffinity", 90, LIKES_A_LITTLE, 5000, 5000, n),
    "SchedulingPreferredPodAntiAffinity": lambda n: _two_namespaces(
        "SchedulingPreferredPodAntiAffinity", 90, DISLIKES_A_LITTLE, 5000, 5000, n
    ),
    "MixedSchedulingBasePod": _mixed,
    "RequiredPodAntiAffinityWithNSSelector": lambda n: _selected(
        "RequiredPodAntiAffinityWithNSSelector", 24, ANTI, 6000, 40, 2000, n
    ),
    "PreferredAntiAffinityWithNSSelector": lambda n: _selected(
        "PreferredAntiAffinityWithNSSelector", 55, DISLIKES_A_LITTLE, 5000, 40, 2000, n
    ),
    "RequiredPodAffinityWithNSSelector": lambda n: _selected(
        "RequiredPodAffinityWithNSSelector", 35, LIKES, 5000, 50, 2000, n, ("zone1",)
    ),
    "PreferredAffinityWithNSSelector": lambda n: _selected(
        "PreferredAffinityWithNSSelector", 90, LIKES_A_LITTLE, 5000, 50, 5000, n
    ),
    "SchedulingGatedPodsWithPodAffinity": _gated_near,
    "SchedulingWhileGated": _while_gated,
    "SchedulingDaemonset": _daemons,
    "TopologySpreading": _nodes_5000("TopologySpreading", 85, 5000, 5000, spread, MOONS, plain_first=True),
    "PreferredTopologySpreading": _nodes_5000(
        "PreferredTopologySpreading", 125, 5000, 5000, partial(spread, action="ScheduleAnyway"), MOONS, plain_first=True
    ),
    "DefaultTopologySpreading": _default_spread,
    "SchedulingWithNodeInclusionPolicy": _inclusion,
    "PreemptionBasic": lambda n: _preemption("PreemptionBasic", 0, n, 500, False),
    "PreemptionAsync": lambda n: _preemption("PreemptionAsync", 160, n, 5000, True),
    "Unschedulable": _backlog,
    "SchedulingWithMixedChurn": _mixed_churn,
    "SchedulingSecrets": _nodes_5000(
        "SchedulingSecrets", 260, 1000, 10000, secret,
        others=[("/api/v1/namespaces/default/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret", "namespace": "default"}})],
    ),
    "SchedulingInTreePVs": lambda n: _volumes("SchedulingInTreePVs", 90, _ebs, 1000, 2000, n),
    "SchedulingMigratedInTreePVs": lambda n: _volumes("SchedulingMigratedInTreePVs", 35, _ebs, 5000, 5000, n),
    "SchedulingCSIPVs": lambda n: _volumes("SchedulingCSIPVs", 48, _csi, 5000, 5000, n),
    "SchedulingWithResourceClaims": lambda n: _devices("SchedulingWithResourceClaims", 56, 2500, 2400, 0, n),
    "SteadyStateResourceClaims": lambda n: _devices("SteadyStateResourceClaims", 70, 0, 2000, 2500, n),
    "Large": _large,
}  # fmt: skip


def build(name: str, scale: float = 1.0) -> Workload:
    """A workload at its full counts, or at a share of them."""
    return WORKLOADS[name](lambda count: max(1, round(count * scale)))


def everything(scale: float = 1.0) -> Iterator[Workload]:
    for name in WORKLOADS:
        yield build(name, scale)

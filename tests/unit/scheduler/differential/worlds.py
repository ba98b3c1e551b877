"""Random small clusters: every rule of every plugin has a part to play, and most pods have a chance.

Hypothesis draws a seed, sizes and features; everything else follows from the seed, each node and pod by its own name, so that fewer of them
are still the same ones. Drawing all of it one by one took fifty times as long.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

Obj = dict[str, Any]

#: Examples of each test; `make differential` tries 10,000.
EXAMPLES = int(os.environ.get("PILOTHOUSE_EXAMPLES", "150"))
examples = settings(max_examples=EXAMPLES)

NAMESPACES: dict[str, dict[str, str]] = {"blue": {"team": "one"}, "red": {"team": "two"}}
IMAGES = {"big:1": 600_000_000, "middle:latest": 90_000_000, "small:1": 10_000_000}

_TAINTS = [
    {"key": "dedicated", "value": "db", "effect": "NoSchedule"},
    {"key": "dedicated", "value": "web", "effect": "NoExecute"},
    {"key": "spot", "value": "", "effect": "PreferNoSchedule"},
    {"key": "old", "value": "yes", "effect": "PreferNoSchedule"},
]
_TOLERATIONS: list[Obj] = [
    {"operator": "Exists"},
    {"key": "dedicated", "operator": "Exists"},
    {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"},
    {"key": "dedicated", "value": "web"},
    {"key": "spot", "operator": "Exists", "effect": "PreferNoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
]
_EXPRESSIONS: list[Obj] = [
    {"key": "disk", "operator": "In", "values": ["ssd", "nvme"]},
    {"key": "disk", "operator": "NotIn", "values": ["hdd"]},
    {"key": "zone", "operator": "Exists"},
    {"key": "disk", "operator": "DoesNotExist"},
    {"key": "rank", "operator": "Gt", "values": ["4"]},
    {"key": "rank", "operator": "Lt", "values": ["6"]},
]
_SELECTORS: list[Obj] = [
    {"matchLabels": {"app": "x"}},
    {"matchLabels": {"app": "y"}},
    {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]},
    {},
]
_KEYS = ["zone", "kubernetes.io/hostname", "disk"]


def few(rng: Random, choices: list[Any], most: int = 2, least: int = 0) -> list[Any]:
    """A few different ones."""
    return rng.sample(choices, rng.randint(least, min(most, len(choices))))


def nodes(rng: Random, name: str) -> Obj:
    labels = {"kubernetes.io/hostname": name}
    for key, values in (
        ("zone", ["1", "2", "2", "3", None]),
        ("disk", ["ssd", "ssd", "hdd", None]),
        ("rank", ["1", "5", "9", None]),
    ):
        value = rng.choice(values)
        if value is not None:
            labels[key] = value
    allocatable = {
        "cpu": rng.choice(["8", "8", "4", "2500m", "1", "0"]),
        "memory": rng.choice(["16Gi", "8Gi", "3Gi", "1Gi"]),
        "pods": rng.choice(["10", "10", "10", "3", "1"]),
    }
    gpus = rng.choice([None, "1", "4"])
    if gpus:
        allocatable["example.com/gpu"] = gpus
    images = few(rng, list(IMAGES), 3)
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [t for t in _TAINTS if rng.randint(0, 4) == 0], "unschedulable": rng.randint(0, 9) == 0},
        "status": {"allocatable": allocatable, "images": [{"names": [i], "sizeBytes": IMAGES[i]} for i in images]},
    }


def _terms(rng: Random) -> Obj:
    term: Obj = {"topologyKey": rng.choice(_KEYS), "labelSelector": rng.choice(_SELECTORS)}
    namespaces = rng.choice([None, ["blue"], ["blue", "red"]])
    if namespaces is not None:
        term["namespaces"] = namespaces
    selector = rng.choice([None, None, {}, {"matchLabels": {"team": "two"}}])
    if selector is not None:
        term["namespaceSelector"] = selector
    return term


def _near_or_far(rng: Random) -> Obj:
    out: Obj = {}
    required = [_terms(rng) for _ in range(rng.randint(0, 2))]
    preferred = [(rng.randint(1, 100), _terms(rng)) for _ in range(rng.randint(0, 2))]
    if required:
        out["requiredDuringSchedulingIgnoredDuringExecution"] = required
    if preferred:
        out["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": w, "podAffinityTerm": t} for w, t in preferred]
    return out


def _node_affinity(rng: Random) -> Obj:
    out: Obj = {}
    terms = [{"matchExpressions": e} for e in (few(rng, _EXPRESSIONS, least=1) for _ in range(rng.randint(0, 2)))]
    if rng.randint(0, 4) == 0:
        terms.append({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [rng.choice(["n0", "n1"])]}]})
    if terms:
        out["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    preferred = [(rng.randint(1, 100), few(rng, _EXPRESSIONS, least=1)) for _ in range(rng.randint(0, 2))]
    if preferred:
        out["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": w, "preference": {"matchExpressions": e}} for w, e in preferred
        ]
    return out


def _spread(rng: Random) -> Obj:
    hard = rng.random() < 0.5
    out: Obj = {
        "maxSkew": rng.randint(1, 3),
        "topologyKey": rng.choice(_KEYS),
        "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        "labelSelector": rng.choice(_SELECTORS),
    }
    if hard and rng.random() < 0.5:
        out["minDomains"] = rng.randint(1, 3)
    for field_name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = rng.choice([None, "Honor", "Ignore"])
        if policy:
            out[field_name] = policy
    if rng.randint(0, 3) == 0:
        out["matchLabelKeys"] = ["version"]
    return out


#: What a pod may ask for, besides resources.
FEATURES = ("near or far", "node affinity", "tolerations", "node selector", "spread", "ports")


def pods(rng: Random, name: str, features: tuple[str, ...] = FEATURES, surely: bool = False) -> Obj:
    """A pod with some of these features, or with all of them."""
    wanted = features if surely else [f for f in features if rng.randint(0, 2) == 0]
    labels = {k: v for k, v in (("app", rng.choice(["x", "x", "y", None])), ("version", rng.choice(["1", None]))) if v}
    meta: Obj = {"name": name, "namespace": rng.choice(["blue", "blue", "red"]), "labels": labels, "uid": name}
    ports = "ports" in wanted
    containers = [_containers(rng, ports)] + ([_containers(rng, False)] if rng.randint(0, 3) == 0 else [])
    spec: Obj = {"containers": containers, "schedulerName": "default-scheduler", "priority": rng.choice([0, 0, 5, 9])}
    affinity: Obj = {}
    if "near or far" in wanted:
        for kind in rng.choice([("podAffinity",), ("podAntiAffinity",), ("podAffinity", "podAntiAffinity")]):
            affinity[kind] = _near_or_far(rng)
    if "node affinity" in wanted:
        affinity["nodeAffinity"] = _node_affinity(rng)
    if affinity:
        spec["affinity"] = affinity
    if "tolerations" in wanted:
        spec["tolerations"] = few(rng, _TOLERATIONS, least=1)
    if "node selector" in wanted:
        spec["nodeSelector"] = rng.choice([{"disk": "ssd"}, {"zone": "1"}])
    if "spread" in wanted:
        spec["topologySpreadConstraints"] = [_spread(rng) for _ in range(rng.randint(1, 2))]
    if name != NEWCOMER and rng.randint(0, 6) == 0:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": meta, "spec": spec, "status": {"startTime": f"2026-01-01T00:00:{rng.randint(10, 59)}Z"}}


def _containers(rng: Random, ports: bool) -> Obj:
    requests: Obj = {}
    for resource, amounts in (
        ("cpu", [None, "100m", "500m", "1"]),
        ("memory", [None, "64Mi", "1Gi"]),
        ("example.com/gpu", [None] * 7 + ["1"]),
    ):
        amount = rng.choice(amounts)
        if amount:
            requests[resource] = amount
    out: Obj = {
        "name": "c",
        "image": rng.choice(["big:1", "middle", "small:1", "none:1"]),
        "resources": {"requests": requests},
    }
    if ports:
        address = rng.choice(["", "10.0.0.1", "10.0.0.2"])
        out["ports"] = [{"containerPort": 80, "hostPort": rng.choice([80, 81]), "protocol": "TCP", "hostIP": address}]
    return out


@dataclass(slots=True)
class World:
    """Nodes by name, the pods on them, services, and a pod that comes."""

    nodes: dict[str, Obj] = field(default_factory=dict)
    bound: list[tuple[str, Obj]] = field(default_factory=list)  # node, pod
    services: list[Obj] = field(default_factory=list)
    pod: Obj = field(default_factory=dict)

    def on(self, node: str) -> list[Obj]:
        return [pod for where, pod in self.bound if where == node]


NEWCOMER = "newcomer"
#: For each plugin the features that give it something to do.
FOCUS: dict[str, tuple[str, ...]] = {
    "TaintToleration": ("tolerations",),
    "NodeUnschedulable": ("tolerations",),
    "NodeAffinity": ("node affinity",),
    "NodePorts": ("ports",),
    "PodTopologySpread": ("spread",),
    "InterPodAffinity": ("near or far",),
}


SEEDS = st.integers(0, 2**32 - 1)


def seeded(seed: int, name: str) -> Random:
    """A source of randomness for one thing of a world."""
    return Random(f"{seed}/{name}")


@st.composite
def worlds(draw: st.DrawFn, focus: str = "") -> World:
    """A cluster and a newcomer: one with many wishes, or with those that a plugin is about (half of the time with no others)."""
    seed = draw(SEEDS)
    names = [f"n{i}" for i in range(draw(st.sampled_from(range(1, 7))))]
    world = World({name: nodes(seeded(seed, name), name) for name in names})
    there = FOCUS.get(focus, ()) if focus in ("InterPodAffinity", "NodePorts") else ()
    for i in range(draw(st.sampled_from(range(9)))):
        rng = seeded(seed, f"p{i}")
        world.bound.append((rng.choice(names), pods(rng, f"p{i}", there or ("near or far", "ports"), bool(there))))
    rng = seeded(seed, NEWCOMER)
    if draw(st.booleans()):
        world.services = [{"metadata": {"name": "s", "namespace": "blue"}, "spec": {"selector": {"app": "x"}}}]
    if focus and draw(st.booleans()):
        world.pod = pods(rng, NEWCOMER, FOCUS.get(focus, ()), surely=True)
    else:
        world.pod = pods(rng, NEWCOMER, (*FOCUS.get(focus, ()), *FEATURES))
    return world

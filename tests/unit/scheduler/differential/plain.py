"""Each plugin's rule, read plainly: one node at a time, pods counted one by one, nothing kept. What the columns are held against.

`FILTERS[plugin](world, node)` says whether the newcomer may not run there; `SCORES[plugin](world, finalists)` gives the normalised scores, None where
the plugin has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from pilothouse.api import quantity

from .worlds import IMAGES, NAMESPACES, World

Obj = dict[str, Any]
HOSTNAME = "kubernetes.io/hostname"


# --- selectors, tolerations, terms ---------------------------------------------------------------------------------------------


def selected(selector: Obj | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(e, labels) for e in selector.get("matchExpressions") or ())


def _expression(e: Obj, labels: dict[str, str]) -> bool:
    key, operator, values = e["key"], e["operator"], e.get("values") or []
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if key not in labels:
        return False
    return int(labels[key]) > int(values[0]) if operator == "Gt" else int(labels[key]) < int(values[0])


def tolerated(pod: Obj, taint: Obj) -> bool:
    for t in pod["spec"].get("tolerations") or ():
        if t.get("effect", taint["effect"]) not in ("", taint["effect"]):
            continue
        if t.get("operator") == "Exists":
            if t.get("key", "") in ("", taint["key"]):
                return True
        elif t.get("key") == taint["key"] and t.get("value", "") == taint.get("value", ""):
            return True
    return False


def wants_node(pod: Obj, node: Obj) -> bool:
    """spec.nodeSelector and required node affinity."""
    labels = node["metadata"]["labels"]
    if any(labels.get(k) != v for k, v in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is None:
        return True
    return any(node_term(t, node) for t in affinity["nodeSelectorTerms"])


def node_term(term: Obj, node: Obj) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    named = all(node["metadata"]["name"] in f["values"] for f in fields)
    return named and all(_expression(e, node["metadata"]["labels"]) for e in expressions)


def term_means(term: Obj, owner: Obj, other: Obj) -> bool:
    """Whether a pod affinity term of `owner` means the pod `other`."""
    namespace = other["metadata"]["namespace"]
    names = term.get("namespaces") or []
    by_labels = term.get("namespaceSelector")
    if not names and by_labels is None:
        names = [owner["metadata"]["namespace"]]
    if namespace not in names and not (by_labels is not None and selected(by_labels, NAMESPACES[namespace])):
        return False
    return selected(term.get("labelSelector"), other["metadata"]["labels"])


def terms(pod: Obj, kind: str) -> list[Obj]:
    return ((pod["spec"].get("affinity") or {}).get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or []


def liked(pod: Obj, kind: str) -> list[tuple[int, Obj]]:
    listed = ((pod["spec"].get("affinity") or {}).get(kind) or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or []
    return [(p["weight"], p["podAffinityTerm"]) for p in listed]


def together(world: World, a: str, b: str, key: str) -> bool:
    """Whether two nodes are in one domain."""
    one, other = world.nodes[a]["metadata"]["labels"], world.nodes[b]["metadata"]["labels"]
    return key in one and key in other and one[key] == other[key]


def asked(pod: Obj, stand_ins: bool = False) -> dict[str, int]:
    total: dict[str, int] = {}
    for c in pod["spec"]["containers"]:
        requests = dict(c["resources"]["requests"])
        if stand_ins:
            requests.setdefault("cpu", "100m")
            requests.setdefault("memory", "200Mi")
        for r, text in requests.items():
            total[r] = total.get(r, 0) + (quantity.milli_value(text) if r == "cpu" else quantity.value(text))
    return total


def capacity(node: Obj, resource: str) -> int:
    text = node["status"]["allocatable"].get(resource, "0")
    return quantity.milli_value(text) if resource == "cpu" else quantity.value(text)


def used(world: World, node: str, resource: str, stand_ins: bool = False) -> int:
    return sum(asked(p, stand_ins).get(resource, 0) for p in world.on(node))


# --- filters -------------------------------------------------------------------------------------------------------------------


def node_unschedulable(world: World, node: Obj) -> bool:
    taint = {"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}
    return bool(node["spec"].get("unschedulable")) and not tolerated(world.pod, taint)


def taint_toleration(world: World, node: Obj) -> bool:
    return any(t["effect"] in ("NoSchedule", "NoExecute") and not tolerated(world.pod, t) for t in node["spec"]["taints"])


def node_affinity(world: World, node: Obj) -> bool:
    return not wants_node(world.pod, node)


def node_ports(world: World, node: Obj) -> bool:
    def ports(pod: Obj) -> list[tuple[str, int, str]]:
        listed = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
        return [(p["hostIP"] or "0.0.0.0", p["hostPort"], p["protocol"]) for p in listed]

    return any(
        mine[1:] == theirs[1:] and (mine[0] == theirs[0] or "0.0.0.0" in (mine[0], theirs[0]))
        for other in world.on(node["metadata"]["name"])
        for mine in ports(world.pod)
        for theirs in ports(other)
    )


def node_resources_fit(world: World, node: Obj) -> bool:
    name = node["metadata"]["name"]
    if len(world.on(name)) + 1 > capacity(node, "pods"):
        return True
    return any(v > 0 and v + used(world, name, r) > capacity(node, r) for r, v in asked(world.pod).items())


def pod_topology_spread(world: World, node: Obj) -> bool:
    hard = [c for c in world.pod["spec"].get("topologySpreadConstraints") or () if c["whenUnsatisfiable"] == "DoNotSchedule"]
    labels = node["metadata"]["labels"]
    if any(c["topologyKey"] not in labels for c in hard):
        return True
    for c in hard:
        counts: dict[str, int] = {}
        for name, other in world.nodes.items():
            theirs = other["metadata"]["labels"]
            if all(h["topologyKey"] in theirs for h in hard) and included(world.pod, c, other):
                domain = theirs[c["topologyKey"]]
                counts[domain] = counts.get(domain, 0) + matching(world, c, name)
        lowest = min(counts.values(), default=0)
        if len(counts) < c.get("minDomains", 1):
            lowest = 0
        here = counts.get(labels[c["topologyKey"]], 0)
        itself = selected(spread_selector(world.pod, c), world.pod["metadata"]["labels"])
        if here + itself - lowest > c["maxSkew"]:
            return True
    return False


def included(pod: Obj, c: Obj, node: Obj) -> bool:
    if c.get("nodeAffinityPolicy", "Honor") == "Honor" and not wants_node(pod, node):
        return False
    bad = [t for t in node["spec"]["taints"] if t["effect"] in ("NoSchedule", "NoExecute") and not tolerated(pod, t)]
    return not (c.get("nodeTaintsPolicy", "Ignore") == "Honor" and bad)


def spread_selector(pod: Obj, c: Obj) -> Obj:
    own = pod["metadata"]["labels"]
    more = [{"key": k, "operator": "In", "values": [own[k]]} for k in c.get("matchLabelKeys") or () if k in own]
    return {**c["labelSelector"], "matchExpressions": [*(c["labelSelector"].get("matchExpressions") or ()), *more]}


def matching(world: World, c: Obj, node: str) -> int:
    selector = spread_selector(world.pod, c)
    return sum(
        1
        for p in world.on(node)
        if p["metadata"]["namespace"] == world.pod["metadata"]["namespace"]
        and "deletionTimestamp" not in p["metadata"]
        and selected(selector, p["metadata"]["labels"])
    )


def inter_pod_affinity(world: World, node: Obj) -> bool:
    name, labels, pod = node["metadata"]["name"], node["metadata"]["labels"], world.pod
    wanted = terms(pod, "podAffinity")
    friends = [(where, p) for where, p in world.bound if all(term_means(t, pod, p) for t in wanted)]
    counted = any(t["topologyKey"] in world.nodes[where]["metadata"]["labels"] for where, _ in friends for t in wanted)
    alone = not counted and all(term_means(t, pod, pod) for t in wanted)
    for t in wanted:
        if t["topologyKey"] not in labels:
            return True
        if not alone and not any(together(world, name, where, t["topologyKey"]) for where, _ in friends):
            return True
    for t in terms(pod, "podAntiAffinity"):
        if any(term_means(t, pod, p) and together(world, name, where, t["topologyKey"]) for where, p in world.bound):
            return True
    return any(
        term_means(t, p, pod) and together(world, name, where, t["topologyKey"])
        for where, p in world.bound
        for t in terms(p, "podAntiAffinity")
    )


FILTERS: dict[str, Callable[[World, Obj], bool]] = {
    "NodeUnschedulable": node_unschedulable,
    "TaintToleration": taint_toleration,
    "NodeAffinity": node_affinity,
    "NodePorts": node_ports,
    "NodeResourcesFit": node_resources_fit,
    "PodTopologySpread": pod_topology_spread,
    "InterPodAffinity": inter_pod_affinity,
}


def feasible(world: World) -> list[str]:
    return [name for name, node in world.nodes.items() if not any(refuses(world, node) for refuses in FILTERS.values())]


# --- scores --------------------------------------------------------------------------------------------------------------------

Scores = dict[str, int]


def taint_toleration_score(world: World, finalists: list[str]) -> Scores:
    soft = {
        n: sum(t["effect"] == "PreferNoSchedule" and not _softly(world.pod, t) for t in world.nodes[n]["spec"]["taints"])
        for n in finalists
    }
    most = max(soft.values())
    return {n: 100 - 100 * v // most if most else 100 for n, v in soft.items()}


def _softly(pod: Obj, taint: Obj) -> bool:
    listed = [t for t in pod["spec"].get("tolerations") or () if t.get("effect", "") in ("", "PreferNoSchedule")]
    return tolerated({"spec": {"tolerations": listed}}, taint)


def node_affinity_score(world: World, finalists: list[str]) -> Scores | None:
    affinity = (world.pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution")
    if not preferred:
        return None
    raw = {n: sum(p["weight"] for p in preferred if node_term(p["preference"], world.nodes[n])) for n in finalists}
    most = max(raw.values())
    return {n: 100 * v // most if most else 0 for n, v in raw.items()}


def least_allocated(world: World, finalists: list[str]) -> Scores:
    out = {}
    for n in finalists:
        parts = []
        for r in ("cpu", "memory"):
            total = capacity(world.nodes[n], r)
            wanted = used(world, n, r, stand_ins=True) + asked(world.pod, stand_ins=True)[r]
            if total:
                parts.append(0 if wanted > total else (total - wanted) * 100 // total)
        out[n] = sum(parts) // len(parts) if parts else 0
    return out


def balanced_allocation(world: World, finalists: list[str]) -> Scores | None:
    wanted = asked(world.pod)
    if not any(wanted.get(r) for r in ("cpu", "memory")):
        return None

    def balance(n: str, more: bool) -> int:
        parts = []
        for r in ("cpu", "memory"):
            total = capacity(world.nodes[n], r)
            if total:
                parts.append(min((used(world, n, r) + (wanted.get(r, 0) if more else 0)) / total, 1.0))
        sigma = abs(parts[0] - parts[1]) / 2 if len(parts) == 2 else 0.0
        return int((1 - sigma) * 100)

    return {n: 50 + (50 + balance(n, True) - balance(n, False)) // 2 for n in finalists}


def image_locality(world: World, finalists: list[str]) -> Scores:
    containers = world.pod["spec"]["containers"]

    def has(n: str, image: str) -> bool:
        return any(image in i["names"] for i in world.nodes[n]["status"]["images"])

    out = {}
    for n in finalists:
        total = 0
        for c in containers:
            image = c["image"] if ":" in c["image"] else c["image"] + ":latest"
            if has(n, image):
                total += int(IMAGES[image] * (sum(has(m, image) for m in world.nodes) / len(world.nodes)))
        low, high = 23 * 2**20, 1000 * 2**20 * len(containers)
        out[n] = 100 * (min(max(total, low), high) - low) // (high - low)
    return out


def spread_score(world: World, finalists: list[str]) -> Scores | None:
    own = world.pod["spec"].get("topologySpreadConstraints") or []
    soft = [c for c in own if c["whenUnsatisfiable"] == "ScheduleAnyway"]
    if not own:
        soft = _defaults(world)
    if not soft:
        return None
    keys = [c["topologyKey"] for c in soft]

    def has_all(n: str) -> bool:
        return not own or all(k in world.nodes[n]["metadata"]["labels"] for k in keys)

    taking_part = [n for n in finalists if has_all(n)]
    raw = {n: math.floor(sum(_soft(world, c, n, taking_part, has_all) for c in soft) + 0.5) for n in taking_part}
    most, least = max(raw.values(), default=0), min(raw.values(), default=0)
    out = {n: 100 * (most + least - v) // most if most else 100 for n, v in raw.items()}
    return {n: out.get(n, 0) for n in finalists}


def _defaults(world: World) -> list[Obj]:
    """For a pod of a service: hostname and zone. Nodes in these worlds have no zone of that name."""
    mine = [
        s["spec"]["selector"]
        for s in world.services
        if s["metadata"]["namespace"] == world.pod["metadata"]["namespace"]
        and selected({"matchLabels": s["spec"]["selector"]}, world.pod["metadata"]["labels"])
    ]
    if not mine:
        return []
    base = {"whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": mine[0]}}
    return [{**base, "topologyKey": HOSTNAME, "maxSkew": 3}, {**base, "topologyKey": "topology.kubernetes.io/zone", "maxSkew": 5}]


def _soft(world: World, c: Obj, node: str, taking_part: list[str], has_all: Callable[[str], bool]) -> float:
    key = c["topologyKey"]
    labels = {n: world.nodes[n]["metadata"]["labels"] for n in world.nodes}
    if key not in labels[node]:
        return 0.0
    if key == HOSTNAME:
        count, size = matching(world, c, node), len(taking_part)
    else:
        size = len({labels[n].get(key) for n in taking_part})
        counted = [n for n in world.nodes if has_all(n) and included(world.pod, c, world.nodes[n])]
        count = sum(matching(world, c, n) for n in counted if labels[n].get(key) == labels[node][key])
    return count * math.log(size + 2) + (c["maxSkew"] - 1)


def inter_pod_affinity_score(world: World, finalists: list[str]) -> Scores:
    pod = world.pod
    raw = {n: sum(_feelings(world, pod, n, where, p) for where, p in world.bound) for n in finalists}
    most, least = max(raw.values()), min(raw.values())
    return {n: int(100 * ((v - least) / (most - least))) if most > least else 0 for n, v in raw.items()}


def _feelings(world: World, pod: Obj, node: str, where: str, other: Obj) -> int:
    """What the newcomer and one pod that is there already think of being together."""

    def sum_of(weighted: Iterable[tuple[int, Obj]], owner: Obj, meant: Obj) -> int:
        return sum(w for w, t in weighted if term_means(t, owner, meant) and together(world, node, where, t["topologyKey"]))

    mine = sum_of(liked(pod, "podAffinity"), pod, other) - sum_of(liked(pod, "podAntiAffinity"), pod, other)
    theirs = sum_of(liked(other, "podAffinity"), other, pod) - sum_of(liked(other, "podAntiAffinity"), other, pod)
    return mine + theirs + sum_of(((1, t) for t in terms(other, "podAffinity")), other, pod)


SCORES: dict[str, Callable[[World, list[str]], Scores | None]] = {
    "TaintToleration": taint_toleration_score,
    "NodeAffinity": node_affinity_score,
    "NodeResourcesFit": least_allocated,
    "NodeResourcesBalancedAllocation": balanced_allocation,
    "ImageLocality": image_locality,
    "PodTopologySpread": spread_score,
    "InterPodAffinity": inter_pod_affinity_score,
}


# --- preemption ----------------------------------------------------------------------------------------------------------------

Price = tuple[float, ...]


def victims(world: World, node: str) -> list[Obj] | None:
    """Whom a node would have to lose, most important first; None where that does not help."""
    lower = [p for p in world.on(node) if p["spec"]["priority"] < world.pod["spec"]["priority"]]
    lower.sort(key=lambda p: (-p["spec"]["priority"], p["status"]["startTime"]))
    if not lower:
        return None
    gone = list(lower)

    def fits() -> bool:
        names = {p["metadata"]["name"] for p in gone}
        left = World(
            world.nodes, [(w, p) for w, p in world.bound if p["metadata"]["name"] not in names], world.services, world.pod
        )
        return not any(refuses(left, left.nodes[node]) for refuses in FILTERS.values())

    if not fits():
        return None
    for p in lower:
        gone.remove(p)
        if not fits():
            gone.append(p)
    return sorted(gone, key=lambda p: (-p["spec"]["priority"], p["status"]["startTime"]))


def price(leaving: list[Obj]) -> Price:
    top = leaving[0]["spec"]["priority"]
    earliest = min(p["status"]["startTime"] for p in leaving if p["spec"]["priority"] == top)
    return top, sum(p["spec"]["priority"] + 2**31 for p in leaving), len(leaving), -int(earliest[-3:-1])

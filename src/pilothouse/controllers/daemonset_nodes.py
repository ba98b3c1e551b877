"""Which nodes a DaemonSet's pods belong on, and what such a pod looks like.

A daemon pod is bound to its node by affinity to the node's name, so that the scheduler places it. It tolerates everything that nodes are
marked with by their conditions. Reference: DaemonSet (apps/v1), "How Daemon Pods are scheduled", "Taints and tolerations".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pilothouse.api.nodeselectors import required_predicate
from pilothouse.client.reconcile.kinds import DAEMON_SETS
from pilothouse.client.reconcile.objects import Obj, labels_of
from pilothouse.controllers import taints
from pilothouse.controllers.pod_control import pod_of

HASH_LABEL = "controller-revision-hash"
GENERATION_LABEL = "pod-template-generation"
GENERATION = "deprecated.daemonset.template.generation"
_TOLERATED = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)
_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a daemon pod should be started on a node, and whether one that runs there may stay."""

    start: bool
    stay: bool


def tolerations(spec: Obj) -> list[Obj]:
    """A pod's own tolerations and those that every daemon pod has."""
    out = list(spec.get("tolerations") or ())
    for key, effect in (*_TOLERATED, *((_HOST_NETWORK,) if spec.get("hostNetwork") else ())):
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        if wanted not in out:
            out.append(wanted)
    return out


def placer(daemon_set: Obj) -> Callable[[Obj], Place]:
    """A set's rule about nodes."""
    spec = daemon_set["spec"]["template"]["spec"]
    matches, tolerated = required_predicate(spec), tolerations(spec)

    def place(node: Obj) -> Place:
        name = node["metadata"]["name"]
        if spec.get("nodeName") not in (None, "", name):
            return Place(False, False)
        if matches is not None and not matches(name, labels_of(node)):
            return Place(False, False)
        unbearable = {t["effect"] for t in taints.of(node) if not any(taints.tolerates(each, t) for each in tolerated)}
        return Place(not unbearable & {"NoSchedule", "NoExecute"}, "NoExecute" not in unbearable)

    return place


def target(pod: Obj) -> str:
    """The node that a daemon pod runs on or is meant for; "" if it names none."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return spec["nodeName"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and len(field.get("values") or ()) == 1:
                return field["values"][0]
    return ""


def generation(daemon_set: Obj) -> str | None:
    """The template's generation, as an annotation keeps it for clients of long ago."""
    return (daemon_set["metadata"].get("annotations") or {}).get(GENERATION)


def daemon_pod(daemon_set: Obj, mark: str, node: str) -> Obj:
    """The pod to create for a node; `mark` is the hash of the template's revision."""
    pod = pod_of(daemon_set, DAEMON_SETS, daemon_set["spec"]["template"])
    labels = {**labels_of(pod), HASH_LABEL: mark}
    if number := generation(daemon_set):
        labels[GENERATION_LABEL] = number
    pod["metadata"]["labels"] = labels
    spec = pod["spec"]
    pod["spec"] = {**spec, "affinity": _bound(spec.get("affinity") or {}, node), "tolerations": tolerations(spec)}
    return pod


def _bound(affinity: Obj, node: str) -> Obj:
    """The affinity with nothing required of nodes but the name."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    of_nodes = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
    }
    return {**affinity, "nodeAffinity": of_nodes}


def is_updated(pod: Obj, daemon_set: Obj, mark: str) -> bool:
    """Whether a pod is of the present template."""
    labels = labels_of(pod)
    number = generation(daemon_set)
    return (bool(mark) and labels.get(HASH_LABEL) == mark) or (number is not None and labels.get(GENERATION_LABEL) == number)

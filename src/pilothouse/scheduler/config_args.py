"""What is wrong with plugins' arguments in a KubeSchedulerConfiguration (reference: kube-scheduler Configuration v1, *Args)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_supported, required
from pilothouse.api.kinds.nodeselector import validate_node_selector

Check = Callable[[Obj, str], list[FieldError]]

_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")


def _between(value: Any, path: str, low: int, high: int | None, told: str) -> list[FieldError]:
    right = isinstance(value, int) and not isinstance(value, bool) and value >= low and (high is None or value <= high)
    return [] if right else [invalid(path, value, told)]


def default_preemption(args: Obj, path: str) -> list[FieldError]:
    percentage, absolute = args.get("minCandidateNodesPercentage", 10), args.get("minCandidateNodesAbsolute", 100)
    where = f"{path}.minCandidateNodesPercentage", f"{path}.minCandidateNodesAbsolute"
    out = _between(percentage, where[0], 0, 100, "not in valid range [0, 100]")
    out += _between(absolute, where[1], 0, None, "not in valid range [0, inf)")
    if percentage == 0 and absolute == 0:
        out.append(invalid(where[0], percentage, "cannot be zero at the same time as minCandidateNodesAbsolute"))
        out.append(invalid(where[1], absolute, "cannot be zero at the same time as minCandidateNodesPercentage"))
    return out


def inter_pod_affinity(args: Obj, path: str) -> list[FieldError]:
    weight = args.get("hardPodAffinityWeight", 1)
    return _between(weight, f"{path}.hardPodAffinityWeight", 0, 100, "not in valid range [0, 100]")


def node_affinity(args: Obj, path: str) -> list[FieldError]:
    added = args.get("addedAffinity") or {}
    out: list[FieldError] = []
    hard = added.get("requiredDuringSchedulingIgnoredDuringExecution")
    if hard is not None:
        out += validate_node_selector(hard, f"{path}.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    for n, term in enumerate(added.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        where = f"{path}.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[{n}]"
        out += validate_node_selector({"nodeSelectorTerms": [term.get("preference") or {}]}, where)
    return out


def balanced_allocation(args: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, resource in enumerate(args.get("resources") or ()):
        name = resource.get("name") or ""
        if name in seen:
            out.append(duplicate(f"{path}.resources[{n}].name", name))
        seen.add(name)
        if resource.get("weight", 1) != 1:
            out.append(invalid(f"{path}.resources[{n}].weight", resource["weight"], "must be 1"))
    return out


def resources_fit(args: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key in ("ignoredResources", "ignoredResourceGroups"):
        for n, name in enumerate(args.get(key) or ()):
            where = f"{path}.{key}[{n}]"
            if key == "ignoredResourceGroups" and "/" in name:
                out.append(invalid(where, name, "resource group name can't contain '/'"))
            out += [invalid(where, name, why) for why in names.qualified_name(name)]
    strategy = args.get("scoringStrategy")
    return out if strategy is None else out + _strategy(strategy, f"{path}.scoringStrategy")


def _strategy(strategy: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    kind = strategy.get("type") or "LeastAllocated"
    if kind not in _STRATEGIES:
        out.append(not_supported(f"{path}.type", kind, _STRATEGIES))
    for n, resource in enumerate(strategy.get("resources") or ()):
        told = f"resource weight of {resource.get('name', '')} not in valid range (0, 100]"
        out += _between(resource.get("weight", 1), f"{path}.resources[{n}].weight", 1, 100, told)
    ratio = strategy.get("requestedToCapacityRatio")
    where = f"{path}.requestedToCapacityRatio"
    if kind != "RequestedToCapacityRatio":
        return out if ratio is None else [*out, forbidden(where, "must be nil when type is not RequestedToCapacityRatio")]
    if ratio is None:
        return [*out, required(where, "must be specified when type is RequestedToCapacityRatio")]
    return out + _shape(ratio.get("shape") or (), f"{where}.shape")


def _shape(points: Sequence[Obj], path: str) -> list[FieldError]:
    if not points:
        return [required(path, "at least one point must be specified")]
    out: list[FieldError] = []
    used = [p.get("utilization", 0) for p in points]
    unsorted = next((n for n in range(1, len(used)) if used[n - 1] >= used[n]), None)
    if unsorted is not None:
        out.append(invalid(f"{path}[{unsorted}].utilization", used[unsorted], "values must be sorted in increasing order"))
    for n, point in enumerate(points):
        out += _between(used[n], f"{path}[{n}].utilization", 0, 100, "not in valid range [0, 100]")
        out += _between(point.get("score", 0), f"{path}[{n}].score", 0, 10, "not in valid range [0, 10]")
    return out


def topology_spread(args: Obj, path: str) -> list[FieldError]:
    kind, constraints = args.get("defaultingType") or "System", args.get("defaultConstraints") or ()
    where = f"{path}.defaultConstraints"
    out: list[FieldError] = []
    if kind not in ("System", "List"):
        out.append(not_supported(f"{path}.defaultingType", kind, ("System", "List")))
    elif kind == "System" and constraints:
        out.append(invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty"))
    seen: set[tuple[str, str]] = set()
    for n, constraint in enumerate(constraints):
        out += _constraint(constraint, f"{where}[{n}]")
        same = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        if same in seen:
            out.append(duplicate(f"{where}[{n}]", "{" + ", ".join(same) + "}"))
        seen.add(same)
    return out


def _constraint(constraint: Obj, path: str) -> list[FieldError]:
    out = _between(constraint.get("maxSkew", 0), f"{path}.maxSkew", 1, None, "not in valid range (0, inf)")
    key, action = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
    if key:
        out += [invalid(f"{path}.topologyKey", key, why) for why in names.qualified_name(key)]
    else:
        out.append(required(f"{path}.topologyKey", "can not be empty"))
    if not action:
        out.append(required(f"{path}.whenUnsatisfiable", "can not be empty"))
    elif action not in _ACTIONS:
        out.append(not_supported(f"{path}.whenUnsatisfiable", action, _ACTIONS))
    if constraint.get("labelSelector") is not None:
        told = "constraint must not define a selector, as they deduced for each pod"
        out.append(forbidden(f"{path}.labelSelector", told))
    return out


def volume_binding(args: Obj, path: str) -> list[FieldError]:
    seconds = args.get("bindTimeoutSeconds")
    told = "invalid BindTimeoutSeconds, should not be a negative value"
    out = [] if seconds is None else _between(seconds, f"{path}.bindTimeoutSeconds", 0, None, told)
    if args.get("shape") is not None:
        told = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        out.append(invalid(f"{path}.shape", args["shape"], told))
    return out


def dynamic_resources(args: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key, least, told in (
        ("filterTimeout", 0, "must be zero or positive"),
        ("bindingTimeout", 10**9, "must be at least 1 second"),
    ):
        value = args.get(key)
        if value is not None:
            length = _nanoseconds(value)
            if length is None:
                out.append(invalid(f"{path}.{key}", value, "must be a duration such as 10s"))
            elif length < least:
                out.append(invalid(f"{path}.{key}", value, told))
    return out


def _nanoseconds(text: Any) -> int | None:
    from pilothouse.api.cel.errors import CelError
    from pilothouse.api.cel.lib.times import parse_duration

    try:
        return int(parse_duration(str(text)))
    except CelError:
        return None


#: By plugin: the fields of its arguments, and what checks them.
ARGUMENTS: dict[str, tuple[frozenset[str], Check]] = {
    "DefaultPreemption": (frozenset({"minCandidateNodesPercentage", "minCandidateNodesAbsolute"}), default_preemption),
    "DynamicResources": (frozenset({"filterTimeout", "bindingTimeout"}), dynamic_resources),
    "InterPodAffinity": (frozenset({"hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"}), inter_pod_affinity),
    "NodeAffinity": (frozenset({"addedAffinity"}), node_affinity),
    "NodeResourcesBalancedAllocation": (frozenset({"resources"}), balanced_allocation),
    "NodeResourcesFit": (frozenset({"ignoredResources", "ignoredResourceGroups", "scoringStrategy"}), resources_fit),
    "PodTopologySpread": (frozenset({"defaultingType", "defaultConstraints"}), topology_spread),
    "VolumeBinding": (frozenset({"bindTimeoutSeconds", "shape"}), volume_binding),
}


def argument_errors(plugin: str, args: Obj, path: str) -> list[FieldError]:
    """Errors of one plugin's arguments; those of plugins that are not Kubernetes' own are their own business."""
    known = ARGUMENTS.get(plugin)
    if known is None:
        return []
    fields, check = known
    kind = args.get("kind")
    if kind is not None and kind != f"{plugin}Args":
        return [invalid(path, kind, "has to match plugin args")]
    unknown = sorted(args.keys() - fields - {"apiVersion", "kind"})
    return [invalid(f"{path}.{key}", args[key], "unknown field") for key in unknown] or check(args, path)

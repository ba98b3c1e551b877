"""KubeSchedulerConfiguration files: what they may say, and what is told of mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from world import Obj

from pilothouse.scheduler.config import ConfigError, SchedulerConfig, parse_config
from pilothouse.scheduler.plugins.node_resources_fit import NodeResourcesFit


def parsed(**fields: Any) -> SchedulerConfig:
    return parse_config({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", **fields})


def with_args(plugin: str, **args: Any) -> SchedulerConfig:
    return parsed(profiles=[{"pluginConfig": [{"name": plugin, "args": args}]}])


WRONG: list[tuple[Obj, str]] = [
    ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
    ({"percentageOfNodesToScore": 101}, "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
    ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
    ({"podInitialBackoffSeconds": 5, "podMaxBackoffSeconds": 2},
     "podMaxBackoffSeconds: Invalid value: 2: must be greater than or equal to PodInitialBackoffSeconds"),
    ({"leaderElection": {"resourceLock": "endpoints"}}, "leaderElection.resourceLock: Invalid value"),
    ({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]}, "profiles[1].schedulerName: Duplicate value"),
    ({"profiles": [{"schedulerName": "a"}, {}]}, "profiles[1].schedulerName: Required value"),
    ({"profiles": [{"schedulerName": "a"}, {"schedulerName": "b", "plugins": {"queueSort": {"enabled": [{"name": "PrioritySort"}]}}}]},
     "profiles[1].plugins.queueSort: Invalid value"),
    ({"profiles": [{"plugins": {"filter": {"enabled": [{"name": "EBSLimits"}]}}}]}, "profiles[0].plugins.filter.enabled[0]: Invalid value"),
    ({"profiles": [{"pluginConfig": [{"name": "NodeName"}, {"name": "NodeName"}]}]}, "profiles[0].pluginConfig[1]: Duplicate value"),
    ({"profiles": [{"percentageOfNodesToScore": -1}]}, "profiles[0].percentageOfNodesToScore: Invalid value: -1"),
    ({"extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "score"}]},
     "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"),
    ({"extenders": [{"bindVerb": "b"}, {"bindVerb": "b"}]}, "only one extender can implement bind"),
    ({"extenders": [{"managedResources": [{"name": "cpu"}]}]}, "is an invalid extended resource name"),
    ({"extenders": [{"managedResources": [{"name": "a.b/c"}, {"name": "a.b/c"}]}]}, "duplicate extender managed resource name"),
    ({"extenders": [{"verb": "x"}]}, "extenders[0].verb: Invalid value: \"x\": unknown field"),
    ({"surprise": 1}, "not supported: surprise"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), WRONG)
def test_mistakes_are_told_by_field(fields: Obj, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parsed(**fields)
    assert told in str(raised.value) and "\n" not in str(raised.value)


WRONG_ARGUMENTS: list[tuple[str, Obj, str]] = [
    ("DefaultPreemption", {"minCandidateNodesPercentage": 101}, "minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]"),
    ("DefaultPreemption", {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}, "cannot be zero at the same time"),
    ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
    ("InterPodAffinity", {"weight": 1}, "args.weight: Invalid value: 1: unknown field"),
    ("InterPodAffinity", {"kind": "NodeAffinityArgs"}, "has to match plugin args"),
    ("NodeAffinity", {"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}, "Required value"),
    ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu", "weight": 2}]}, "resources[0].weight: Invalid value: 2: must be 1"),
    ("NodeResourcesFit", {"ignoredResourceGroups": ["a/b"]}, "resource group name can't contain '/'"),
    ("NodeResourcesFit", {"scoringStrategy": {"type": "Best"}}, 'scoringStrategy.type: Unsupported value: "Best": supported values:'),
    ("NodeResourcesFit", {"scoringStrategy": {"type": "RequestedToCapacityRatio"}}, "must be specified when type is RequestedToCapacityRatio"),
    ("NodeResourcesFit", {"scoringStrategy": {"resources": [{"name": "cpu", "weight": 101}]}}, "resource weight of cpu not in valid range (0, 100]"),
    ("NodeResourcesFit", {"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": [
        {"utilization": 50, "score": 1}, {"utilization": 10, "score": 1}]}}}, "values must be sorted in increasing order"),
    ("PodTopologySpread", {"defaultConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]},
     "when .defaultConstraints are not empty"),
    ("PodTopologySpread", {"defaultingType": "List", "defaultConstraints": [{"maxSkew": 0, "labelSelector": {}}]},
     "constraint must not define a selector"),
    ("VolumeBinding", {"bindTimeoutSeconds": -1}, "should not be a negative value"),
    ("VolumeBinding", {"shape": [{"utilization": 0, "score": 0}]}, "turn on the feature gate StorageCapacityScoring"),
    ("DynamicResources", {"bindingTimeout": "10ms"}, "bindingTimeout: Invalid value: \"10ms\": must be at least 1 second"),
    ("DynamicResources", {"filterTimeout": "soon"}, "must be a duration"),
]  # fmt: skip


@pytest.mark.parametrize(("plugin", "args", "told"), WRONG_ARGUMENTS)
def test_mistakes_in_arguments_are_told_by_field(plugin: str, args: Obj, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        with_args(plugin, **args)
    assert "profiles[0].pluginConfig[0].args" in str(raised.value) and told in str(raised.value)


def test_the_lease_is_the_one_of_the_file() -> None:
    default = parsed().lease
    assert (default.elect, default.namespace, default.name) == (True, "kube-system", "kube-scheduler")
    lease = parsed(leaderElection={"leaderElect": False, "resourceName": "mine", "resourceNamespace": "here"}).lease
    assert (lease.elect, lease.namespace, lease.name) == (False, "here", "mine")


def test_the_kubeconfig_may_be_named_in_the_file() -> None:
    assert parsed().kubeconfig is None
    assert (
        str(parsed(clientConnection={"kubeconfig": "/etc/kubernetes/scheduler.conf"}).kubeconfig)
        == "/etc/kubernetes/scheduler.conf"
    )


def test_several_profiles_share_one_queue() -> None:
    config = parsed(
        profiles=[{"schedulerName": "a"}, {"schedulerName": "b", "percentageOfNodesToScore": 50}], percentageOfNodesToScore=20
    )
    assert {name: p.percentage for name, p in config.profiles.items()} == {"a": 20, "b": 50}


def test_the_twenty_default_plugins_are_at_their_points() -> None:
    profile = parsed().profiles["default-scheduler"]
    assert len(profile.plugins) == 20
    names = {
        point: [p.name for p in getattr(profile, point)]
        for point in ("filters", "scores", "post_filters", "reserves", "pre_binds")
    }
    assert names["post_filters"] == ["DynamicResources", "DefaultPreemption"]
    assert names["reserves"] == names["pre_binds"] == ["VolumeBinding", "DynamicResources"]
    weights = {"TaintToleration": 3, "NodeAffinity": 2, "NodeResourcesFit": 1, "PodTopologySpread": 2, "InterPodAffinity": 2,
               "DynamicResources": 2, "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1}  # fmt: skip
    assert {n: profile.weights[n] for n in names["scores"]} == weights
    assert names["filters"] == ["NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
                                "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread",
                                "InterPodAffinity", "DynamicResources", "NodeDeclaredFeatures"]  # fmt: skip


def test_resources_that_an_extender_manages_alone_are_left_to_it() -> None:
    managed = [{"name": "example.com/a", "ignoredByScheduler": True}, {"name": "example.com/b"}]
    profile = parsed(extenders=[{"urlPrefix": "http://x", "filterVerb": "f", "managedResources": managed}]).profiles[
        "default-scheduler"
    ]
    fit = next(p for p in profile.plugins if isinstance(p, NodeResourcesFit))
    assert fit.ignored == {"example.com/a"}

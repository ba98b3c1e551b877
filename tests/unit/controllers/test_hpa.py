"""HorizontalPodAutoscalers: what metrics ask for, and how fast that is followed."""

from __future__ import annotations

import pytest

from pilothouse.client.reconcile.kinds import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from pilothouse.clock import rfc3339
from pilothouse.controllers import hpa_behavior as behaviors
from pilothouse.controllers import hpa_replicas as replicas
from pilothouse.controllers.hpa import HorizontalPodAutoscalerController
from pilothouse.controllers.hpa_replicas import Groups, Sample, Tolerance

from .builders import NOW, deployment, pod
from .cluster import Cluster, copy


def sampled(*milli: int) -> dict[str, Sample]:
    return {f"p{n}": Sample(m, NOW) for n, m in enumerate(milli)}


def asked(count: int, milli: int = 1000) -> dict[str, int]:
    return {f"p{n}": milli for n in range(count)}


def utilization(current, target, milli, groups, count=None):
    requests = asked(count or current)
    return replicas.by_utilization(current, target, sampled(*milli), (), requests, groups, Tolerance()).replicas


@pytest.mark.parametrize(
    ("milli", "groups", "wanted"),
    [
        ([900, 900, 900], Groups(ready=3), 6),  # 90 % of 50 %
        ([540, 540, 540], Groups(ready=3), 3),  # within a tenth
        ([250, 250, 250], Groups(ready=3), 2),
        ([900, 900], Groups(ready=2, unready=["p2"]), 4),  # the third counts as idle
        ([900, 900], Groups(ready=2, missing=["p2"]), 4),
        ([100, 100], Groups(ready=2, missing=["p2"]), 3),  # and as busy when there seem to be too many
        ([600, 600], Groups(ready=2, missing=["p2"]), 3),  # nothing is done if that turns the direction
    ],
)
def test_pods_that_tell_nothing_never_make_a_change_larger(milli, groups, wanted):
    assert utilization(3, 50, milli, groups) == wanted


def test_no_sample_means_no_count():
    with pytest.raises(replicas.NoCount, match="did not receive metrics"):
        utilization(2, 50, [], Groups(missing=["p0", "p1"]))


def test_a_missing_request_is_told():
    with pytest.raises(replicas.NoCount, match="missing request for cpu in container c of Pod a"):
        replicas.requests_of([pod("a")], "cpu")


def test_averages_and_values():
    assert replicas.by_average(2, 100, sampled(300, 300), Groups(ready=2), Tolerance()).replicas == 6
    assert replicas.by_value(2, 4000, 1000, 2, Tolerance()) == 8
    assert replicas.by_value(0, 2500, 1000, 0, Tolerance()) == 3
    assert replicas.by_share(2, 4000, 1000, Tolerance()).replicas == 4
    assert replicas.by_share(4, 4100, 1000, Tolerance()).replicas == 4


def starting(**more):
    began = {"startTime": rfc3339(NOW - 20)}
    return pod("p0", ready=more.pop("ready", None), status={**began, **more})


def test_a_pod_that_is_starting_is_not_ready_to_be_measured():
    just_ready = starting(ready=5)
    assert replicas.group([just_ready], sampled(100), "cpu", NOW).unready == ["p0"]
    assert replicas.group([just_ready], sampled(100), "memory", NOW).ready == 1
    assert replicas.group([just_ready], {"p0": Sample(100, NOW + 60)}, "cpu", NOW).ready == 1
    assert replicas.group([pod("p0", phase="Pending")], {}, "memory", NOW).unready == ["p0"]
    assert replicas.group([pod("p0", phase="Failed")], {}, "memory", NOW).ignored == ["p0"]


def size(current, wanted, memory=None, behavior=None, **limits):
    spec = {"maxReplicas": 100, "minReplicas": 1, **limits, **({"behavior": behavior} if behavior else {})}
    return behaviors.size(spec, current, wanted, memory or behaviors.Memory(), NOW)


def test_without_rules_a_size_doubles_at_most_and_shrinks_after_five_minutes():
    assert (size(3, 50).replicas, size(3, 50).limited[0]) == (6, "ScaleUpLimit")
    assert size(1, 50).replicas == 4
    assert (size(3, 50, maxReplicas=5).replicas, size(3, 50, maxReplicas=5).limited[0]) == (5, "TooManyReplicas")
    memory = behaviors.Memory([(NOW - 299, 8)])
    assert (size(8, 2, memory).replicas, size(8, 2, memory).able[0]) == (8, "ScaleDownStabilized")
    assert size(8, 2, behaviors.Memory([(NOW - 301, 8)])).replicas == 2


def test_the_window_of_shrinking_can_be_set_for_all():
    memory = behaviors.Memory([(NOW - 60, 8)])
    assert behaviors.size({"maxReplicas": 9}, 8, 2, memory, NOW, 30.0).replicas == 2


def rules(*policies, **more):
    return {"policies": [{"type": t, "value": v, "periodSeconds": s} for t, v, s in policies], **more}


def test_policies_count_from_the_beginning_of_their_period():
    up = {"scaleUp": rules(("Pods", 4, 60))}
    assert size(10, 50, behavior=up).replicas == 14
    assert size(13, 50, behaviors.Memory(ups=[(NOW - 30, 3)]), up).replicas == 14
    assert size(13, 50, behaviors.Memory(ups=[(NOW - 90, 3)]), up).replicas == 17
    down = {"scaleDown": rules(("Percent", 10, 60), ("Pods", 4, 60), stabilizationWindowSeconds=0)}
    assert size(80, 1, behavior=down).replicas == 72
    down["scaleDown"]["selectPolicy"] = "Min"
    assert size(80, 1, behavior=down).replicas == 76
    down["scaleDown"]["selectPolicy"] = "Disabled"
    assert (size(80, 1, behavior=down).replicas, size(80, 1, behavior=down).limited[0]) == (80, "ScaleDownLimit")


def test_a_window_for_growing_follows_the_lowest_recommendation():
    behavior = {"scaleUp": rules(("Pods", 100, 15), stabilizationWindowSeconds=120)}
    assert size(2, 10, behaviors.Memory([(NOW - 60, 3)]), behavior).replicas == 3
    assert size(2, 10, behaviors.Memory([(NOW - 130, 3)]), behavior).replicas == 10


# The controller -------------------------------------------------------------------------------------------------------------------


def autoscaler(*metrics, **spec):
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    return {
        "metadata": {"name": "h", "namespace": "ns"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "minReplicas": 1,
            "maxReplicas": 20,
            "metrics": list(metrics) or [cpu],
            **spec,
        },
    }


class World:
    """A Deployment whose load is shared by its pods."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.start(HorizontalPodAutoscalerController)

    async def begin(self, replicas: int, load: int) -> None:
        await self.cluster.create(DEPLOYMENTS, deployment(replicas))
        await self.play(load)

    async def play(self, load: int) -> None:
        """The Deployment's and the nodes' part: pods, the scale subresource and metrics for a load in thousandths of a core."""
        wanted = self.size
        for each in self.cluster.all(PODS)[wanted:]:
            await self.cluster.delete(PODS, "ns", each["metadata"]["name"], {"gracePeriodSeconds": 0})
        for n in range(len(self.cluster.all(PODS)), wanted):
            body = pod(f"p{n}", ready=9, status={"startTime": rfc3339(NOW - 9999)})
            body["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
            await self.cluster.create(PODS, body)
        scale = {
            "metadata": {"name": "d", "namespace": "ns"},
            "spec": {"replicas": wanted},
            "status": {"replicas": wanted, "selector": "app=a"},
        }
        self.cluster.documents["/apis/apps/v1/namespaces/ns/deployments/d/scale"] = scale
        now = rfc3339(self.cluster.clock.now())
        items = [
            {"metadata": {"name": p["metadata"]["name"]}, "timestamp": now, "window": "15s",
             "containers": [{"name": "c", "usage": {"cpu": f"{load // wanted}m", "memory": "1Gi"}}]}
            for p in self.cluster.all(PODS)
        ]  # fmt: skip
        self.cluster.documents["/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods"] = {"items": items}

    @property
    def size(self) -> int:
        return self.cluster.find(DEPLOYMENTS, "d")["spec"]["replicas"]

    @property
    def hpa(self):
        return self.cluster.find(HORIZONTAL_POD_AUTOSCALERS, "h")

    def condition(self, kind: str):
        return next(c for c in self.hpa["status"]["conditions"] if c["type"] == kind)

    async def pass_time(self, seconds: int, load: int) -> None:
        for _ in range(seconds // 15):
            await self.cluster.settle(15)
            await self.play(load)


@pytest.fixture
def scalable(monkeypatch):
    """The fake API keeps `spec.replicas` of what a Scale is put to."""
    update = Cluster.update

    async def put(self, kind, obj, subresource=""):
        if subresource != "scale":
            return await update(self, kind, obj, subresource)
        body = copy(self.find(kind, obj["metadata"]["name"]))
        body["spec"]["replicas"] = obj["spec"]["replicas"]
        return await update(self, kind, body)

    monkeypatch.setattr(Cluster, "update", put)


async def test_the_size_follows_the_load_up_at_once_and_down_after_the_window(scalable):
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(2, 4000)
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler())
        await world.pass_time(90, 4000)
        assert world.size == 8
        assert world.condition("ScalingActive")["reason"] == "ValidMetricFound"
        assert world.hpa["status"]["currentMetrics"][0]["resource"]["current"] == {
            "averageUtilization": 50,
            "averageValue": "500m",
        }
        await world.pass_time(270, 1000)
        assert world.size == 8
        assert world.condition("AbleToScale")["reason"] == "ScaleDownStabilized"
        await world.pass_time(120, 1000)
        assert world.size == 2
        assert (
            "HorizontalPodAutoscaler/h",
            "SuccessfulRescale",
            "New size: 2; reason: All metrics below target",
        ) in cluster.events


async def test_at_rest_the_status_is_not_written_again(scalable):
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(2, 1000)
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler())
        await world.pass_time(60, 1000)
        before = len(cluster.writes)
        await cluster.settle(600)
        assert len(cluster.writes) == before


async def test_of_several_metrics_the_highest_counts_and_a_broken_one_never_shrinks(scalable):
    pods = {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}}
    cpu = autoscaler()["spec"]["metrics"][0]
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(4, 400)
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler(cpu, pods))
        await world.pass_time(400, 400)
        assert world.size == 4
        assert world.condition("ScalingActive")["reason"] == "FailedGetPodsMetric"
        cluster.documents["/apis"] = {
            "groups": [{"name": "custom.metrics.k8s.io", "preferredVersion": {"groupVersion": "custom.metrics.k8s.io/v1beta2"}}]
        }
        path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/rps"
        items = [{"describedObject": {"name": f"p{n}"}, "value": "20", "timestamp": rfc3339(NOW)} for n in range(4)]
        cluster.documents[path] = {"items": items}
        await world.pass_time(30, 400)
        assert world.size >= 8


async def test_the_values_of_an_external_metric_are_summed_and_shared_out(scalable):
    queue = {
        "type": "External",
        "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}},
    }
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(1, 0)
        cluster.documents["/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue"] = {
            "items": [{"value": "25"}, {"value": "10"}]
        }
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler(queue))
        await world.pass_time(30, 0)
        assert world.size == 4


async def test_beyond_its_limits_a_size_is_set_without_asking_metrics(scalable):
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(6, 0)
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler(maxReplicas=3))
        await world.pass_time(15, 0)
        assert world.size == 3
        assert cluster.events[-1][2] == "New size: 3; reason: Current number of replicas above Spec.MaxReplicas"


async def test_a_target_that_is_not_there_is_told():
    async with Cluster() as cluster:
        World(cluster)
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler())
        await cluster.settle()
        told = cluster.find(HORIZONTAL_POD_AUTOSCALERS, "h")["status"]["conditions"]
        assert [(c["type"], c["status"], c["reason"]) for c in told] == [("AbleToScale", "False", "FailedGetScale")]


async def test_two_autoscalers_of_the_same_pods_both_stand_still(scalable):
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(2, 4000)
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler())
        other = autoscaler()
        other["metadata"]["name"] = "h2"
        await cluster.settle()
        await cluster.create(HORIZONTAL_POD_AUTOSCALERS, other)
        await world.pass_time(30, 4000)
        size = world.size
        await world.pass_time(60, 4000)
        assert world.size == size
        told = world.condition("ScalingActive")
        assert (told["status"], told["reason"]) == ("False", "AmbiguousSelector")
        assert told["message"] == "pods by selector app=a are controlled by multiple HPAs: [{h ns} {h2 ns}]"

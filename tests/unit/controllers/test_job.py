"""Jobs: what is created when, what counts, and how they end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import errors
from pilothouse.client.reconcile.kinds import JOBS, PODS
from pilothouse.client.reconcile.objects import condition
from pilothouse.clock import rfc3339
from pilothouse.controllers import job_indexes as indexes
from pilothouse.controllers import job_plan as plans
from pilothouse.controllers import job_policy as policy
from pilothouse.controllers.job import JobController
from pilothouse.controllers.ttl_after_finished import TTLAfterFinishedController

from .builders import job, pod
from .cluster import Cluster, copy


@given(st.sets(st.integers(0, 60)))
def test_the_text_of_indexes_says_just_these_indexes(wanted):
    assert indexes.parse(indexes.text(wanted), 61) == wanted


@pytest.mark.parametrize(("wanted", "text"), [({0, 2}, "0,2"), ({1, 2}, "1,2"), ({1, 2, 3, 7}, "1-3,7"), (set(), "")])
def test_three_neighbours_make_a_range(wanted, text):
    assert indexes.text(wanted) == text


def failed(exit_code: int = 1, **more):
    ended = {"name": "c", "state": {"terminated": {"exitCode": exit_code, "finishedAt": "2026-01-01T00:00:00Z"}}}
    return pod("p", phase="Failed", status={"containerStatuses": [ended], **more})


EXIT = {"onExitCodes": {"operator": "In", "values": [3]}}
NOT_EXIT = {"onExitCodes": {"operator": "NotIn", "values": [3]}}
TARGET = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize(
    ("rules", "code", "action"),
    [
        ([{"action": "FailJob", **EXIT}], 3, "FailJob"),
        ([{"action": "FailJob", **EXIT}], 4, ""),
        ([{"action": "FailJob", **NOT_EXIT}], 4, "FailJob"),
        ([{"action": "Ignore", **TARGET}, {"action": "FailJob", **EXIT}], 3, "FailJob"),
        ([{"action": "Ignore", **EXIT}, {"action": "FailJob", **EXIT}], 3, "Ignore"),
        ([{"action": "FailIndex", **EXIT}], 3, ""),
    ],
)
def test_the_first_rule_of_the_failure_policy_that_is_met_counts(rules, code, action):
    assert policy.verdict(job(podFailurePolicy={"rules": rules}), failed(code)).action == action


def test_failures_since_the_last_success_double_the_pause():
    none = plans.Backoff()
    two = none.after([], [failed(), failed()])
    assert two.failures == 2
    assert two.left(two.last) == 20
    assert plans.Backoff(50, 0.0).left(0) == 600
    assert two.after([pod("s", phase="Succeeded", age=-9)], []).left(two.last) == 0


class World:
    """A cluster with the Job's controllers, and what nodes do to its pods."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.start(JobController, TTLAfterFinishedController)

    async def begin(self, **spec) -> None:
        await self.cluster.create(JOBS, job(**spec))
        await self.cluster.settle()
        await self.cluster.run_pods()
        await self.cluster.settle()

    def pods(self, phase: str = "Running"):
        return [p for p in self.cluster.all(PODS) if p["status"]["phase"] == phase and not p["metadata"].get("deletionTimestamp")]

    async def end(self, pods, phase: str = "Succeeded", exit_code: int = 1, seconds: float = 5) -> None:
        for p in pods:
            code, now = exit_code if phase == "Failed" else 0, rfc3339(self.cluster.clock.now())
            ended = {"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": now}}}
            status = {"phase": phase, "conditions": [], "containerStatuses": [ended]}
            await self.cluster.patch(PODS, "ns", p["metadata"]["name"], {"status": status}, "merge", "status")
        await self.cluster.settle(seconds)

    async def go_on(self, seconds: float = 5) -> None:
        await self.cluster.settle(seconds)
        await self.cluster.end_pods()
        await self.cluster.run_pods()
        await self.cluster.settle()

    async def change(self, **spec) -> None:
        body = copy(self.cluster.find(JOBS, "j"))
        body["spec"] |= spec
        await self.cluster.update(JOBS, body)
        await self.cluster.settle()

    @property
    def status(self):
        return self.cluster.find(JOBS, "j")["status"]

    def ended(self) -> tuple[str, str]:
        for kind in ("Complete", "Failed"):
            if told := condition(self.cluster.find(JOBS, "j"), kind):
                return kind, told["reason"]
        return "", ""


def finalizers(cluster: Cluster) -> list[str]:
    return [f for p in cluster.all(PODS) for f in p["metadata"].get("finalizers") or ()]


async def test_a_job_runs_its_pods_and_completes_and_then_nothing_is_written():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(completions=5, parallelism=2)
        for _ in range(3):
            assert len(world.pods()) <= 2
            await world.end(world.pods())
            await world.go_on()
        assert world.ended() == ("Complete", "CompletionsReached")
        assert (world.status["succeeded"], world.status["uncountedTerminatedPods"]) == (5, {})
        assert not finalizers(cluster)
        before = len(cluster.writes)
        await cluster.settle(5000)
        assert len(cluster.writes) == before


async def test_a_failed_pod_is_replaced_after_a_pause_until_the_limit():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(backoffLimit=2)
        await world.end(world.pods(), "Failed")
        assert not world.pods("Pending")
        await world.go_on(10)
        assert len(world.pods()) == 1
        await world.end(world.pods(), "Failed")
        await world.go_on(10)
        assert not world.pods()
        await world.go_on(20)
        await world.end(world.pods(), "Failed")
        assert world.ended() == ("Failed", "BackoffLimitExceeded")
        assert world.status["failed"] == 3
        assert not finalizers(cluster)


async def test_indexes_are_worked_off_from_the_lowest_and_failures_of_one_index_end_only_it():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(completionMode="Indexed", completions=3, parallelism=3, backoffLimitPerIndex=1, backoffLimit=2**31 - 1)
        assert sorted(indexes.index_of(p) for p in world.pods()) == [0, 1, 2]
        for _ in range(2):
            await world.end([p for p in world.pods() if indexes.index_of(p) == 0], "Failed")
            await world.go_on(15)
        assert world.status["failedIndexes"] == "0"
        await world.end(world.pods())
        await world.go_on()
        await world.end(world.pods())
        await world.go_on()
        assert world.ended() == ("Failed", "FailedIndexes")
        assert (world.status["completedIndexes"], world.status["failed"]) == ("1,2", 2)
        assert not finalizers(cluster)


async def test_the_success_policy_ends_a_job_early_and_its_other_pods():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(
            completionMode="Indexed", completions=3, parallelism=3, successPolicy={"rules": [{"succeededIndexes": "1"}]}
        )
        await world.end([p for p in world.pods() if indexes.index_of(p) == 1])
        assert condition(cluster.find(JOBS, "j"), "SuccessCriteriaMet")
        assert world.ended() == ("", "")
        await world.go_on()
        assert world.ended() == ("Complete", "SuccessPolicy")
        assert not world.pods()


async def test_a_rule_fails_the_job_at_once_and_another_ignores_disruptions():
    async with Cluster() as cluster:
        world = World(cluster)
        rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [9]}}, {"action": "FailJob", **EXIT}]
        await world.begin(backoffLimit=0, podFailurePolicy={"rules": rules}, podReplacementPolicy="Failed")
        await world.end(world.pods(), "Failed", 9)
        await world.go_on(15)
        assert world.status.get("failed", 0) == 0
        await world.end(world.pods(), "Failed", 3)
        assert world.ended() == ("Failed", "PodFailurePolicy")


async def test_a_suspended_job_has_no_pods_and_resumes_where_it_was():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(completions=3, parallelism=2)
        await world.end(world.pods()[:1])
        await world.go_on()
        await world.change(suspend=True)
        await world.go_on()
        assert not world.pods()
        assert "startTime" not in world.status
        assert (world.status["succeeded"], world.status.get("failed", 0)) == (1, 0)
        await world.change(suspend=False)
        await world.go_on()
        assert len(world.pods()) == 2
        assert [e[1] for e in cluster.events if e[1] in ("Suspended", "Resumed")] == ["Suspended", "Resumed"]


async def test_a_deadline_ends_a_job_that_is_active_for_too_long():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(activeDeadlineSeconds=100)
        await cluster.settle(80)
        assert world.ended() == ("", "")
        await cluster.settle(20)
        await world.go_on()
        assert world.ended() == ("Failed", "DeadlineExceeded")


async def test_with_replacement_policy_failed_a_terminating_pod_is_waited_for():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(podReplacementPolicy="Failed")
        await cluster.delete(PODS, "ns", world.pods()[0]["metadata"]["name"])
        await cluster.settle(60)
        assert len(cluster.all(PODS)) == 1
        assert (world.status.get("failed", 0), world.status["terminating"]) == (0, 1)
        await world.end(cluster.all(PODS), "Failed")
        await world.go_on(15)
        assert len(world.pods()) == 1
        assert world.status["failed"] == 1


async def test_a_job_that_another_manages_is_left_alone():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(managedBy="example.com/other")
        assert not cluster.all(PODS)
        assert [w for w in cluster.writes if w[1] != "jobs" or w[0] != "create"] == []


async def test_an_elastic_job_shrinks_and_grows():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(completionMode="Indexed", completions=4, parallelism=4)
        await world.change(completions=2, parallelism=2)
        await world.go_on()
        assert sorted(indexes.index_of(p) for p in world.pods()) == [0, 1]
        await world.change(completions=3, parallelism=3)
        await world.go_on()
        assert sorted(indexes.index_of(p) for p in world.pods()) == [0, 1, 2]


async def test_pods_of_a_job_that_is_gone_lose_their_finalizer():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin()
        await cluster.delete(JOBS, "ns", "j", {"propagationPolicy": "Background"})
        await cluster.settle()
        assert not finalizers(cluster)


async def test_a_finished_job_goes_when_its_time_is_over():
    async with Cluster() as cluster:
        world = World(cluster)
        await world.begin(ttlSecondsAfterFinished=100)
        await world.end(world.pods())
        await cluster.settle(80)
        assert cluster.find(JOBS, "j") is not None
        await cluster.settle(30)
        assert cluster.find(JOBS, "j")["metadata"]["finalizers"] == ["foregroundDeletion"]


@pytest.mark.parametrize("seed", range(8))
async def test_no_pod_is_lost_or_counted_twice_whatever_fails_and_whoever_is_killed(seed):
    dice = random.Random(seed)
    trouble = [errors.internal("no"), ConnectionError("gone"), errors.conflict("", "x", "y", "changed")]

    def fault(verb, kind, obj):
        return dice.choice(trouble) if dice.random() < 0.3 else None

    async with Cluster(seed) as cluster:
        world = World(cluster)
        mode = {"completionMode": "Indexed"} if seed % 2 else {}
        await world.begin(completions=6, parallelism=3, backoffLimit=100, **mode)
        lost = 0
        for step in range(40):
            cluster.refuse = lambda verb, kind, obj: None
            await cluster.run_pods()
            for p in world.pods():
                phase = "Failed" if dice.random() < 0.2 and lost < 8 else "Succeeded"
                lost += phase == "Failed"
                cluster.refuse = lambda verb, kind, obj: None
                await world.end([p], phase, seconds=0)
                cluster.refuse = fault
                await cluster.clock.advance(dice.choice([0.0, 0.01, 1.0]))
            if step % 5 == 4:
                await cluster.stop()
                cluster.tasks.clear()
                for cache in cluster.caches.values():
                    cache.handlers.clear()
                cluster.start(JobController)
            cluster.refuse = fault
            await cluster.settle(700)
            if world.ended()[0]:
                break
        cluster.refuse = lambda verb, kind, obj: None
        await cluster.settle(2000)
        assert world.ended() == ("Complete", "CompletionsReached")
        assert (world.status["succeeded"], world.status.get("failed", 0)) == (6, lost)
        assert not finalizers(cluster)


async def test_what_became_of_jobs_and_pods_is_measured():
    async with Cluster() as cluster:
        (controller,) = cluster.start(JobController)
        world = World.__new__(World)
        world.cluster = cluster
        await world.begin(completions=2, parallelism=2, completionMode="Indexed")
        await world.end(world.pods()[:1], "Failed")
        await world.go_on(15)
        await world.end(world.pods())
        lines = "".join(f"{line}\n" for metric in controller.metrics for line in metric.lines())
        assert (
            'job_controller_jobs_finished_total{completion_mode="Indexed",result="succeeded",reason="CompletionsReached"} 1'
            in lines
        )
        assert 'job_controller_job_pods_finished_total{completion_mode="Indexed",result="failed"} 1' in lines
        assert 'job_controller_job_pods_finished_total{completion_mode="Indexed",result="succeeded"} 2' in lines
        assert 'job_controller_job_pods_creation_total{reason="new",status="succeeded"} 2' in lines
        assert 'job_controller_job_pods_creation_total{reason="recreate_terminating_or_failed",status="succeeded"} 1' in lines

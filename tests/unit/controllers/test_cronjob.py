"""CronJobs: a day in a moment, time zones, deadlines, concurrency and history."""

from __future__ import annotations

import datetime as dt
import random
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.client.reconcile.kinds import CRON_JOBS, JOBS
from pilothouse.clock import parse_rfc3339, rfc3339
from pilothouse.controllers import cronjob_plan as plans
from pilothouse.controllers.cron_schedule import parse
from pilothouse.controllers.cronjob import CronJobController

from .builders import cron_job, job
from .cluster import Cluster, copy


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "wanted"),
    [
        ("*/15 * * * *", None, "2026-01-01T00:00:01Z", "2026-01-01T00:15:00Z"),
        ("0 0 29 2 *", None, "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("@weekly", None, "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@every 90m", None, "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
        ("0 9 ? * mon", None, "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z"),
        ("0 0 */10 * 2", None, "2026-01-01T00:00:00Z", "2026-01-06T00:00:00Z"),
        ("0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),  # 02:30 did not exist on the 29th
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),  # and came twice on October 25th
        ("0 0 31 2 *", None, "2026-01-01T00:00:00Z", None),
    ],
)
def test_the_next_time(schedule, zone, after, wanted):
    found = parse(schedule, zone).next(parse_rfc3339(after)) if schedule != "0 0 31 2 *" else None
    assert (rfc3339(found) if found is not None else None) == wanted


def test_a_schedule_that_cannot_be_read_is_an_error_of_one_line():
    with pytest.raises(ValueError):
        parse("60 * * * *", None)
    with pytest.raises(zoneinfo.ZoneInfoNotFoundError):
        parse("* * * * *", "Mars/Olympus")


minutes = st.integers(0, 2 * 366 * 24 * 60)


@given(
    minutes, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]), st.integers(0, 59), st.integers(0, 4)
)
def test_times_are_just_the_minutes_at_which_the_wall_clock_says_so(minute, zone, at, hour):
    """Held against a search minute by minute, from moments on the nights on which clocks are changed too."""
    start = parse_rfc3339("2026-01-01T00:00:00Z") + minute * 60
    where = zoneinfo.ZoneInfo(zone)
    schedule = parse(f"{at} {hour} * * *", zone)

    def shows(moment: float) -> bool:
        local = dt.datetime.fromtimestamp(moment, where)
        return (local.hour, local.minute) == (hour, at)

    day = [start + 60 * n for n in range(1, 26 * 60)]
    wanted = next((m for m in day if shows(m)), None)
    found = schedule.next(start)
    assert found == wanted if wanted is not None else found > day[-1]
    back = [start - 60 * n for n in range(26 * 60)]
    assert schedule.last(start - 26 * 3600, start) == next((m for m in back if shows(m) and m > start - 26 * 3600), None)


def test_the_last_missed_time_is_the_one_to_catch_up_with():
    now = parse_rfc3339("2026-01-02T00:30:00Z")
    cj = {**cron_job("0 * * * *"), "status": {"lastScheduleTime": "2026-01-01T12:00:00Z"}}
    assert plans.due(cj, parse("0 * * * *", None), now) == plans.Due(parse_rfc3339("2026-01-02T00:00:00Z"))
    cj["spec"]["startingDeadlineSeconds"] = 600
    assert plans.due(cj, parse("0 * * * *", None), now) == plans.Due(None)
    cj["spec"].pop("startingDeadlineSeconds")
    assert plans.due(cj, parse("* * * * *", None), now).many


class World:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.start(CronJobController)

    def jobs(self) -> list[str]:
        return [j["metadata"]["name"] for j in self.cluster.all(JOBS) if not j["metadata"].get("deletionTimestamp")]

    async def end(self, name: str, kind: str = "Complete") -> None:
        now = rfc3339(self.cluster.clock.now())
        told = {"type": kind, "status": "True", "lastTransitionTime": now}
        status = {"conditions": [told], "startTime": now, **({"completionTime": now} if kind == "Complete" else {})}
        await self.cluster.patch(JOBS, "ns", name, {"status": status}, "merge", "status")
        await self.cluster.settle(0.05)

    @property
    def status(self):
        return self.cluster.find(CRON_JOBS, "cj")["status"]


async def test_a_day_of_jobs_each_hour():
    async with Cluster() as cluster:
        world = World(cluster)
        await cluster.create(CRON_JOBS, cron_job("0 * * * *"))
        started = 0
        for _ in range(24):
            await cluster.settle(3600)
            for name in world.jobs():
                if not plans.ending(cluster.find(JOBS, name)):
                    started += 1
                    await world.end(name)
        assert started == 24
        assert len(world.jobs()) <= 4
        assert "active" not in world.status
        assert world.status["lastSuccessfulTime"]


async def test_a_day_of_jobs_each_minute_misses_none():
    async with Cluster() as cluster:
        world = World(cluster)
        await cluster.create(CRON_JOBS, cron_job("* * * * *", successfulJobsHistoryLimit=1))
        ran: set[str] = set()
        for _ in range(24 * 60):
            await cluster.settle(60)
            for name in world.jobs():
                if name not in ran:
                    ran.add(name)
                    await world.end(name)
        minutes = sorted(int(name.removeprefix("cj-")) for name in ran)
        assert minutes == list(range(minutes[0], minutes[0] + len(minutes))) and len(minutes) >= 24 * 60
        assert len(world.jobs()) == 1


async def test_forbid_waits_and_replace_does_not():
    for policy, left in (("Forbid", 1), ("Replace", 1), ("Allow", 3)):
        async with Cluster() as cluster:
            world = World(cluster)
            await cluster.create(CRON_JOBS, cron_job("0 * * * *", concurrencyPolicy=policy))
            await cluster.settle(3 * 3600 + 10)
            assert len(world.jobs()) == left
            reasons = {e[1] for e in cluster.events}
            assert ("JobAlreadyActive" in reasons) == (policy == "Forbid")
            assert ("SuccessfulDelete" in reasons) == (policy == "Replace")
            assert len(world.status["active"]) == left


async def test_a_time_missed_by_more_than_the_deadline_is_missed():
    async with Cluster() as cluster:
        await cluster.create(
            CRON_JOBS,
            {**cron_job("0 0 29 2 *", startingDeadlineSeconds=60), "status": {"lastScheduleTime": "2020-06-01T00:00:00Z"}},
        )
        world = World(cluster)
        await cluster.settle()
        assert world.jobs() == []


async def test_a_suspended_cron_job_starts_nothing_and_catches_up_with_one_job():
    async with Cluster() as cluster:
        world = World(cluster)
        await cluster.create(CRON_JOBS, cron_job("*/10 * * * *", suspend=True))
        await cluster.settle(3605)
        assert world.jobs() == []
        body = copy(cluster.find(CRON_JOBS, "cj"))
        body["spec"]["suspend"] = False
        await cluster.update(CRON_JOBS, body)
        await cluster.settle()
        assert len(world.jobs()) == 1


async def test_a_new_schedule_begins_with_its_next_time():
    async with Cluster() as cluster:
        world = World(cluster)
        await cluster.create(CRON_JOBS, cron_job("0 0 29 2 *"))
        await cluster.settle(7200)
        body = copy(cluster.find(CRON_JOBS, "cj"))
        body["spec"]["schedule"] = "30 * * * *"
        await cluster.update(CRON_JOBS, body)
        await cluster.settle(60)
        assert world.jobs() == []
        await cluster.settle(1800)
        assert len(world.jobs()) == 1


async def test_jobs_that_vanish_and_jobs_from_elsewhere_are_told_of():
    async with Cluster() as cluster:
        world = World(cluster)
        made = await cluster.create(CRON_JOBS, cron_job("0 * * * *"))
        await cluster.settle(3601)
        await cluster.delete(JOBS, "ns", world.jobs()[0])
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "cj", "uid": made["metadata"]["uid"], "controller": True}
        other = job("other")
        other["metadata"]["ownerReferences"] = [owner]
        await cluster.create(JOBS, other)
        await cluster.settle()
        assert {"MissingJob", "UnexpectedJob"} <= {e[1] for e in cluster.events}
        assert "active" not in world.status


@pytest.mark.parametrize("seed", range(4))
async def test_every_time_has_one_job_whatever_fails(seed):
    from pilothouse.api import errors

    dice = random.Random(seed)
    async with Cluster(seed) as cluster:
        World(cluster)
        await cluster.create(CRON_JOBS, cron_job("0 * * * *", successfulJobsHistoryLimit=None))
        cluster.refuse = lambda verb, kind, obj: errors.internal("no") if dice.random() < 0.3 else None
        await cluster.settle(10 * 3600 + 900)
        stamps = [j["metadata"]["annotations"][plans.STAMP] for j in cluster.all(JOBS)]
        assert len(stamps) == len(set(stamps)) == 10

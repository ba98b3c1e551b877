"""Work queues: each key once, never with two workers, later after failures."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.client.metrics import text
from pilothouse.client.queuemetrics import QueueMetrics
from pilothouse.client.workqueue import WorkQueue
from pilothouse.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_a_key_that_is_added_twice_is_handed_out_once(clock: VirtualClock) -> None:
    queue = WorkQueue(clock)
    for key in ("a", "b", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"] and len(queue) == 0


async def test_a_key_that_is_being_worked_on_waits_until_the_worker_is_through(clock: VirtualClock) -> None:
    queue = WorkQueue(clock)
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    second = asyncio.create_task(queue.get())
    await clock.settle()
    assert not second.done()
    queue.done("a")
    assert await second == "a"


async def test_a_key_for_later_comes_later_and_the_earliest_time_counts(clock: VirtualClock) -> None:
    queue = WorkQueue(clock)
    queue.add_after("a", 60)
    queue.add_after("a", 10)
    queue.add_after("a", 30)
    await clock.advance(9)
    assert len(queue) == 0
    await clock.advance(2)
    assert len(queue) == 1 and await queue.get() == "a"
    queue.done("a")
    await clock.advance(100)
    assert len(queue) == 0


async def test_pauses_double_with_each_failure_and_end_with_success(clock: VirtualClock) -> None:
    queue = WorkQueue(clock)
    pauses = []
    for _ in range(20):
        queue.add_rate_limited("a")
        pauses.append(await clock.run_until(lambda: len(queue) == 1))
        await queue.get()
        queue.done("a")
    assert pauses[:4] == pytest.approx([0.005, 0.01, 0.02, 0.04], rel=1e-3)
    assert pauses[-2:] == pytest.approx([1000, 1000])
    assert queue.failures("a") == 20
    queue.forget("a")
    queue.add_rate_limited("a")
    assert await clock.run_until(lambda: len(queue) == 1) == pytest.approx(0.005, rel=1e-3)


async def test_many_failing_keys_share_ten_retries_a_second_after_a_burst_of_a_hundred(clock: VirtualClock) -> None:
    queue = WorkQueue(clock)
    for n in range(150):
        queue.add_rate_limited(f"k{n}")
    await clock.advance(0.05)
    assert 99 <= len(queue) <= 101
    await clock.advance(1)
    assert 109 <= len(queue) <= 112
    await clock.advance(5)
    assert len(queue) == 150


async def test_workers_that_wait_are_woken_one_a_key(clock: VirtualClock) -> None:
    queue = WorkQueue(clock)
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await clock.settle()
    queue.add("a")
    queue.add("b")
    await clock.settle()
    assert sorted(w.result() for w in workers if w.done()) == ["a", "b"]
    for w in workers:
        w.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_queues_tell_how_long_keys_wait_and_are_worked_on(clock: VirtualClock) -> None:
    metrics, queue = QueueMetrics(clock), WorkQueue(clock)
    watched = queue.watched = metrics.watch("deployment", queue)
    queue.add("a")
    queue.add("a")
    queue.add("b")
    await clock.advance(3)
    assert await queue.get() == "a"
    await clock.advance(2)
    told = text(metrics.metrics())
    assert 'workqueue_adds_total{name="deployment"} 2' in told and 'workqueue_depth{name="deployment"} 1' in told
    assert 'workqueue_queue_duration_seconds_sum{name="deployment"} 3' in told
    assert 'workqueue_longest_running_processor_seconds{name="deployment"} 2' in told
    queue.add_rate_limited("a")
    queue.done("a")
    told = text(metrics.metrics())
    assert (
        'workqueue_work_duration_seconds_sum{name="deployment"} 2' in told
        and 'workqueue_retries_total{name="deployment"} 1' in told
    )
    metrics.forget(watched)
    assert 'workqueue_depth{name="deployment"} 0' in text(metrics.metrics())


async def test_a_queue_may_have_pauses_of_its_own(clock: VirtualClock) -> None:
    queue = WorkQueue(clock, first_pause=5.0, longest_pause=12.0)
    waited = []
    for _ in range(3):
        began = clock.monotonic()
        queue.add_rate_limited("a")
        await clock.run_until(lambda: len(queue) == 1)
        waited.append(clock.monotonic() - began)
        queue.done(await queue.get())
    assert waited == [5.0, 10.0, 12.0]

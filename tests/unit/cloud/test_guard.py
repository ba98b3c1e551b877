"""Between controllers and a cloud: rates, pauses, ends and measures of calls, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.client.metrics import text
from pilothouse.clock import VirtualClock
from pilothouse.cloud.guard import Guarded, Limits, TimedOut
from pilothouse.cloud.provider import CloudError, ImplementedElsewhere, InstanceNotFound, RetryAfter, Throttled
from pilothouse.testing.cloud import FakeProvider
from pilothouse.testing.cloud_conformance import node

SERVICE = {"metadata": {"name": "web", "namespace": "default", "uid": "u-1"}, "spec": {"ports": [{"port": 80}]}}


class Guarding:
    """A guarded fake provider, and how long what is asked of it takes."""

    def __init__(self, **limits: Any) -> None:
        self.clock = VirtualClock()
        self.inner = FakeProvider(self.clock)
        self.inner.shelf.put("instances", "a", {"id": "i-a"})
        self.guarded = Guarded(self.inner, self.clock, Limits(**limits))
        self.instances, self.balancers = self.guarded.instances(), self.guarded.load_balancers()

    async def timed(self, work: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
        """Seconds that it took, and its result or error."""
        task = asyncio.ensure_future(work())
        took = await self.clock.run_until(task.done)
        return took, task.exception() or task.result()

    async def exists(self) -> tuple[float, Any]:
        return await self.timed(lambda: self.instances.exists(node("a")))

    async def ensure(self) -> tuple[float, Any]:
        return await self.timed(lambda: self.balancers.ensure("c", SERVICE, []))

    def told(self) -> str:
        return text(self.guarded.measures.all())


async def test_thirty_calls_go_at_once_and_then_twenty_a_second() -> None:
    guarding = Guarding()
    took, _ = await guarding.timed(lambda: asyncio.gather(*(guarding.instances.exists(node("a")) for _ in range(130))))
    assert took == pytest.approx(5.0, abs=0.1)
    assert len(guarding.inner.faults.made) == 130


async def test_each_part_has_a_rate_of_its_own() -> None:
    guarding = Guarding()
    flood = [asyncio.ensure_future(guarding.instances.exists(node("a"))) for _ in range(130)]
    took, _ = await guarding.ensure()
    assert took < 0.1
    await asyncio.gather(guarding.clock.advance(10), *flood)


async def test_a_question_is_asked_again_after_growing_pauses() -> None:
    guarding = Guarding()
    guarding.inner.faults.at(1, CloudError("no"))
    guarding.inner.faults.at(2, CloudError("no"))
    took, answer = await guarding.exists()
    assert answer is True and 0.75 <= took <= 1.5, "half to all of 0.5 s and 1 s"


async def test_a_question_that_is_never_answered_fails() -> None:
    guarding = Guarding()
    guarding.inner.faults.refuse = lambda name: CloudError("no")
    _, error = await guarding.exists()
    assert isinstance(error, CloudError) and len(guarding.inner.faults.made) == 3


async def test_what_changes_something_is_done_once() -> None:
    guarding = Guarding()
    guarding.inner.faults.refuse = lambda name: CloudError("no")
    took, error = await guarding.ensure()
    assert took == 0 and isinstance(error, CloudError) and len(guarding.inner.faults.made) == 1


async def test_a_cloud_that_throttles_is_left_in_peace_for_as_long_as_it_wants() -> None:
    guarding = Guarding()
    guarding.inner.faults.at(1, Throttled("slow down", 30.0))
    first = asyncio.ensure_future(guarding.balancers.ensure("c", SERVICE, []))
    await guarding.clock.advance(1)
    second = asyncio.ensure_future(guarding.balancers.get("c", SERVICE))
    await guarding.clock.advance(28)
    assert len(guarding.inner.faults.made) == 1 and not second.done(), "the whole part waits"
    await guarding.clock.advance(5)
    assert (await first)["ingress"] and second.done()
    assert 'throttled_requests_total{request="load_balancers_ensure"} 1' in guarding.told()


async def test_a_cloud_that_throttles_for_ever_is_an_error_in_the_end() -> None:
    guarding = Guarding()
    guarding.inner.faults.refuse = lambda name: Throttled("slow down")
    took, error = await guarding.ensure()
    assert isinstance(error, Throttled) and len(guarding.inner.faults.made) == 8 and took > 15


async def test_a_call_that_hangs_is_ended() -> None:
    guarding = Guarding(timeout=10.0)
    guarding.inner.faults.latency = 1e6
    took, error = await guarding.ensure()
    assert took == pytest.approx(10.0) and isinstance(error, TimedOut) and str(error) == "no answer within 10 s"


async def test_whoever_is_stopped_stops_the_call_as_well() -> None:
    guarding = Guarding()
    guarding.inner.faults.latency = 5.0
    call = asyncio.ensure_future(guarding.balancers.ensure("c", SERVICE, []))
    await guarding.clock.advance(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await guarding.clock.advance(100)
    assert call.cancelled() and len(guarding.inner.faults.made) == 1


@pytest.mark.parametrize("answer", [InstanceNotFound("none"), RetryAfter("later", 5.0), ImplementedElsewhere("others")])
async def test_what_is_an_answer_is_neither_repeated_nor_counted_as_an_error(answer: CloudError) -> None:
    guarding = Guarding()
    guarding.inner.faults.refuse = lambda name: answer
    took, told = await guarding.exists()
    assert told is answer and took == 0 and len(guarding.inner.faults.made) == 1
    assert "request_errors{" not in guarding.told()


async def test_a_broken_connection_is_an_error_of_the_cloud() -> None:
    guarding = Guarding()
    guarding.inner.faults.refuse = lambda name: ConnectionResetError("reset by peer")
    _, error = await guarding.ensure()
    assert type(error) is CloudError and str(error) == "reset by peer"


async def test_calls_are_measured_by_their_names() -> None:
    guarding = Guarding()
    guarding.inner.faults.latency = 0.3
    await guarding.exists()
    guarding.inner.faults.refuse = lambda name: CloudError("no")
    await guarding.ensure()
    told = guarding.told()
    assert 'cloudprovider_fake_api_request_duration_seconds_bucket{request="instances_exists",le="0.5"} 1' in told
    assert 'cloudprovider_fake_api_request_errors{request="load_balancers_ensure"} 1' in told

"""Leader election: one at a time, handed over at once when given up, after the lease when not, and never two."""

from __future__ import annotations

import asyncio

import pytest
from server import FakeServer

from pilothouse.client.leaderelection import LeaderElector
from pilothouse.clock import VirtualClock

PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/it"


class Candidate:
    """A process that wants to lead."""

    def __init__(self, server: FakeServer, clock: VirtualClock, name: str) -> None:
        self.elector = LeaderElector(server, clock, "kube-system", "it", name)
        self.working = False
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def _lead(self) -> None:
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def die(self) -> None:
        """End as a killed process does: without a word to the server."""
        self.elector._transport = Dead()  # type: ignore[assignment]
        await self.stop()


class Dead:
    async def request(self, *arguments: object, **more: object) -> None:
        raise OSError("dead")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


async def test_the_first_leads_and_its_record_is_kubernetes(server: FakeServer, clock: VirtualClock) -> None:
    first = Candidate(server, clock, "one")
    await clock.advance(5)
    spec = server.objects[PATH]["spec"]
    assert first.working and spec == {
        "holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:04.000000Z",
    }  # fmt: skip
    await first.stop()


async def test_renewing_costs_one_request(server: FakeServer, clock: VirtualClock) -> None:
    first = Candidate(server, clock, "one")
    await clock.advance(1)
    server.requests.clear()
    await clock.advance(20)
    assert [method for method, _, _ in server.requests] == ["PUT"] * 10
    await first.stop()


async def test_a_leader_that_stops_hands_over_at_once(server: FakeServer, clock: VirtualClock) -> None:
    first, second = Candidate(server, clock, "one"), None
    await clock.advance(3)
    second = Candidate(server, clock, "two")
    await clock.advance(30)
    assert first.working and not second.working
    await first.stop()
    assert server.objects[PATH]["spec"]["holderIdentity"] == ""
    await clock.advance(5)
    assert second.working and server.objects[PATH]["spec"]["leaseTransitions"] == 1
    await second.stop()


async def test_a_leader_that_dies_is_replaced_when_its_lease_has_run_out(server: FakeServer, clock: VirtualClock) -> None:
    first = Candidate(server, clock, "one")
    await clock.advance(3)
    second = Candidate(server, clock, "two")
    await clock.advance(3)
    await first.die()
    await clock.advance(11)
    assert not second.working
    await clock.advance(11)
    assert second.working and server.objects[PATH]["spec"]["holderIdentity"] == "two"
    await second.stop()


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_leader_that_cannot_renew_stops_before_its_lease_runs_out(
    server: FakeServer, clock: VirtualClock, how: str
) -> None:
    first = Candidate(server, clock, "one")
    await clock.advance(3)
    if how == "hangs":
        server.hang = True
    else:
        server.faults = [OSError("refused")] * 1000
    await clock.advance(8)
    assert first.working
    await clock.advance(4)
    assert not first.working, "10 s after the last renewal, 5 s before anybody else may lead"
    await clock.advance(20)
    assert first.task.done()


async def test_a_short_failure_is_survived(server: FakeServer, clock: VirtualClock) -> None:
    first = Candidate(server, clock, "one")
    await clock.advance(3)
    server.faults = [OSError("refused")] * 3
    await clock.advance(60)
    assert first.working
    await first.stop()


async def test_who_lost_the_lease_to_another_stops(server: FakeServer, clock: VirtualClock) -> None:
    first = Candidate(server, clock, "one")
    await clock.advance(3)
    lease = server.objects[PATH]
    for _ in range(10):
        server.put(PATH, {**lease, "spec": {**lease["spec"], "holderIdentity": "thief", "renewTime": str(clock.now())}})
        await clock.advance(2)
    assert not first.working and server.objects[PATH]["spec"]["holderIdentity"] == "thief"
    await first.stop()


async def test_of_many_candidates_exactly_one_leads_at_any_time(server: FakeServer, clock: VirtualClock) -> None:
    candidates = [Candidate(server, clock, f"c{n}") for n in range(5)]
    for _ in range(4):
        await clock.advance(25)
        (leader,) = [c for c in candidates if c.working]
        candidates.remove(leader)
        await leader.die()
    await clock.advance(25)
    assert [c.working for c in candidates] == [True]
    await candidates[0].stop()

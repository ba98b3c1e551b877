"""API Priority and Fairness: which schema a request belongs to, and how many of a level run at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.apiserver.seats import WAIT_SECONDS, Seats
from pilothouse.clock import VirtualClock

from .cluster_kit import PODS, acting, cluster, pod
from .kit import CONFIGMAPS, Caller, configmap, hub

DEBUG = "/debug/api_priority_and_fairness/"
FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1"


async def belongs_to(call: Caller, method: str, path: str, token: str = "admin") -> tuple[str, str]:
    """The names of the schema and of the level that an answer's headers point at."""
    answer = await acting(call, token)(method, path)
    lines = dict(line.split(": ") for line in answer.response.audit.decode().split("\r\n")[1:])
    out = []
    for header, plural in (("Flowschema", "flowschemas"), ("Prioritylevel", "prioritylevelconfigurations")):
        uid = lines[f"X-Kubernetes-Pf-{header}-Uid"]
        items = (await call("GET", f"{FLOWS}/{plural}")).body["items"]
        out.append(next(i["metadata"]["name"] for i in items if i["metadata"]["uid"] == uid))
    return out[0], out[1]


async def test_each_request_belongs_to_the_first_schema_that_matches() -> None:
    async with cluster() as call:
        assert await belongs_to(call, "GET", PODS) == ("exempt", "exempt")
        assert await belongs_to(call, "GET", "/readyz", "jane") == ("probes", "exempt")
        assert await belongs_to(call, "GET", PODS, "jane") == ("global-default", "global-default")
        assert await belongs_to(call, "GET", "/api/v1/nodes/n1", "n1") == ("system-node-high", "node-high")
        assert await belongs_to(call, "GET", "/api/v1/pods", "n1") == ("system-nodes", "system")
        assert await belongs_to(call, "GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", "n1") == ("system-node-high", "node-high")  # fmt: skip


async def test_a_new_schema_is_followed_at_once_and_forgotten_when_it_goes() -> None:
    async with cluster() as call:
        rule = {"subjects": [{"kind": "User", "user": {"name": "jane"}}], "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["default"]}]}  # fmt: skip
        spec = {"priorityLevelConfiguration": {"name": "workload-high"}, "matchingPrecedence": 50, "rules": [rule]}
        path = f"{PODS}/p"
        assert await belongs_to(call, "GET", path, "jane") == ("global-default", "global-default")
        await call("POST", f"{FLOWS}/flowschemas", {"metadata": {"name": "mine"}, "spec": spec})
        assert await belongs_to(call, "GET", path, "jane") == ("mine", "workload-high")
        assert (await belongs_to(call, "GET", "/api/v1/namespaces/kube-system/pods/p", "jane"))[0] == "global-default"
        assert (await belongs_to(call, "DELETE", path, "jane"))[0] == "global-default"
        await call("DELETE", f"{FLOWS}/flowschemas/mine")
        assert (await belongs_to(call, "GET", path, "jane"))[0] == "global-default"


async def test_a_schema_whose_level_does_not_exist_is_passed_over() -> None:
    async with cluster() as call:
        rule = {"subjects": [{"kind": "Group", "group": {"name": "*"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/version/*", "/version"]}]}  # fmt: skip
        spec = {"priorityLevelConfiguration": {"name": "later"}, "matchingPrecedence": 50, "rules": [rule]}
        await call("POST", f"{FLOWS}/flowschemas", {"metadata": {"name": "mine"}, "spec": spec})
        assert (await belongs_to(call, "GET", "/version", "jane"))[0] == "global-default"
        level = {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
        await call("POST", f"{FLOWS}/prioritylevelconfigurations", {"metadata": {"name": "later"}, "spec": level})
        assert await belongs_to(call, "GET", "/version", "jane") == ("mine", "later")


async def test_long_running_requests_and_wrong_credentials_are_not_counted() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod())
        for path, token in ((f"{PODS}/p/log", "admin"), (PODS, "nobody")):
            assert b"X-Kubernetes-Pf" not in (await acting(call, token)("GET", path)).response.audit


async def test_a_full_level_that_rejects_answers_429_and_leaves_others_alone() -> None:
    async with cluster() as call:
        rule = {"subjects": [{"kind": "User", "user": {"name": "jane"}}], "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}  # fmt: skip
        limited = {"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}
        level = {"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": limited}}
        await call("POST", f"{FLOWS}/prioritylevelconfigurations", level)
        spec = {"priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 50, "rules": [rule]}
        await call("POST", f"{FLOWS}/flowschemas", {"metadata": {"name": "narrow"}, "spec": spec})
        binding = {"subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}], "roleRef": {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}}  # fmt: skip
        await call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {"metadata": {"name": "jane"}, **binding})
        jane = acting(call, "jane")
        got = await asyncio.gather(
            *(jane("POST", CONFIGMAPS, configmap(f"j{n}")) for n in range(20)), call("POST", CONFIGMAPS, configmap("a"))
        )
        codes = [g.code for g in got]
        assert codes[-1] == 201 and codes.count(201) == 4 and codes.count(429) == 17  # three seats of 600
        refused = next(g for g in got if g.code == 429)
        assert refused.headers["Retry-After"] == "1"
        metrics = (await call("GET", "/metrics")).body
        assert 'apiserver_flowcontrol_rejected_requests_total{priority_level="narrow",reason="concurrency-limit"} 17' in metrics
        assert 'apiserver_flowcontrol_current_executing_requests{priority_level="narrow"} 0' in metrics
        assert (await jane("POST", CONFIGMAPS, configmap("again"))).code == 201


async def test_without_schemas_nothing_is_classified() -> None:
    async with hub() as call:
        assert b"X-Kubernetes-Pf" not in (await call("GET", CONFIGMAPS)).response.audit


async def test_what_levels_and_queues_are_doing_can_be_looked_at() -> None:
    async with cluster() as call:
        assert (await acting(call, "jane")("GET", f"{DEBUG}dump_priority_levels")).code == 403
        await acting(call, "jane")("GET", PODS)
        level = call.server.chain.flows.seats.levels["global-default"]
        waiting = [asyncio.create_task(call.server.chain.flows.seats.wait(level, flow)) for flow in ("global-default/jane", "global-default/jane", "global-default/joe")]  # fmt: skip
        await asyncio.sleep(0)
        lines = (await call("GET", f"{DEBUG}dump_priority_levels")).body.splitlines()
        rows = {line.split(",")[0]: [v.strip() for v in line.split(",")] for line in lines}
        assert rows["PriorityLevelName"][1:5] == ["ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests"]
        assert rows["global-default"][1:] == ["2", "false", "false", "3", "0", "2", "0", "0", "0"]
        assert rows["catch-all"][1:] == ["0", "true", "false", "0", "0", "0", "0", "0", "0"]
        assert len((await call("GET", f"{DEBUG}dump_queues")).body.splitlines()) == 3
        last = (await call("GET", f"{DEBUG}dump_requests")).body.splitlines()[-1]
        assert [v.strip() for v in last.split(",")] == ["global-default", "global-default", "1", "0", "joe"]
        for task in waiting:
            task.cancel()


# --- seats --------------------------------------------------------------------------------------------------------------------------


def limited(name: str, shares: int, lendable: int = 0, borrowing: int | None = 0, length: int = 50) -> dict[str, Any]:
    queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": length}
    spec = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }
    if borrowing is not None:
        spec["borrowingLimitPercent"] = borrowing
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": spec}}


@pytest.fixture
def seats() -> Seats:
    made = Seats(VirtualClock(), 4)
    made.configure([limited("a", 1), limited("b", 1)])
    return made


async def waiting(seats: Seats, level: str, *flows: str) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(seats.wait(seats.levels[level], flow)) for flow in flows]
    await asyncio.sleep(0)
    return tasks


async def test_flows_take_turns_for_seats_that_come_free(seats: Seats) -> None:
    a = seats.levels["a"]
    assert [seats.take(a) for _ in range(3)] == [True, True, False]
    tasks = await waiting(seats, "a", "greedy", "greedy", "greedy", "modest")
    for _ in range(2):
        seats.give_back(a)
    await asyncio.sleep(0)
    assert [t.done() for t in tasks] == [True, False, False, True] and a.running == 2 and a.waiting == 2
    for _ in range(2):
        seats.give_back(a)
    assert await asyncio.gather(*tasks) == [True] * 4 and a.waiting == 0


async def test_nobody_overtakes_those_who_wait(seats: Seats) -> None:
    a = seats.levels["a"]
    while seats.take(a):
        pass
    (task,) = await waiting(seats, "a", "x")
    assert not seats.take(a)
    seats.give_back(a)
    assert await task


async def test_who_waits_too_long_is_turned_away() -> None:
    clock = VirtualClock()
    seats = Seats(clock, 2)
    seats.configure([limited("a", 1)])
    a = seats.levels["a"]
    while seats.take(a):
        pass
    (task,) = await waiting(seats, "a", "x")
    await clock.advance(WAIT_SECONDS + 1)
    assert await task is False and (a.waiting, a.queues, a.timed_out) == (0, {}, 1)


async def test_a_full_queue_turns_away_at_once() -> None:
    seats = Seats(VirtualClock(), 1)
    seats.configure([limited("a", 1, length=2)])
    assert seats.take(seats.levels["a"])
    tasks = await waiting(seats, "a", "x", "x")
    assert await seats.wait(seats.levels["a"], "x") is False
    for task in tasks:
        task.cancel()


async def test_somebody_who_gives_up_while_waiting_takes_no_seat(seats: Seats) -> None:
    a = seats.levels["a"]
    while seats.take(a):
        pass
    first, second = await waiting(seats, "a", "x", "x")
    first.cancel()
    await asyncio.sleep(0)
    seats.give_back(a)
    assert await second and a.running == 2
    third = (await waiting(seats, "a", "x"))[0]
    seats.give_back(a)
    third.cancel()  # the seat was given in the same turn
    await asyncio.gather(third, return_exceptions=True)
    assert a.running == 1 and a.waiting == 0


async def test_seats_are_lent_to_levels_that_may_borrow() -> None:
    seats = Seats(VirtualClock(), 10)
    seats.configure([limited("a", 1, lendable=40), limited("b", 1, borrowing=None), limited("c", 1, borrowing=0)])
    b = seats.levels["b"]
    taken = 0
    while seats.take(b):
        taken += 1
    assert taken == 10 - 2 - 4  # a keeps 60 % of its four, c all of them: b has its four, and nothing is over
    seats.configure([limited("a", 1, lendable=100), limited("b", 1, borrowing=None)])
    while seats.take(b):
        taken += 1
    assert taken == 10
    seats.give_back(b)
    assert seats.take(seats.levels["a"])

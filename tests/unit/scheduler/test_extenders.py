"""Extenders: a real HTTP server with opinions, and what becomes of a decision."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from world import Obj, World, node, pod

from pilothouse.scheduler.extender import Extender, ExtenderError
from pilothouse.scheduler.laps import NO_LAPS
from pilothouse.scheduler.outside import decide_with
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Outcome

Answer = Callable[[Obj], Any]


class Outside:
    """A server that answers verbs with functions, and extenders that ask it."""

    def __init__(self, server: TestServer) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Obj]] = []
        self.server = server
        self.extenders: list[Extender] = []

    def extender(self, **fields: Any) -> Extender:
        made = Extender({"urlPrefix": str(self.server.make_url("/x/")), **fields})
        self.extenders.append(made)
        return made

    async def handle(self, request: web.Request) -> web.Response:
        verb, body = request.match_info["verb"], await request.json()
        self.asked.append((verb, body))
        answer = self.answers[verb](body)
        return web.json_response(answer) if answer is not None else web.Response(status=500)


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    app = web.Application()
    server = TestServer(app)
    made = Outside(server)
    app.router.add_post("/x/{verb}", made.handle)
    await server.start_server()
    yield made
    for extender in made.extenders:
        await extender.close()
    await server.close()


def decide(world: World, obj: Obj, *extenders: Extender) -> Awaitable[Outcome]:
    return decide_with(extenders, world.snapshot, pod_info(obj), world.profile, random.Random(0), NO_LAPS)


async def test_an_extender_removes_nodes_and_says_why(outside: Outside) -> None:
    outside.answers["f"] = lambda asked: {"NodeNames": ["b"], "FailedNodes": {"a": "too warm"}}
    extender = outside.extender(filterVerb="f", nodeCacheCapable=True)
    world = World(node("a"), node("b"))
    assert (await decide(world, pod("p"), extender)).node == "b"
    assert outside.asked[0][1]["NodeNames"] == ["a", "b"] and outside.asked[0][1]["Pod"]["metadata"]["name"] == "p"
    outside.answers["f"] = lambda asked: {
        "nodenames": [],
        "failedNodes": {"a": "too warm"},
        "failedAndUnresolvableNodes": {"b": "gone"},
    }
    refused = await decide(world, pod("q"), extender)
    assert refused.status is not None
    assert refused.status.reasons[0].startswith("0/2 nodes are available: 1 gone, 1 too warm.")


async def test_an_extender_without_a_cache_gets_whole_nodes(outside: Outside) -> None:
    outside.answers["f"] = lambda asked: {
        "Nodes": {"items": [n for n in asked["Nodes"]["items"] if n["metadata"]["name"] == "a"]}
    }
    assert (await decide(World(node("a"), node("b")), pod("p"), outside.extender(filterVerb="f"))).node == "a"


async def test_scores_of_extenders_are_added_by_weight(outside: Outside) -> None:
    outside.answers["s"] = lambda asked: [{"Host": "a", "Score": 0}, {"Host": "b", "Score": 10}]
    outcome = await decide(World(node("a"), node("b")), pod("p"), outside.extender(prioritizeVerb="s", weight=5))
    assert outcome.node == "b"
    scores = dict(outcome.weighted)
    assert list(scores["Extender"]) == [0, 500]


async def test_only_pods_that_ask_for_its_resources_are_shown_to_an_extender(outside: Outside) -> None:
    extender = outside.extender(filterVerb="f", managedResources=[{"name": "example.com/foo"}])
    assert (await decide(World(node("a")), pod("p"), extender)).node == "a" and not outside.asked


async def test_an_extender_that_fails_stops_the_pod_unless_it_may_be_ignored(outside: Outside) -> None:
    outside.answers["f"] = lambda asked: None
    world = World(node("a"))
    failed = await decide(world, pod("p"), outside.extender(filterVerb="f"))
    assert failed.node is None and failed.status is not None
    assert failed.status.code.value == "Error" and "code 500" in failed.status.reasons[0]
    assert (await decide(world, pod("p"), outside.extender(filterVerb="f", ignorable=True))).node == "a"
    gone = Extender({"urlPrefix": "http://127.0.0.1:9", "filterVerb": "f"})
    assert "127.0.0.1:9" in ((await decide(world, pod("p"), gone)).status or failed.status).reasons[0]
    await gone.close()


async def test_an_extender_must_not_invent_nodes(outside: Outside) -> None:
    outside.answers["f"] = lambda asked: {"NodeNames": ["c"]}
    outcome = await decide(World(node("a")), pod("p"), outside.extender(filterVerb="f", nodeCacheCapable=True))
    assert outcome.status is not None and "which is not found in the input node list" in outcome.status.reasons[0]


async def test_nodes_that_come_and_go_while_an_extender_thinks_are_looked_at_anew(outside: Outside) -> None:
    world = World(node("a"), node("b"))

    def slowly(asked: Obj) -> Obj:
        world.table.remove_node("b")
        return {"NodeNames": asked["NodeNames"]}

    outside.answers["f"] = slowly
    assert (await decide(world, pod("p"), outside.extender(filterVerb="f", nodeCacheCapable=True))).node == "a"


def crowded() -> World:
    world = World(node("a", pods="1"), node("b", pods="1"))
    world.place(pod("on-a", priority=1), "a")
    world.place(pod("on-b", priority=2), "b")
    return world


async def test_an_extender_has_a_say_about_victims(outside: Outside) -> None:
    outside.answers["v"] = lambda asked: {"NodeNameToMetaVictims": {"b": {"Pods": [{"UID": "uid-on-b"}], "NumPDBViolations": 0}}}
    outcome = await decide(crowded(), pod("p", priority=9), outside.extender(preemptVerb="v", nodeCacheCapable=True))
    assert outcome.preemption is not None
    assert (outcome.preemption.node, [p.key for p in outcome.preemption.victims]) == ("b", ["default/on-b"])
    assert set(outside.asked[0][1]["NodeNameToMetaVictims"]) == {"a", "b"}
    outside.answers["v"] = lambda asked: {"NodeNameToMetaVictims": {}}
    assert (await decide(crowded(), pod("p", priority=9), outside.extender(preemptVerb="v"))).preemption is None


async def test_an_extender_binds_in_the_schedulers_place(outside: Outside) -> None:
    outside.answers["b"] = lambda asked: {"Error": ""} if asked["Node"] == "a" else {"error": "not that one"}
    extender = outside.extender(bindVerb="b")
    await extender.bind(pod_info(pod("p")), "a")
    assert outside.asked[0][1] == {"PodName": "p", "PodNamespace": "default", "PodUID": "uid-p", "Node": "a"}
    with pytest.raises(ExtenderError, match="not that one"):
        await extender.bind(pod_info(pod("p")), "b")

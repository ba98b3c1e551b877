"""Every vectorised plugin against the plain reading of its rule, on random clusters."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import schedule

from . import plain
from .vectorised import PLUGINS, PROFILE, cycle, refusals, scores, snapshot
from .worlds import World, examples, worlds


@pytest.mark.parametrize("name", plain.FILTERS)
@examples
@given(data=st.data())
def test_filters_refuse_the_same_nodes(name: str, data: st.DataObject) -> None:
    world = data.draw(worlds(name))
    made = cycle(snapshot(world), world.pod)
    assert refusals(PLUGINS[name], made) == {n for n, node in world.nodes.items() if plain.FILTERS[name](world, node)}


@pytest.mark.parametrize("name", plain.SCORES)
@examples
@given(data=st.data())
def test_scores_are_the_same(name: str, data: st.DataObject) -> None:
    world = data.draw(worlds(name))
    finalists = data.draw(st.lists(st.sampled_from(list(world.nodes)), min_size=1, unique=True))
    finalists = [n for n in world.nodes if n in finalists]
    found = scores(PLUGINS[name], cycle(snapshot(world), world.pod), finalists)
    wanted = plain.SCORES[name](world, finalists)
    if name == "InterPodAffinity" and found is None:
        found = dict.fromkeys(finalists, 0)  # nobody has feelings: the plugin skips
    assert found == wanted


@examples
@given(worlds(), st.integers(0, 3))
def test_the_whole_decision_is_the_same(world: World, seed: int) -> None:
    decision = schedule(snapshot(world), pod_info(world.pod), PROFILE, random.Random(seed))
    finalists = plain.feasible(world)
    assert (decision.node is not None) == bool(finalists)
    if len(finalists) < 2:
        assert decision.node == (finalists[0] if finalists else None)
        return
    weighted = {name: of(world, finalists) or dict.fromkeys(finalists, 0) for name, of in plain.SCORES.items()}
    totals = {n: sum(s[n] * PROFILE.weights[name] for name, s in weighted.items()) for n in finalists}
    assert decision.totals == totals and totals[decision.node or ""] == max(totals.values())


@examples
@given(worlds())
def test_preemption_finds_the_cheapest_victims(world: World) -> None:
    decision = schedule(snapshot(world), pod_info(world.pod), PROFILE)
    if plain.feasible(world):
        assert decision.nominated == ""
        return
    possible = {n: v for n in world.nodes if (v := plain.victims(world, n)) is not None}
    if not possible:
        assert decision.nominated == ""
        return
    prices = {n: plain.price(v) for n, v in possible.items()}
    assert prices[decision.nominated] == min(prices.values())
    assert {v.partition("/")[2] for v in decision.victims} == {v["metadata"]["name"] for v in possible[decision.nominated]}

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.controllers import deployment_plan as plans
from pilothouse.controllers import deployment_revisions as revisions
from pilothouse.controllers.deployment_plan import State, plan

from .builders import deployment, replica_set, rolling

DESIRED, MAXIMUM, REVISION, HISTORY = revisions.DESIRED, revisions.MAXIMUM, revisions.REVISION, revisions.HISTORY


def marks(desired: int, most: int, revision: int) -> dict[str, str]:
    return {DESIRED: str(desired), MAXIMUM: str(most), REVISION: str(revision)}


def sizes(result) -> dict[str, int]:
    return {r.target["metadata"]["name"]: r.replicas for r in result.resize}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "most", "least"),
    [
        (4, "25%", "25%", 5, 3),
        (3, "25%", "25%", 4, 3),
        (5, "10%", "10%", 6, 5),
        (7, "34%", "33%", 10, 5),
        (8, "50%", "25%", 12, 6),
        (10, 0, 0, 10, 9),
        (3, 0, "5%", 3, 2),
        (2, 5, 9, 7, 0),
        (0, "25%", "25%", 0, 0),
    ],
)
def test_surge_rounds_up_and_unavailability_rounds_down(replicas, surge, unavailable, most, least):
    bounds = plans.limits(deployment(replicas, strategy=rolling(surge, unavailable)))
    assert (bounds.most, bounds.least_available) == (most, least)


def test_the_first_set_gets_all_replicas_at_once():
    made = plan(State(deployment(3, annotations={"note": "kept"}), [])).create
    digest = made["metadata"]["labels"][revisions.HASH_LABEL]
    assert made["metadata"]["name"] == f"d-{digest}"
    assert made["metadata"]["annotations"] == {"note": "kept", **marks(3, 4, 1)}
    assert made["spec"]["replicas"] == 3
    assert made["spec"]["selector"] == {"matchLabels": {"app": "a", revisions.HASH_LABEL: digest}}
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "a", revisions.HASH_LABEL: digest}


def test_a_new_template_surges():
    old = replica_set("d-1", 4, annotations=marks(4, 5, 1), age=50)
    made = plan(State(deployment(4, image="v2"), [old])).create
    assert made["spec"]["replicas"] == 1
    assert made["metadata"]["annotations"][REVISION] == "2"


def test_unhealthy_old_pods_go_first_and_healthy_ones_as_availability_allows():
    healthy = replica_set("d-1", 3, annotations=marks(4, 5, 1), age=90)
    broken = replica_set("d-2", 2, image="v2", available=0, annotations=marks(4, 5, 2), age=50)
    new = replica_set("d-3", 0, image="v3", annotations=marks(4, 5, 3))
    result = plan(State(deployment(4, image="v3", strategy=rolling(1, 1)), [healthy, broken, new]))
    assert sizes(result) == {"d-2": 0}


def test_recreate_waits_until_no_old_pod_runs():
    d = deployment(2, image="v2", strategy={"type": "Recreate"})
    old = replica_set("d-1", 2, annotations=marks(2, 2, 1), age=50)
    assert sizes(plan(State(d, [old]))) == {"d-1": 0}
    stopped = replica_set("d-1", 0, annotations=marks(2, 2, 1), age=50)
    assert plan(State(d, [stopped], old_pods_run=True)) == plans.Plan()
    assert plan(State(d, [stopped])).create["spec"]["replicas"] == 2


def test_a_paused_deployment_makes_no_new_set_but_scales():
    old = replica_set("d-1", 2, annotations=marks(2, 3, 1), age=50)
    assert plan(State(deployment(2, image="v2", spec={"paused": True}), [old])) == plans.Plan()
    assert sizes(plan(State(deployment(5, image="v2", spec={"paused": True}), [old]))) == {"d-1": 5}


@pytest.mark.parametrize(
    ("before", "after", "strategy", "old", "new"),
    [
        (10, 15, rolling(3, 2), (8, 11), (5, 7)),
        (10, 6, rolling(3, 2), (8, 6), (5, 3)),
        (6, 12, rolling("50%", "25%"), (5, 10), (4, 8)),
    ],
)
def test_scaling_in_the_middle_of_a_rollout_is_proportional(before, after, strategy, old, new):
    most = plans.limits(deployment(before, strategy=strategy)).most
    sets = [
        replica_set("d-1", old[0], annotations=marks(before, most, 1), age=50),
        replica_set("d-2", new[0], image="v2", available=0, annotations=marks(before, most, 2)),
    ]
    result = plan(State(deployment(after, image="v2", strategy=strategy), sets))
    assert sizes(result) == {"d-1": old[1], "d-2": new[1]}
    assert {r.annotations[DESIRED] for r in result.resize} == {str(after)}


def test_going_back_to_an_old_template_makes_its_set_the_newest_revision():
    first = replica_set("d-1", 0, annotations=marks(2, 3, 1), age=50)
    second = replica_set("d-2", 2, image="v2", annotations=marks(2, 3, 2))
    (change,) = plan(State(deployment(2), [first, second])).resize
    assert change.target is first
    assert change.replicas == 0
    assert change.annotations == {**marks(2, 3, 3), HISTORY: "1"}


def test_old_revisions_beyond_the_limit_are_forgotten_when_the_rollout_is_complete():
    old = [replica_set(f"d-{i}", 0, image=f"v{i}", annotations=marks(2, 3, i), age=90 - i) for i in (1, 2, 3)]
    now = replica_set("d-4", 2, image="v4", annotations=marks(2, 3, 4))
    d = deployment(2, image="v4", spec={"revisionHistoryLimit": 1})
    assert [s["metadata"]["name"] for s in plan(State(d, [*old, now])).delete] == ["d-1", "d-2"]
    unfinished = replica_set("d-4", 2, image="v4", available=1, annotations=marks(2, 3, 4))
    assert plan(State(d, [*old, unfinished])).delete == ()


def test_a_set_edited_by_hand_is_put_back():
    edited = replica_set("d-1", 4, annotations=marks(2, 3, 1))
    assert sizes(plan(State(deployment(2), [edited]))) == {"d-1": 2}


def settle(sets):
    """What the replica set controller and the nodes do, given time: every set gets its pods, all available."""
    for each in sets:
        n = each["spec"]["replicas"]
        each["status"] = {"replicas": n, "availableReplicas": n, "readyReplicas": n, "observedGeneration": 1}


def carry_out(result, sets):
    if result.create:
        made = result.create
        made["metadata"].setdefault("uid", made["metadata"]["name"])
        sets.append({**made, "status": {}})
    for change in result.resize:
        change.target["spec"] = {**change.target["spec"], "replicas": change.replicas}
        change.target["metadata"] = {**change.target["metadata"], "annotations": change.annotations}
    for each in result.delete:
        sets.remove(each)


amounts = st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda p: f"{p}%"))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 12), amounts, amounts, st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=3), st.booleans()
)
def test_every_rollout_ends_within_its_bounds(replicas, surge, unavailable, edits, wait):
    """Whatever the strategy and however it is edited on the way: it ends, and never goes beyond its limits."""
    sets: list = []
    script = [(replicas, 1), *edits, (replicas, 9)]
    for wanted, version in script:
        d = deployment(wanted, image=f"v{version}", strategy=rolling(surge, unavailable))
        last = version == 9
        for _ in range(200 if last else 3):
            before = sum(s["spec"]["replicas"] for s in sets)
            result = plan(State(d, sets))
            if result.create is None and not result.resize and not result.delete:
                break
            carry_out(result, sets)
            total = sum(s["spec"]["replicas"] for s in sets)
            assert total <= max(plans.limits(d).most, before)
            if last or not wait:
                settle(sets)
        else:
            assert not last, "the rollout never ends"
    active = [s for s in sets if s["spec"]["replicas"]]
    assert [s["spec"]["replicas"] for s in active] == ([replicas] if replicas else [])
    if replicas:
        assert active[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "v9"


def test_the_hash_is_stable_and_depends_on_collisions():
    template = deployment(1)["spec"]["template"]
    assert revisions.template_hash(template, 0) == revisions.template_hash(dict(reversed(template.items())), 0)
    assert revisions.template_hash(template, 0) != revisions.template_hash(template, 1)


def test_pods_that_are_about_to_go_are_not_counted_on():
    """After a set was made smaller its status still tells of more pods for a while."""
    strategy = rolling(3, 2)
    old = replica_set("d-1", 6, available=8, annotations=marks(6, 9, 1), age=50)
    new = replica_set("d-2", 3, image="v2", available=0, annotations=marks(6, 9, 2))
    assert sizes(plan(State(deployment(6, image="v2", strategy=strategy), [old, new]))) == {"d-1": 4}

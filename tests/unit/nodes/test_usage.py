"""What simulated pods use, as functions of time."""

from __future__ import annotations

import math

import pytest

from pilothouse.clock import rfc3339
from pilothouse.nodes import usage
from pilothouse.nodes.behaviour import Meter

NOW = 1_767_225_600.0


@pytest.mark.parametrize(
    ("text", "age", "milli"),
    [
        ("250m", 0, 250),
        ("2", 0, 2000),
        ("ramp(0, 1, 100s)", 50, 500),
        ("ramp(0, 1, 100s)", 500, 1000),
        ("steps(100m, 30s, 900m, 5m, 200m)", 10, 100),
        ("steps(100m, 30s, 900m, 5m, 200m)", 60, 900),
        ("steps(100m, 30s, 900m, 5m, 200m)", 1000, 200),
    ],
)
def test_a_load_at_an_age(text, age, milli):
    load = usage.parse(text)
    assert load is not None
    assert load.amount(age, NOW) == milli


def test_a_wave_goes_from_low_to_high_and_back():
    load = usage.parse("sin(100m, 900m, 10m)")
    assert load is not None
    assert [round(load.amount(0, 600 * t)) for t in (0, 0.25, 0.5, 1)] == [100, 500, 900, 100]


@pytest.mark.parametrize("text", ["", "much", "sin(1)", "sin(1,2,x)", "steps(1, 2s)", "jump(1, 2, 3s)"])
def test_what_means_nothing_is_no_load(text):
    assert usage.parse(text) is None


def pod(name: str, annotations=None, containers=1, owner: str = "", phase: str = "Running"):
    refs = [{"uid": owner, "controller": True}] if owner else []
    return {
        "metadata": {"namespace": "ns", "name": name, "uid": name, "annotations": annotations or {}, "ownerReferences": refs},
        "spec": {"nodeName": "n1", "containers": [{"name": f"c{n}"} for n in range(containers)]},
        "status": {"phase": phase, "startTime": rfc3339(NOW - 10)},
    }


def test_pods_of_one_owner_share_a_load_and_the_node_bears_it_all():
    shared = {"pilothouse.dev/cpu-usage": "shared 1200m"}
    pods = [pod(f"p{n}", shared, owner="o") for n in range(3)] + [pod("gone", shared, owner="o", phase="Succeeded")]
    told = usage.report(["n1"], pods, NOW)
    assert [p[2]["c0"]["cpu"] for p in told["pods"]] == ["400m"] * 3
    assert told["nodes"]["n1"]["cpu"] == "1250m"


def test_a_container_may_have_a_load_of_its_own():
    told = usage.report(["n1"], [pod("p", {"pilothouse.dev/cpu-usage": "1", "pilothouse.dev/cpu-usage.c1": "3"}, 2)], NOW)
    assert {c: u["cpu"] for c, u in told["pods"][0][2].items()} == {"c0": "500m", "c1": "3000m"}


def test_what_requests_cost_comes_on_top():
    requests = {"p": {"c1": 250}, "gone": {"c0": 1000}}
    told = usage.report(["n1"], [pod("p", {"pilothouse.dev/cpu-usage": "1"}, 2)], NOW, requests)
    assert {c: u["cpu"] for c, u in told["pods"][0][2].items()} == {"c0": "500m", "c1": "750m"}
    assert told["nodes"]["n1"]["cpu"] == "1300m"


def test_a_steady_rate_is_measured_as_it_is_and_fades_when_it_ends():
    meter = Meter()
    for n in range(3000):  # a hundred a second for half a minute, 5 ms each
        meter.add(0.005, n / 100)
    assert meter.rate(30) == pytest.approx(0.5, rel=0.02)
    assert meter.rate(45) == pytest.approx(0.5 / math.e**3, rel=0.05) and meter.rate(600) < 1e-6

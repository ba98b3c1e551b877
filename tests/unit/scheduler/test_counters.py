"""Counters of pods by selector: the same by deltas as counted afresh, whatever comes and goes."""

from __future__ import annotations

import random

import pytest

from pilothouse.api import selectors
from pilothouse.scheduler.counters import PodCounters, required_labels
from pilothouse.scheduler.podinfo import PodInfo, pod_info

SELECTORS = [
    {"matchLabels": {"app": "a"}},
    {"matchLabels": {"app": "b", "tier": "x"}},
    {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["x"]}]},
    {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]},
    {},
]


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ({"matchLabels": {"a": "1", "b": "2"}}, (("a", "1"), ("b", "2"))),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, (("a", "1"),)),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, ()),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, ()),
        (None, ()),
    ],
)
def test_labels_that_every_pod_of_a_selector_has(selector, labels):
    assert required_labels(selector) == labels


def make_pod(dice: random.Random, number: int) -> PodInfo:
    labels = {"app": dice.choice("ab"), **({"tier": dice.choice("xy")} if dice.random() < 0.5 else {})}
    namespace = dice.choice(["one", "two"])
    metadata = {"name": f"p{number}", "namespace": namespace, "uid": f"{number}", "labels": labels}
    return pod_info({"metadata": metadata, "spec": {"containers": [{"name": "c"}]}})


@pytest.mark.parametrize("seed", range(20))
def test_deltas_end_where_a_fresh_count_would(seed):
    dice = random.Random(seed)
    counters, pods = PodCounters(), {}
    counters.LIMIT = 4  # so that some are dropped and made again
    for step in range(200):
        if pods and dice.random() < 0.4:
            row, pod = pods.pop(dice.choice(list(pods)))
            counters.account(row, pod, -1)
        else:
            row, pod = dice.randrange(5), make_pod(dice, step)
            pods[pod.key] = row, pod
            counters.account(row, pod, 1)
        number, namespaces = dice.randrange(len(SELECTORS)), dice.choice([None, frozenset(["one"]), frozenset(["one", "two"])])
        matches = selectors.label_predicate(SELECTORS[number])
        wants = lambda pod, matches=matches: matches(pod.labels)  # noqa: E731
        found = counters.get((number, namespaces)) or counters.make(
            (number, namespaces), namespaces, required_labels(SELECTORS[number]), wants, 5, lambda: pods.values()
        )
        fresh = [0] * 5
        for row, pod in pods.values():
            fresh[row] += (namespaces is None or pod.namespace in namespaces) and wants(pod)
        assert list(found.counts.data) == fresh

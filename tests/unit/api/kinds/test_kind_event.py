"""Events in both groups: the same objects, told in two ways, with stricter rules for the newer one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kind_kit import Kind

old_events = Kind("", "v1", "events")
events = Kind("events.k8s.io", "v1", "events")
NEW: dict[str, Any] = {"eventTime": "2024-01-02T03:04:05.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1",
                       "action": "Did", "reason": "Because", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "ns", "name": "p"}}  # fmt: skip


def test_an_old_event_must_be_in_the_namespace_of_its_object() -> None:
    assert old_events.wrong({"involvedObject": {"namespace": "ns"}}) == []
    assert old_events.wrong({"involvedObject": {"namespace": "other"}}) == [
        'involvedObject.namespace: Invalid value: "other": does not match event.namespace'
    ]


def test_events_of_cluster_wide_objects_are_in_the_default_namespace() -> None:
    assert old_events.wrong({"metadata": {"name": "a", "namespace": "default"}, "involvedObject": {"kind": "Node"}}) == []
    assert old_events.wrong({"involvedObject": {"kind": "Node"}}) == [
        'involvedObject.namespace: Invalid value: "": does not match event.namespace'
    ]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"eventTime": None}, ["eventTime: Required value"]),
        ({"reason": None}, ["reason: Required value"]),
        ({"action": "x" * 129}, ['action: Invalid value: "": can have at most 128 characters']),
        ({"note": "x" * 1025}, ['message: Invalid value: "": can have at most 1024 characters']),
        ({"type": "Odd"}, ['type: Invalid value: "": has invalid value: Odd']),
        (
            {"series": {"count": 1}},
            ['series.count: Invalid value: "": should be at least 2', "series.lastObservedTime: Required value"],
        ),
        ({"deprecatedCount": 3}, ['count: Invalid value: "": needs to be unset']),
    ],
)
def test_a_new_event_must_be_complete(changes: dict[str, Any], wrong: list[str]) -> None:
    assert events.wrong({k: v for k, v in {**NEW, **changes}.items() if v is not None}) == wrong


def test_a_new_event_changes_only_in_its_series() -> None:
    series = {"count": 2, "lastObservedTime": "2024-01-02T03:04:06.000000Z"}
    assert events.update(NEW, {"series": series})[1] == []
    assert events.update(NEW, {"note": "x", "reason": "Other"})[1] == [
        'reason: Invalid value: "Other": field is immutable',
        'message: Invalid value: "x": field is immutable',
        'reason: Invalid value: "Other": field is immutable',
    ]


def test_an_event_survives_the_way_to_the_other_group_and_back() -> None:
    made, _ = events.create({**NEW, "note": "hello"})
    stored = events.strategy.convert(json.loads(json.dumps(made)), "v1")
    assert stored["involvedObject"] == NEW["regarding"]
    assert (stored["message"], stored["reportingComponent"]) == ("hello", "example.com/c")
    again = events.strategy.convert({**stored, "apiVersion": "v1"}, "events.k8s.io/v1")
    assert {k: v for k, v in again.items() if k != "apiVersion"} == {k: v for k, v in made.items() if k != "apiVersion"}


def test_both_groups_select_by_the_same_values() -> None:
    made, _ = old_events.create({"involvedObject": {"namespace": "ns", "kind": "Pod"}, "source": {"component": "c"}})
    assert old_events.strategy.fields(made)["involvedObject.kind"] == "Pod"
    assert old_events.strategy.fields(made)["source"] == "c"
    shared = zip(old_events.strategy.selectable, events.strategy.selectable, strict=False)
    assert [(a, b) for a, b in shared if a.rpartition(".")[2] != b.rpartition(".")[2]] == [
        ("reportingComponent", "reportingController")
    ]

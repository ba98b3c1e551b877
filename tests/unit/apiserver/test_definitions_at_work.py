"""Definitions that come, change, want each other's names and go."""

import asyncio
from typing import Any

from .kit import Caller, hub
from .test_custom_resources import CRDS, MERGE, SPEC, WIDGETS, define, definition, until, widget
from .test_watches import follow
from .test_watches import until as happens

WIDGET = f"{CRDS}/widgets.example.com"


def named(plural: str, **names: Any) -> dict[str, Any]:
    crd = definition()
    crd["metadata"]["name"] = f"{plural}.example.com"
    crd["spec"]["names"] = {"plural": plural, "kind": plural.title(), **names}
    return crd


async def conditions(call: Caller, plural: str) -> dict[str, tuple[str, str]]:
    found = (await call("GET", f"{CRDS}/{plural}.example.com")).body["status"].get("conditions") or []
    return {c["type"]: (c["status"], c["reason"]) for c in found}


async def until_condition(call: Caller, plural: str, type: str, status: str) -> None:
    async with asyncio.timeout(10):
        while (await conditions(call, plural)).get(type, ("",))[0] != status:
            await asyncio.sleep(0)


async def test_watches_end_when_the_definition_changes_what_they_watch() -> None:
    async with hub() as call:
        await define(call, definition())
        wire, _ = await follow(call, path=WIDGETS)
        await call("PATCH", WIDGET, {"metadata": {"labels": {"a": "b"}}}, media=MERGE)
        await call("POST", WIDGETS, widget(size=1))
        await happens(lambda: wire.told() == [("ADDED", "a")])
        assert not wire.ended
        await call("PATCH", WIDGET, {"spec": {"names": {"shortNames": ["w"]}}}, media=MERGE)
        await happens(lambda: wire.ended)


async def test_watches_of_a_deleted_definition_hear_of_every_deletion_and_end() -> None:
    async with hub() as call:
        await define(call, definition())
        await call("POST", WIDGETS, widget("a", size=1))
        await call("POST", WIDGETS, widget("b", size=1))
        wire, _ = await follow(call, path=WIDGETS)
        await call("DELETE", WIDGET)
        await happens(lambda: wire.ended)
        assert wire.told()[-2:] == [("DELETED", "a"), ("DELETED", "b")]
        assert (await call("GET", WIDGET)).code == 404


async def test_a_definition_waits_for_names_that_another_has() -> None:
    async with hub() as call:
        await define(call, named("widgets", shortNames=["w"]))
        assert (await call("POST", CRDS, named("wheels", shortNames=["w"]))).code == 201
        await until_condition(call, "wheels", "NamesAccepted", "False")
        assert await conditions(call, "wheels") == {
            "NamesAccepted": ("False", "ShortNamesConflict"),
            "Established": ("False", "NotAccepted"),
        }
        assert (await call("GET", "/apis/example.com/v1/namespaces/default/wheels")).code == 404
        await call("PATCH", WIDGET, {"spec": {"names": {"shortNames": []}}}, media=MERGE)
        await until(call, "/apis/example.com/v1/namespaces/default/wheels", 200)
        assert (await conditions(call, "wheels"))["NamesAccepted"] == ("True", "NoConflicts")


async def test_names_are_free_when_their_definition_is_deleted() -> None:
    async with hub() as call:
        await define(call, named("widgets", kind="Thing"))
        await call("POST", CRDS, named("wheels", kind="Thing"))
        await until_condition(call, "wheels", "NamesAccepted", "False")
        await call("DELETE", WIDGET)
        await until_condition(call, "wheels", "Established", "True")


async def test_objects_of_a_version_that_is_not_served_are_deleted_with_the_definition() -> None:
    async with hub() as call:
        await define(call, definition())
        await call("POST", WIDGETS, widget(size=1))
        crd = (await call("GET", WIDGET)).body
        crd["spec"]["versions"][0]["served"] = False
        assert (await call("PUT", WIDGET, crd)).code == 200
        await until(call, WIDGETS, 404)
        await call("DELETE", WIDGET)
        await until(call, WIDGET, 404)
        await define(call, definition())
        assert (await call("GET", WIDGETS)).body["items"] == []


async def test_a_definition_that_waits_for_a_finalizer_does_not_hold_up_others() -> None:
    async with hub() as call:
        await define(call, definition())
        held = widget(size=1)
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await call("POST", WIDGETS, held)
        await call("DELETE", WIDGET)
        await until_condition(call, "widgets", "Terminating", "True")
        await call("POST", CRDS, named("wheels"))
        await until(call, "/apis/example.com/v1/namespaces/default/wheels", 200)
        assert (await conditions(call, "widgets"))["Terminating"] == ("True", "InstanceDeletionInProgress")
        await call("PATCH", f"{WIDGETS}/a", {"metadata": {"finalizers": None}}, media=MERGE)
        await until(call, WIDGET, 404)


async def test_a_schema_that_changes_keeps_what_is_stored() -> None:
    async with hub() as call:
        await define(call, definition())
        await call("POST", WIDGETS, widget(size=7))
        crd = (await call("GET", WIDGET)).body
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = {**SPEC, "required": []}
        await call("PUT", WIDGET, crd)
        assert (await call("GET", f"{WIDGETS}/a")).body["spec"]["size"] == 7

"""Custom resources whose versions a webhook converts: v1 has a host and a port, v2 an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .kit import Caller, hub
from .test_watches import follow, until
from .webhook_kit import Hooks, Obj, hooks

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
V1, V2 = ("/apis/example.com/" + v + "/namespaces/default/doors" for v in ("v1", "v2"))
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
TEXT = {"type": "string"}


def change(obj: Obj, version: str) -> Obj:
    """One object in the other version, as an operator's author would write it."""
    spec = dict(obj.get("spec") or {})
    if version == "example.com/v2" and "host" in spec:
        spec["address"] = f"{spec.pop('host')}:{spec.pop('port', '')}"
    elif version == "example.com/v1" and "address" in spec:
        spec["host"], _, spec["port"] = spec.pop("address").partition(":")
    return {**obj, "apiVersion": version, "spec": spec}


def convert(review: Obj) -> Obj:
    asked = review["request"]
    objects = [change(o, asked["desiredAPIVersion"]) for o in asked["objects"]]
    return answer(review, objects)


def answer(review: Obj, objects: list[Any], **status: Any) -> Obj:
    result = status or {"status": "Success"}
    return {
        **review,
        "request": None,
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": objects},
    }


def definition(client: Obj, storage: str = "v1", strategy: str = "Webhook") -> Obj:
    fields = {"v1": {"host": TEXT, "port": TEXT, "color": {**TEXT, "default": "red"}}, "v2": {"address": TEXT, "color": TEXT}}
    versions = [
        {
            "name": name, "served": True, "storage": name == storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": found}}}},
        }
        for name, found in fields.items()
    ]  # fmt: skip
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    conversion = {"strategy": strategy} | ({"webhook": webhook} if strategy == "Webhook" else {})
    names = {"plural": "doors", "kind": "Door"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions, "conversion": conversion}
    return {"metadata": {"name": "doors.example.com"}, "spec": spec}


def door(version: str, name: str = "a", **spec: str) -> Obj:
    return {"apiVersion": f"example.com/{version}", "kind": "Door", "metadata": {"name": name}, "spec": spec}


async def served(call: Caller, crd: Obj) -> None:
    assert (await call("POST", CRDS, crd)).code == 201
    async with asyncio.timeout(10):
        while (await call("GET", V2)).code != 200:
            await asyncio.sleep(0)


@asynccontextmanager
async def doors(decide: Any = convert, **more: Any) -> AsyncIterator[tuple[Caller, Hooks]]:
    async with hub() as call, hooks(c=decide) as server:
        await served(call, definition(server.client("/c"), **more))
        yield call, server


async def test_an_object_is_read_in_the_version_that_is_asked_for() -> None:
    async with doors() as (call, server):
        made = await call("POST", V1, door("v1", host="h", port="1"))
        assert (made.code, made.body["spec"]) == (201, {"host": "h", "port": "1", "color": "red"})
        assert not server.asked  # the stored version needs nobody
        got = (await call("GET", f"{V2}/a")).body
        assert (got["apiVersion"], got["spec"]) == ("example.com/v2", {"address": "h:1", "color": "red"})
        assert got["metadata"] == made.body["metadata"]
        request = server.asked[0]["request"]
        assert (request["desiredAPIVersion"], request["objects"][0]["apiVersion"]) == ("example.com/v2", "example.com/v1")
        assert "resourceVersion" in request["objects"][0]["metadata"]


async def test_a_list_is_converted_in_one_call() -> None:
    async with doors() as (call, server):
        for n in range(3):
            await call("POST", V1, door("v1", f"a{n}", host=f"h{n}", port="1"))
        got = (await call("GET", V2)).body
        assert [o["spec"]["address"] for o in got["items"]] == ["h0:1", "h1:1", "h2:1"]
        assert {o["apiVersion"] for o in got["items"]} == {"example.com/v2"}
        assert len(server.asked) == 1
        table = await call("GET", V2, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [r["cells"][0] for r in table.body["rows"]] == ["a0", "a1", "a2"]


async def test_what_is_written_in_another_version_is_stored_in_the_stored_one() -> None:
    async with doors() as (call, _):
        made = await call("POST", V2, door("v2", address="h:1"))
        assert (made.code, made.body["spec"]) == (201, {"address": "h:1", "color": "red"})
        assert (await call("GET", f"{V1}/a")).body["spec"] == {"host": "h", "port": "1", "color": "red"}
        patched = await call("PATCH", f"{V2}/a", {"spec": {"address": "g:2"}}, media=MERGE)
        assert (patched.code, patched.body["spec"]["address"]) == (200, "g:2")
        assert (await call("GET", f"{V1}/a")).body["spec"] == {"host": "g", "port": "2", "color": "red"}
        put = await call("PUT", f"{V2}/a", {**patched.body, "spec": {"address": "f:3"}})
        assert put.code == 200, put.body
        assert (await call("GET", f"{V1}/a")).body["spec"]["host"] == "f"
        gone = await call("DELETE", f"{V2}/a")
        assert gone.code == 200
        assert (await call("GET", f"{V1}/a")).code == 404


async def test_field_owners_of_several_versions_apply_beside_each_other() -> None:
    async with doors() as (call, _):
        config = door("v1", host="h", port="1")
        assert (await call("PATCH", f"{V1}/a", config, media=APPLY, query={"fieldManager": "one"})).code == 201
        got = await call(
            "PATCH", f"{V2}/a", door("v2", color="blue"), media=APPLY, query={"fieldManager": "two", "force": "true"}
        )
        assert (got.code, got.body["spec"]) == (200, {"address": "h:1", "color": "blue"})
        owners = {m["manager"]: (m["apiVersion"], m["fieldsV1"]) for m in got.body["metadata"]["managedFields"]}
        assert owners["one"] == ("example.com/v1", {"f:spec": {"f:host": {}, "f:port": {}}})
        assert owners["two"] == ("example.com/v2", {"f:spec": {"f:color": {}}})


async def test_a_watch_tells_of_objects_in_its_version_and_in_order() -> None:
    async with doors() as (call, _):
        await call("POST", V1, door("v1", "a", host="h", port="1"))
        wire, _ = await follow(call, path=V2)
        for n in range(5):
            await call("PATCH", f"{V1}/a", {"spec": {"port": str(n + 2)}}, media=MERGE)
        await call("DELETE", f"{V1}/a")
        await until(lambda: len(wire.events) == 7)
        assert [e["type"] for e in wire.events] == ["ADDED"] + ["MODIFIED"] * 5 + ["DELETED"]
        assert [e["object"]["spec"]["address"] for e in wire.events] == [f"h:{n}" for n in (1, 2, 3, 4, 5, 6, 6)]


async def test_objects_stored_before_the_stored_version_changed_are_converted_too() -> None:
    async with doors() as (call, server):
        await call("POST", V1, door("v1", host="h", port="1"))
        crd = (await call("GET", f"{CRDS}/doors.example.com")).body
        change = {"spec": {**definition(server.client("/c"), storage="v2")["spec"]}}
        assert (await call("PATCH", f"{CRDS}/doors.example.com", change, media=MERGE)).code == 200, crd
        async with asyncio.timeout(10):
            while (await call("GET", f"{V1}/a")).body["spec"] != {"host": "h", "port": "1", "color": "red"}:
                await asyncio.sleep(0)
        assert (await call("GET", f"{V2}/a")).body["spec"] == {"address": "h:1", "color": "red"}
        assert (await call("PATCH", f"{V2}/a", {"spec": {"address": "g:2"}}, media=MERGE)).body["spec"]["address"] == "g:2"
        assert (await call("GET", f"{V1}/a")).body["spec"]["host"] == "g"


async def test_labels_and_annotations_are_the_webhooks_to_change_and_nothing_else_of_metadata() -> None:
    def relabel(review: Obj) -> Obj:
        found = [change(o, review["request"]["desiredAPIVersion"]) for o in review["request"]["objects"]]
        for o in found:
            o["metadata"] = {**o["metadata"], "labels": {"by": "hook"}, "finalizers": ["x/y"], "generation": 99}
        return answer(review, found)

    async with doors(relabel) as (call, _):
        await call("POST", V1, door("v1", host="h", port="1"))
        metadata = (await call("GET", f"{V2}/a")).body["metadata"]
        assert (metadata["labels"], metadata["generation"]) == ({"by": "hook"}, 1)
        assert "finalizers" not in metadata


def mislabelled(review: Obj) -> Obj:
    found = [change(o, review["request"]["desiredAPIVersion"]) for o in review["request"]["objects"]]
    return answer(review, [{**o, "metadata": {**o["metadata"], "labels": {"a": 1}}} for o in found])


def renamed(review: Obj) -> Obj:
    found = [change(o, review["request"]["desiredAPIVersion"]) for o in review["request"]["objects"]]
    return answer(review, [{**o, "metadata": {**o["metadata"], "name": "b"}} for o in found])


@pytest.mark.parametrize(
    ("decide", "told"),
    [
        (lambda r: answer(r, [], status="Failure", message="cannot"), "webhook for example.com/v1, Kind=Door failed: cannot"),
        (lambda r: answer(r, []), "for example.com/v1, Kind=Door returned 0 objects, expected 1"),
        (renamed, "for example.com/v1, Kind=Door returned invalid converted object at index 1: must have the same name: a != b"),
        (
            lambda r: answer(r, r["request"]["objects"]),
            "for example.com/v1, Kind=Door returned invalid converted object at index 1: invalid groupVersion (expected example.com/v2, received example.com/v1)",
        ),
        (
            mislabelled,
            "for example.com/v1, Kind=Door returned invalid metadata in object at index 1: metadata.labels[a] must be a string in converted object",
        ),
        (
            lambda r: {**r, "response": {"uid": "x"}},
            'webhook for example.com/v1, Kind=Door failed: expected response.uid="UID", got "x"',
        ),
    ],
)
async def test_what_cannot_be_converted_cannot_be_read_in_that_version(decide: Any, told: str) -> None:
    async with doors(decide) as (call, server):
        await call("POST", V1, door("v1", host="h", port="1"))
        got = await call("GET", f"{V2}/a")
        assert got.code == 500
        message = got.body["message"].replace(server.asked[0]["request"]["uid"], "UID")
        assert message == f"conversion {told}"
        assert (await call("GET", f"{V1}/a")).code == 200
        wire, _ = await follow(call, path=V2)
        await until(lambda: wire.ended)
        assert wire.events[0]["type"] == "ERROR"


async def test_a_definition_can_go_while_its_webhook_does_not_answer() -> None:
    async with doors(lambda r: {"http": 500, "text": ""}) as (call, _):
        await call("POST", V1, door("v1", host="h", port="1"))
        assert (await call("GET", V2)).code == 500
        assert (await call("DELETE", f"{CRDS}/doors.example.com")).code == 200
        async with asyncio.timeout(10):
            while (await call("GET", f"{CRDS}/doors.example.com")).code != 404:
                await asyncio.sleep(0)

"""From a definition to custom resources: serving, pruning, defaults, validation, deletion."""

import asyncio
from typing import Any

import pytest

from .kit import Caller, hub

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = "application/merge-patch+json"
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    },
}


def definition(spec: dict[str, Any] = SPEC, **version: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}]
    names = {"plural": "widgets", "kind": "Widget"}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions},
    }


def widget(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


async def until(call: Caller, path: str, code: int) -> None:
    async with asyncio.timeout(10):
        while (await call("GET", path)).code != code:
            await asyncio.sleep(0)


async def define(call: Caller, crd: dict[str, Any]) -> None:
    made = await call("POST", CRDS, crd)
    assert made.code == 201, made.body
    await until(call, WIDGETS, 200)


async def test_a_definition_is_served_with_its_defaults_and_without_unknown_fields() -> None:
    async with hub() as call:
        await define(call, definition())
        made = await call("POST", WIDGETS, widget(size=1, bogus=True))
        assert made.body["spec"] == {"size": 1, "color": "red"}
        assert [c["type"] for c in (await call("GET", f"{CRDS}/widgets.example.com")).body["status"]["conditions"]] == [
            "NamesAccepted",
            "Established",
        ]
        listed = (await call("GET", WIDGETS)).body
        assert listed["kind"] == "WidgetList" and listed["items"] == [made.body]


async def test_values_are_held_against_the_schema() -> None:
    async with hub() as call:
        await define(call, definition())
        bad = await call("POST", WIDGETS, widget(size=0, color="green", tags=["a", "a"]))
        assert [c["message"] for c in bad.body["details"]["causes"]] == [
            'Unsupported value: "green": supported values: "red", "blue"',
            "Invalid value: 0: spec.size in body should be greater than or equal to 1",
            'Duplicate value: "a"',
        ]
        assert (await call("POST", WIDGETS, widget())).body["details"]["causes"][0]["field"] == "spec.size"


async def test_patches_count_generations_and_strategic_ones_are_refused() -> None:
    async with hub() as call:
        await define(call, definition(subresources={"status": {}}))
        await call("POST", WIDGETS, widget(size=1))
        changed = await call("PATCH", f"{WIDGETS}/a", {"spec": {"size": 2}}, media=MERGE)
        assert changed.body["metadata"]["generation"] == 2
        told = await call("PATCH", f"{WIDGETS}/a/status", {"status": {"ready": True}, "spec": {"size": 9}}, media=MERGE)
        assert (told.body["spec"]["size"], told.body["status"], told.body["metadata"]["generation"]) == (2, {"ready": True}, 2)
        assert (await call("PATCH", f"{WIDGETS}/a", {}, media="application/strategic-merge-patch+json")).code == 415


async def test_a_deleted_definition_takes_its_objects_with_it() -> None:
    async with hub() as call:
        await define(call, definition())
        await call("POST", WIDGETS, widget(size=1))
        held = widget("b", size=1)
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await call("POST", WIDGETS, held)
        assert (await call("DELETE", f"{CRDS}/widgets.example.com")).code == 200
        await until(call, f"{WIDGETS}/a", 404)
        assert (await call("POST", WIDGETS, widget("c", size=1))).code == 403
        await call("PATCH", f"{WIDGETS}/b", {"metadata": {"finalizers": None}}, media=MERGE)
        await until(call, f"{CRDS}/widgets.example.com", 404)
        assert (await call("GET", WIDGETS)).code == 404


async def test_objects_are_read_with_the_defaults_of_a_changed_definition() -> None:
    async with hub() as call:
        await define(call, definition())
        await call("POST", WIDGETS, widget(size=1))
        crd = (await call("GET", f"{CRDS}/widgets.example.com")).body
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] = {
            "type": "string",
            "default": "x",
        }
        assert (await call("PUT", f"{CRDS}/widgets.example.com", crd)).code == 200
        async with asyncio.timeout(10):
            while "more" not in (await call("GET", f"{WIDGETS}/a")).body["spec"]:
                await asyncio.sleep(0)


async def test_versions_share_what_is_stored() -> None:
    crd = definition()
    newer = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    crd["spec"]["versions"].append(
        {"name": "v2", "served": True, "storage": False, "deprecated": True, "schema": {"openAPIV3Schema": newer}}
    )
    async with hub() as call:
        await define(call, crd)
        v2 = WIDGETS.replace("/v1/", "/v2/")
        made = await call("POST", v2, {**widget(size=3, extra=1), "apiVersion": "example.com/v2"})
        assert (made.code, made.body["apiVersion"], made.body["spec"]) == (201, "example.com/v2", {"size": 3, "color": "red"})
        assert made.headers["Warning"] == '299 - "example.com/v2 Widget is deprecated"'
        assert (await call("GET", f"{WIDGETS}/a")).body["spec"] == {"size": 3, "color": "red"}
        assert [i["apiVersion"] for i in (await call("GET", v2)).body["items"]] == ["example.com/v2"]


async def test_scale_reads_and_writes_where_the_definition_says() -> None:
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    async with hub() as call:
        await define(call, definition(subresources={"status": {}, "scale": paths}))
        await call("POST", WIDGETS, widget(size=3))
        assert (await call("GET", f"{WIDGETS}/a/scale")).body["spec"] == {"replicas": 3}
        await call("PATCH", f"{WIDGETS}/a/scale", {"spec": {"replicas": 5}}, media=MERGE)
        assert (await call("GET", f"{WIDGETS}/a")).body["spec"]["size"] == 5


async def test_openapi_offers_no_strategic_patch_of_custom_resources() -> None:
    """kubectl takes the kinds of patches that it may send from there."""
    async with hub() as call:
        await define(call, definition(subresources={"status": {}}))
        for document in ("/openapi/v3/apis/example.com/v1", "/openapi/v2"):
            paths = (await call("GET", document)).body["paths"]
            for path in ("/apis/example.com/v1/namespaces/{namespace}/widgets/{name}" + end for end in ("", "/status")):
                patch = paths[path]["patch"]
                assert not [m for m in patch.get("consumes") or patch["requestBody"]["content"] if "strategic" in m], path


@pytest.mark.parametrize(
    "beside", [{}, {"allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^[0-9]+%?$"}]}]
)
async def test_an_integer_or_string_may_be_told_in_plain_openapi_too(beside: dict[str, Any]) -> None:
    port = {"x-kubernetes-int-or-string": True, **(beside or {"anyOf": [{"type": "integer"}, {"type": "string"}]})}
    async with hub() as call:
        await define(call, definition({"type": "object", "properties": {"port": port}}))
        for value, code in ((80, 201), ("80%", 201), (True, 422)):
            assert (await call("POST", WIDGETS, widget(f"w{code}{type(value).__name__}".lower(), port=value))).code == code
        port["anyOf"] = [{"type": "string"}, {"type": "integer"}]
        refused = await call("POST", f"{CRDS}?dryRun=All", definition({"type": "object", "properties": {"port": port}}))
        assert "anyOf[0].type: Forbidden: must be empty to be structural" in refused.body["message"]

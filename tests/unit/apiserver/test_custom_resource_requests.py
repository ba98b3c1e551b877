"""Requests for custom resources where they are answered otherwise than those for built-in kinds."""

from typing import Any

import pytest

from .kit import hub
from .test_custom_resources import CRDS, MERGE, SPEC, WIDGETS, define, definition, until, widget

OWNED = {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "string"}}}


def schemas(crd: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return found


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ({"apiVersion": "other/v1"}, 400, "the API version in the data (other/v1) does not match the expected API version (example.com/v1)"),
        ({"apiVersion": ""}, 400, "the API version in the data () does not match the expected API version (example.com/v1)"),
        ({"kind": ""}, 400, "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in"),
        ({"kind": "Gadget"}, 422, 'Gadget.example.com "a" is invalid: kind: Invalid value: "Gadget": must be Widget'),
    ],
)  # fmt: skip
async def test_a_body_has_to_say_what_it_is(body: dict[str, Any], code: int, told: str) -> None:
    async with hub() as call:
        await define(call, definition())
        refused = await call("POST", WIDGETS, widget(size=1) | body)
        assert (refused.code, refused.body["message"][: len(told)]) == (code, told)


async def test_a_patch_does_not_change_what_an_object_is() -> None:
    async with hub() as call:
        await define(call, definition())
        await call("POST", WIDGETS, widget(size=1))
        refused = await call("PATCH", f"{WIDGETS}/a", {"kind": "Gadget", "apiVersion": "x/v1"}, media=MERGE)
        assert [(c["field"], c["message"]) for c in refused.body["details"]["causes"]] == [
            ("kind", 'Invalid value: "Gadget": must be Widget'),
            ("apiVersion", 'Invalid value: "x/v1": must be example.com/v1'),
        ]


async def test_what_is_not_there_is_told_in_the_words_of_the_resource() -> None:
    async with hub() as call:
        await define(call, definition(subresources={"status": {}}))
        await call("POST", WIDGETS, widget(size=1))
        scale = await call("GET", f"{WIDGETS}/a/scale")
        assert (scale.code, scale.body["message"]) == (404, 'widgets.example.com "a" not found')
        posted = await call("POST", f"{WIDGETS}/a/status", widget(size=1))
        assert (posted.code, posted.body["message"]) == (
            405,
            'create is not supported on resources of kind "widgets.example.com"',
        )
        assert (await call("GET", "/apis/example.com/v9")).body == "404 page not found\n"
        assert (await call("POST", "/apis/example.com/v1/widgets", widget(size=1))).body == "404 page not found\n"


async def test_finalizers_need_no_domain() -> None:
    async with hub() as call:
        await define(call, definition())
        held = widget(size=1)
        held["metadata"]["finalizers"] = ["hold"]
        assert (await call("POST", WIDGETS, held)).code == 201


async def test_a_cluster_wide_object_loses_a_namespace_that_it_names() -> None:
    async with hub() as call:
        crd = definition()
        crd["spec"]["scope"] = "Cluster"
        assert (await call("POST", CRDS, crd)).code == 201
        made = widget(size=1)
        made["metadata"]["namespace"] = "default"
        await until(call, "/apis/example.com/v1/widgets", 200)
        answer = await call("POST", "/apis/example.com/v1/widgets", made)
        assert (answer.code, answer.body["metadata"].get("namespace")) == (201, None)


async def test_an_object_that_no_longer_has_the_schemas_shape_is_not_tracked_any_more() -> None:
    async with hub() as call:
        await define(call, definition(OWNED))
        await call("POST", WIDGETS, widget(a="x", n="1"))
        changed = definition({**OWNED, "properties": {**OWNED["properties"], "n": {"type": "integer"}}})
        await call("PATCH", f"{CRDS}/widgets.example.com", {"spec": {"versions": changed["spec"]["versions"]}}, media=MERGE)
        written = await call("PATCH", f"{WIDGETS}/a", {"spec": {"a": "y"}}, media=MERGE)
        assert (written.body["spec"], "managedFields" in written.body["metadata"]) == ({"a": "y", "n": "1"}, False)


async def test_a_set_of_objects_is_not_tracked() -> None:
    elements = {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}}
    pairs = {"type": "array", "x-kubernetes-list-type": "set", "items": elements}
    async with hub() as call:
        await define(call, definition({"type": "object", "properties": {"pairs": pairs}}))
        assert "managedFields" in (await call("POST", WIDGETS, widget("a"))).body["metadata"]
        assert "managedFields" not in (await call("POST", WIDGETS, widget("b", pairs=[{"a": "1"}]))).body["metadata"]


async def test_a_version_shows_what_it_knows_and_the_defaults_of_the_stored_one() -> None:
    crd = definition()
    newer = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}}}}}
    crd["spec"]["versions"].append({"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": newer}})
    async with hub() as call:
        await define(call, crd)
        await call("POST", WIDGETS, widget(size=1))
        seen = await call("GET", WIDGETS.replace("/v1/", "/v2/") + "/a")
        assert seen.body["spec"] == {"color": "red"}


async def test_the_status_is_checked_as_a_value_of_its_own() -> None:
    crd = definition(
        subresources={"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}}
    )
    schemas(crd)["status"] = {"type": "object", "properties": {"size": {"type": "integer"}, "n": {"type": "integer"}}}
    async with hub() as call:
        await define(call, crd)
        await call("POST", WIDGETS, widget(size=1))
        refused = await call("PATCH", f"{WIDGETS}/a/status", {"status": {"n": "x", "size": -1}}, media=MERGE)
        assert [(c["field"], c["message"]) for c in refused.body["details"]["causes"]] == [
            ("status.n", 'Invalid value: "string": n in body must be of type integer: "string"'),
            (".status.size", "Invalid value: -1: should be a non-negative integer"),
        ]


@pytest.mark.parametrize("value", [2**31, 1.5])
async def test_an_integer_is_whole_and_fits_its_format(value: float) -> None:
    async with hub() as call:
        await define(call, definition({"type": "object", "properties": {"n": {"type": "integer", "format": "int32"}}}))
        refused = await call("POST", WIDGETS, widget(n=value))
        assert refused.body["details"]["causes"][-1] == {
            "field": "<nil>",
            "reason": "FieldValueInvalid",
            "message": 'Invalid value: "": Checked value must be of type integer with format int32 in spec.n',
        }


async def test_rules_are_asked_although_a_number_is_out_of_bounds() -> None:
    ruled = {**SPEC, "x-kubernetes-validations": [{"rule": "self.size > 5", "message": "too small"}]}
    async with hub() as call:
        await define(call, definition(ruled))
        refused = await call("POST", WIDGETS, widget(size=0))
        assert "Invalid value: too small" in [c["message"] for c in refused.body["details"]["causes"]]
        refused = await call("POST", WIDGETS, widget(size="x"))
        assert any("some validation rules were not checked" in c["message"] for c in refused.body["details"]["causes"])


async def test_columns_end_before_one_whose_path_cannot_be_read() -> None:
    columns = [
        {"name": n, "type": "integer", "jsonPath": path}
        for n, path in (("A", ".spec.size"), ("B", ".spec["), ("C", ".spec.size"))
    ]
    async with hub() as call:
        await define(call, definition(additionalPrinterColumns=columns))
        await call("POST", WIDGETS, widget(size=3))
        table = await call("GET", WIDGETS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [c["name"] for c in table.body["columnDefinitions"]] == ["Name", "A"]
        assert table.body["rows"][0]["cells"] == ["a", 3]

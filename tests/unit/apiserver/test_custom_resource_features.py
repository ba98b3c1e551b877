"""What definitions can ask for beside a schema, and the finer points of schemas."""

from json import dumps
from typing import Any

import pytest

from .kit import hub
from .test_custom_resources import MERGE, WIDGETS, define, definition, widget


def field(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return definition({"type": "object", "properties": {"f": schema}}, **more)


async def test_objects_are_selected_by_the_fields_that_a_definition_names() -> None:
    spec = {"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "integer"}}}
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]
    async with hub() as call:
        await define(call, definition(spec, selectableFields=fields))
        await call("POST", WIDGETS, widget("a", color="red", size=1))
        await call("POST", WIDGETS, widget("b", color="red", size=2))
        await call("POST", WIDGETS, widget("c", size=2))
        found = await call("GET", WIDGETS, query={"fieldSelector": "spec.color=red,spec.size!=1"})
        assert [i["metadata"]["name"] for i in found.body["items"]] == ["b"]
        assert [
            i["metadata"]["name"] for i in (await call("GET", WIDGETS, query={"fieldSelector": "spec.color="})).body["items"]
        ] == ["c"]
        refused = await call("GET", WIDGETS, query={"fieldSelector": "spec.other=1"})
        assert (refused.code, refused.body["message"]) == (400, "field label not supported: spec.other")


async def test_names_categories_and_parts_are_discovered() -> None:
    crd = definition(subresources={"status": {}, "scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"}})
    crd["spec"]["names"] |= {"shortNames": ["wd"], "categories": ["all"], "singular": "widget", "listKind": "Widgets"}
    async with hub() as call:
        await define(call, crd)
        listed = (await call("GET", "/apis/example.com/v1")).body["resources"]
        assert [r["name"] for r in listed] == ["widgets", "widgets/status", "widgets/scale"]
        assert (listed[0]["singularName"], listed[0]["shortNames"], listed[0]["categories"]) == ("widget", ["wd"], ["all"])
        assert (await call("GET", WIDGETS)).body["kind"] == "Widgets"


@pytest.mark.parametrize(
    ("schema", "given", "kept"),
    [
        ({"type": "string", "nullable": True, "default": "x"}, None, None),
        ({"type": "string", "default": "x"}, None, "x"),
        ({"x-kubernetes-int-or-string": True}, "5%", "5%"),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "object"}}}, {"a": {"b": 1}, "c": 2}, {"a": {}, "c": 2}),
        ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
         {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": 1}, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": 1}),
        ({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}}, [{}, {"x": 1}], [{"n": 1}, {"n": 1}]),
        ({"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}}, {"a": {}}, {"a": {"n": 1}}),
    ],
)  # fmt: skip
async def test_values_are_kept_as_the_schema_says(schema: dict[str, Any], given: Any, kept: Any) -> None:
    async with hub() as call:
        await define(call, field(schema))
        made = await call("POST", WIDGETS, widget(f=given))
        assert (made.code, made.body["spec"]) == (201, {"f": kept})


async def test_what_is_wrong_may_stay_as_it_was() -> None:
    rule = {"rule": "self != 'b'", "message": "no b"}
    async with hub() as call:
        await define(call, field({"type": "string"}))
        await call("POST", WIDGETS, widget(f="b"))
        narrow = field({"type": "string", "maxLength": 0, "x-kubernetes-validations": [rule]})
        crd = {"spec": {"versions": narrow["spec"]["versions"]}}
        await call("PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com", crd, media=MERGE)
        assert (await call("PATCH", f"{WIDGETS}/a", {"metadata": {"labels": {"x": "y"}}}, media=MERGE)).code == 200
        refused = await call("PATCH", f"{WIDGETS}/a", {"spec": {"f": "bb"}}, media=MERGE)
        assert refused.body["details"]["causes"][0]["message"] == "Too long: may not be more than 0 bytes"


async def test_rules_compare_with_what_was_there_before() -> None:
    rules = [
        {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": True, "messageExpression": "'not below ' + string(self)"},
        {"rule": "self != 13", "reason": "FieldValueForbidden", "message": "unlucky"},
    ]  # fmt: skip
    async with hub() as call:
        await define(call, field({"type": "integer", "x-kubernetes-validations": rules}))
        await call("POST", WIDGETS, widget(f=5))
        refused = await call("PATCH", f"{WIDGETS}/a", {"spec": {"f": 4}}, media=MERGE)
        assert refused.body["details"]["causes"] == [
            {"reason": "FieldValueInvalid", "message": "Invalid value: 4: not below 4", "field": "spec.f"}
        ]
        refused = await call("PATCH", f"{WIDGETS}/a", {"spec": {"f": 13}}, media=MERGE)
        assert refused.body["details"]["causes"] == [
            {"reason": "FieldValueForbidden", "message": "Forbidden: unlucky", "field": "spec.f"}
        ]


async def test_a_schema_that_is_nested_too_deep_is_a_mistake_of_the_client() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(130):
        schema = {"type": "object", "properties": {"a": schema}}
    async with hub() as call:
        refused = await call(
            "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", dumps(definition(schema)).encode()
        )
        assert (refused.code, refused.body["message"]) == (400, "exceeded max depth")

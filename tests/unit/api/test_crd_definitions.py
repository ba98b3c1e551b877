"""What makes the schema of a CustomResourceDefinition right or wrong."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.crd import check
from pilothouse.api.crd.structure import schema_errors


def errors(**spec: Any) -> list[str]:
    return [str(e) for e in schema_errors({"type": "object", "properties": {"spec": {"type": "object", **spec}}}, "s")]


def of_field(schema: dict[str, Any]) -> list[str]:
    return errors(properties={"a": schema})


A = "s.properties[spec].properties[a]"


def test_an_empty_schema_has_no_type() -> None:
    assert [str(e) for e in schema_errors({}, "s")] == ["s.type: Required value: must not be empty at the root"]


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "integer", "default": 1.5}, "Checked value must be of type integer (default format) in "),
        ({"type": "object", "properties": {"b": {"type": "string"}}, "default": {"c": 1}}, 'Invalid value: {"c":1}: must not have unknown fields'),
        ({"type": "string", "enum": ["x"], "default": "y"}, 'Unsupported value: "y": supported values: "x"'),
        ({"type": "array", "items": {"type": "string"}, "default": [1]}, 'default.[0]: Invalid value: "integer"'),
    ],
)  # fmt: skip
def test_a_default_that_the_schema_would_not_take_is_refused(schema: dict[str, Any], told: str) -> None:
    assert told in of_field(schema)[-1]


def test_a_default_may_repeat_elements_of_a_set() -> None:
    assert not of_field({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set", "default": ["a", "a"]})


def test_defaults_are_looked_at_once_the_structure_is_right() -> None:
    assert errors(properties={"a": {"type": "integer", "default": "x"}, "b": {}}) == [
        "s.properties[spec].properties[b].type: Required value: must not be empty for specified object fields"
    ]


def test_types_may_be_named_where_an_integer_or_a_string_is_asked_for() -> None:
    either = [{"type": "integer"}, {"type": "string"}]
    assert not of_field({"x-kubernetes-int-or-string": True, "anyOf": either})
    assert not of_field({"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": either}, {"maximum": 3}]})
    assert of_field({"x-kubernetes-int-or-string": True, "anyOf": either[:1]}) == [
        f"{A}.anyOf[0].type: Forbidden: must be empty to be structural"
    ]


def test_rules_do_not_stand_below_junctors() -> None:
    told = f"{A}.anyOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural"
    assert of_field({"type": "string", "anyOf": [{"x-kubernetes-validations": [{"rule": "true"}]}]}) == [told]


def test_a_dialect_is_not_supported() -> None:
    assert of_field({"type": "string", "$schema": "http://x"}) == [
        """s: Invalid value: "": OpenAPIV3Schema 'schema' is not supported"""
    ]


def crd(**version: Any) -> dict[str, Any]:
    one = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}, **version}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.com", "scope": "Cluster", "names": names, "versions": [one], "conversion": {"strategy": "None"}}
    return {"metadata": {"name": "things.example.com"}, "spec": spec, "status": {"storedVersions": ["v1"]}}


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ({"additionalPrinterColumns": [{"name": "A", "type": "bogus", "jsonPath": "spec.a"}]},
         ['spec.additionalPrinterColumns[0].type: Invalid value: "bogus": must be one of boolean,date,integer,number,string',
          'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec.a": must be a simple json path starting with .']),
        ({"additionalPrinterColumns": [{"name": "A", "type": "date", "jsonPath": ".spec[", "format": "bogus"}]},
         ['spec.additionalPrinterColumns[0].format: Invalid value: "bogus": must be one of byte,date,date-time,double,float,int32,int64,password']),
        ({"subresources": {"scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".spec.r", "labelSelectorPath": ".foo"}}},
         ['spec.subresources.scale.statusReplicasPath: Invalid value: ".spec.r": should be a json path under .status',
          'spec.subresources.scale.labelSelectorPath: Invalid value: ".foo": should be a json path under either .spec or .status']),
        ({"name": "V1"}, ["spec.versions[0].name: ", "spec.version: "]),
        ({"schema": {}}, ["spec.versions[0].schema.openAPIV3Schema: Required value"]),
    ],
)  # fmt: skip
def test_versions_are_told_what_is_wrong_with_them(version: dict[str, Any], told: list[str]) -> None:
    found = [str(e) for e in check.definition({**crd(**version), "status": {"storedVersions": [version.get("name", "v1")]}})]
    assert [f[: len(t)] for f, t in zip(found, told, strict=True)] == told


def test_a_definition_that_was_stored_as_a_version_keeps_it() -> None:
    new = crd()
    new["status"]["storedVersions"] = ["v1", "v0"]
    [error] = check.changed(new, crd())
    assert str(error).startswith(
        'status.storedVersions[1]: Invalid value: "v0": missing from spec.versions; v0 was previously a storage version'
    )

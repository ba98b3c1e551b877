"""Decoding request bodies: what is refused, what is pruned, what is dropped, what comes back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import tables
from pilothouse.api.decode import decode
from pilothouse.api.errors import StatusError

RECORDINGS = Path(__file__).parents[2] / "golden"
POD, CONFIG_MAP, DEPLOYMENT = ("", "v1", "Pod"), ("", "v1", "ConfigMap"), ("apps", "v1", "Deployment")


def read(
    body: Any, gvk: tuple[str, str, str] = CONFIG_MAP, validation: str = "Warn", media: str = "json"
) -> tuple[Any, list[str]]:
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return decode(raw, media, tables.schema_for(*gvk), gvk, validation)


def refusal(body: Any, gvk: tuple[str, str, str] = CONFIG_MAP, validation: str = "Warn", media: str = "json") -> str:
    with pytest.raises(StatusError) as caught:
        read(body, gvk, validation, media)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    return caught.value.message


def recorded(name: str) -> list[dict[str, Any]]:
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


# --- against the recordings --------------------------------------------------------------------------------------------------------


def test_everything_that_kubernetes_refused_is_refused_in_its_words() -> None:
    wrong = []
    for case in recorded("decoding-refused"):
        try:
            message = refusal(case["body"], tuple(case["gvk"]), case["validation"], case["media"])
        except BaseException as error:
            message = f"not refused: {error}"
        if message != case["message"] and (case["message"] or message.startswith("not refused")):
            wrong.append((case["body"][:300], case["message"], message))
    assert wrong == []


def test_what_kubernetes_accepted_keeps_every_field_and_no_empty_one() -> None:
    wrong: list[Any] = []
    for case in recorded("decoding-accepted"):
        obj, _ = read(case["body"], tuple(case["gvk"]), "Ignore")
        obj.pop("status", None)
        compare(case["body"], obj, case["answer"], case["gvk"][2], wrong)
    assert wrong == []


def compare(sent: Any, got: Any, answer: Any, path: str, wrong: list[Any]) -> None:
    """Fields that were lost, and empty ones that Kubernetes leaves out."""
    if isinstance(got, dict) and isinstance(answer, dict):
        for key in {*got, *answer}:
            where = f"{path}.{key}"
            if key not in got:
                if isinstance(sent, dict) and sent.get(key):
                    wrong.append(("lost", where))
            elif key not in answer:
                if not got[key]:
                    wrong.append(("left", where))
            else:
                compare(sent.get(key) if isinstance(sent, dict) else None, got[key], answer[key], where, wrong)
    elif isinstance(got, list) and isinstance(answer, list) and len(got) == len(answer):
        for n, pair in enumerate(zip(got, answer, strict=True)):
            inner = sent[n] if isinstance(sent, list) and n < len(sent) else None
            compare(inner, *pair, f"{path}[{n}]", wrong)


# --- structure ---------------------------------------------------------------------------------------------------------------------


def test_the_kind_and_version_may_be_left_out_and_come_first_in_any_case() -> None:
    obj, warnings = read({"data": {"k": "v"}, "metadata": {"name": "a"}})
    assert list(obj) == ["kind", "apiVersion", "data", "metadata"]
    assert warnings == []


def test_another_kind_is_refused_by_what_is_wrong_with_it() -> None:
    assert refusal({"kind": "Nope", "apiVersion": "v1"}).startswith(
        'Nope in version "v1" cannot be handled as a ConfigMap: no kind "Nope"'
    )
    assert "unknown conversion" in refusal({"kind": "Secret", "apiVersion": "v1"})
    misread = refusal({"kind": "Secret", "apiVersion": "v1", "data": {"k": "v"}})
    assert misread == 'Secret in version "v1" cannot be handled as a ConfigMap: illegal base64 data at input byte 0'
    assert refusal(
        {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1"}, ("autoscaling", "v2", "HorizontalPodAutoscaler")
    ) == ("the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)")
    assert 'no kind "x" is registered' in refusal({"kind": "ConfigMap", "apiVersion": "v1", "Kind": "x"})


def test_an_eviction_may_still_call_itself_beta() -> None:
    obj, _ = read({"kind": "Eviction", "apiVersion": "policy/v1beta1", "metadata": {"name": "p"}}, ("policy", "v1", "Eviction"))
    assert obj["apiVersion"] == "policy/v1"


@pytest.mark.parametrize("body", ["", "{", "[]", "5", "{}x", "{'a':1}", "\x00", '{"a":NaN}', '{"kind":5}', "[" * 100_000])
def test_what_is_no_object_is_refused(body: str) -> None:
    assert "couldn't get version/kind; json parse error" in refusal(body)


def test_wrong_types_are_told_with_their_place() -> None:
    assert refusal({"metadata": {"name": 5}}).endswith(
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"
    )
    assert "ContainerPort.spec.containers.ports.containerPort of type int32" in refusal(
        {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}, POD
    )
    assert "ConfigMap.data of type string" in refusal({"data": {"k": 5}})


@pytest.mark.parametrize("replicas", ["1.0", "1e1", "2147483648", "-2147483649", "true", '"1"', "{}", "99999999999999999999"])
def test_numbers_are_whole_and_fit(replicas: str) -> None:
    assert "DeploymentSpec.spec.replicas of type int32" in refusal(f'{{"spec":{{"replicas":{replicas}}}}}', DEPLOYMENT)


def test_special_values_are_refused_in_their_own_words() -> None:
    assert refusal({"binaryData": {"a": "***"}}).endswith("illegal base64 data at input byte 0")
    assert refusal({"binaryData": {"a": "YWI"}}).endswith("illegal base64 data at input byte 0")
    assert refusal({"binaryData": {"a": "YWJj="}}).endswith("illegal base64 data at input byte 4")
    assert "quantities must match" in refusal({"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}, POD)
    assert refusal({"metadata": {"creationTimestamp": "yesterday"}}).endswith(
        'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'
    )


# --- unknown and duplicate fields ----------------------------------------------------------------------------------------------------

SLOPPY = '{"metadata":{"name":"a","labelz":{}},"data":{"k":"1","k":"2"},"data":{"z":"3"},"more":1}'


def test_unknown_and_duplicate_fields_are_told_pruned_and_merged() -> None:
    obj, warnings = read(SLOPPY)
    assert warnings == [
        'duplicate field "data.k"',
        'duplicate field "data"',
        'unknown field "metadata.labelz"',
        'unknown field "more"',
    ]
    assert obj == {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "2", "z": "3"}}


def test_strict_refuses_them_and_ignore_says_nothing() -> None:
    assert refusal(SLOPPY, validation="Strict").startswith(
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "data.k", '
    )
    assert read(SLOPPY, validation="Ignore")[1] == []


def test_the_place_of_an_unknown_field_counts_list_elements() -> None:
    body = {"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"prot": "x"}]}]}}
    assert read(body, POD)[1] == ['unknown field "spec.containers[1].ports[0].prot"']


def test_the_case_of_a_field_matters() -> None:
    obj, warnings = read({"metadata": {"Name": "a"}})
    assert warnings == ['unknown field "metadata.Name"']
    assert obj["metadata"] == {}


# --- values ------------------------------------------------------------------------------------------------------------------------


def test_zero_values_are_dropped_unless_they_mean_something() -> None:
    spec = {
        "replicas": 0,
        "paused": False,
        "minReadySeconds": 0,
        "selector": {"matchLabels": {}},
        "template": {"spec": {"containers": []}},
    }
    obj, _ = read({"metadata": {"name": "a", "labels": {}, "annotations": None}, "spec": spec}, DEPLOYMENT)
    assert obj["metadata"] == {"name": "a"}
    assert obj["spec"] == {
        "replicas": 0,
        "selector": {},
        "strategy": {},
        "template": {"metadata": {}, "spec": {"containers": []}},
    }


def test_what_is_always_written_is_there_from_the_start() -> None:
    obj, _ = read({}, ("rbac.authorization.k8s.io", "v1", "Role"))
    assert obj == {"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {}, "rules": None}
    assert read({}, DEPLOYMENT)[0]["spec"]["selector"] is None


def test_quantities_times_and_bytes_are_written_canonically() -> None:
    obj, _ = read({"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}}, POD)
    assert obj["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    obj, _ = read({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.9+01:00"}, "binaryData": {"a": "YW\nI="}})
    assert (obj["metadata"]["creationTimestamp"], obj["binaryData"]["a"]) == ("2026-01-02T02:04:05Z", "YWI=")


def test_text_that_is_not_unicode_is_replaced() -> None:
    obj, _ = read('{"metadata":{"name":"\\ud800"}}')
    assert obj["metadata"]["name"] == "\ufffd"
    schema = tables.schema_for(*CONFIG_MAP)
    obj, _ = decode(b'{"data":{"k":"\xff"}}', "json", schema, CONFIG_MAP)
    assert obj["data"] == {"k": "\ufffd"}


def test_schemas_inside_a_crd_are_read_wherever_they_may_stand() -> None:
    crd = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition")

    def schema(inner: Any) -> Any:
        return {"spec": {"versions": [{"schema": {"openAPIV3Schema": inner}}]}}

    def back(inner: Any) -> Any:
        return read(schema(inner), crd)[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert back({"items": {"type": "string", "x": 1}}) == {"items": {"type": "string"}}
    assert back({"items": [{"type": "string", "x": 1}]}) == {"items": [{"type": "string"}]}
    assert back({"additionalProperties": False}) == {"additionalProperties": False}
    assert back({"default": {"any": ["thing"]}}) == {"default": {"any": ["thing"]}}
    assert refusal(schema({"additionalProperties": "no"}), crd).endswith("boolean or JSON schema expected")
    assert "cannot unmarshal" in refusal(schema({"items": {"maxLength": 1.5}}), crd)


# --- YAML --------------------------------------------------------------------------------------------------------------------------


def test_yaml_is_read_like_json() -> None:
    obj, warnings = read("metadata: {name: a}\ndata:\n  date: '2001-01-01'\n", media="yaml")
    assert obj["data"] == {"date": "2001-01-01"}
    assert warnings == []
    assert read("spec: {replicas: 2.0}", DEPLOYMENT, media="yaml")[0]["spec"]["replicas"] == 2


def test_yaml_says_at_which_line_a_key_comes_again() -> None:
    text = "metadata:\n  name: a\ndata:\n  k: v\n  k: w\n"
    assert read(text, media="yaml")[1] == ['line 5: key "k" already set in map']


# --- properties --------------------------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False)
)
field_names = st.sampled_from(
    ["metadata", "name", "labels", "spec", "replicas", "template", "containers", "paused", "selector", "foo", "data"]
)
anything = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(field_names, inner, max_size=4)), max_leaves=12
)
documents = st.dictionaries(field_names, anything, max_size=5)


@given(documents)
def test_a_body_is_refused_or_decoded_and_never_anything_else(body: dict[str, Any]) -> None:
    try:
        read(body, DEPLOYMENT)
    except StatusError as error:
        assert error.code == 400


@given(documents)
def test_decoding_twice_changes_nothing_more(body: dict[str, Any]) -> None:
    try:
        once, _ = read(body, DEPLOYMENT)
    except StatusError:
        return
    again, warnings = read(once, DEPLOYMENT, "Strict")
    assert again == once
    assert warnings == []


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=4))
def test_a_text_without_duplicates_is_never_suspected(data: dict[str, str]) -> None:
    text = json.dumps({"metadata": {"name": "a"}, "data": data}, indent=2)
    obj, warnings = read(text)
    assert warnings == []
    assert obj.get("data", {}) == data

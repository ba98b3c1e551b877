"""Objects written in protobuf: read back they are what they were, but for what JSON and protobuf do not tell apart."""

from __future__ import annotations

import json
import lzma
import struct
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api import protobuf, protobuf_write, tables

RECORDINGS = Path(__file__).parents[2] / "golden" / "recordings"
#: What the recordings have in the place of volatile values.
_PLACEHOLDERS = {"<time>": "2026-01-02T03:04:05Z", "<microtime>": "2026-01-02T03:04:05.123456Z", "<nodePort>": 30000}


def read_back(obj: dict[str, Any]) -> dict[str, Any]:
    group, _, version = obj["apiVersion"].rpartition("/")
    return protobuf.read(protobuf_write.write(obj), tables.schema_for(group, version, obj["kind"]))


def concrete(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: concrete(v) for k, v in value.items()}
    if isinstance(value, list):
        return [concrete(v) for v in value]
    return _PLACEHOLDERS.get(value, value) if isinstance(value, str) else value


def told(value: Any) -> Any:
    """Without nulls and empty lists and maps, which protobuf does not tell from absent ones."""
    if isinstance(value, dict):
        found = {k: told(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v is not None and v not in ([], {})}
    return [told(v) for v in value] if isinstance(value, list) else value


def recorded(recording: str) -> list[dict[str, Any]]:
    """The built-in objects among the answers of a recording."""
    with lzma.open(RECORDINGS / f"{recording}.jsonl.xz", "rt") as lines:
        steps = [step for line in lines for step in json.loads(line)["steps"]]
    bodies = (concrete((step.get("want") or {}).get("body")) for step in steps)
    return [b for b in bodies if isinstance(b, dict) and _is_built_in(b)]


def _is_built_in(body: dict[str, Any]) -> bool:
    group, _, version = body.get("apiVersion", "").rpartition("/")
    return tables.definition_name(group, version, body.get("kind", "")) is not None


@pytest.mark.parametrize("recording", ["core", "groups"])
def test_every_recorded_object_survives_the_way_there_and_back(recording: str) -> None:
    kinds = set()
    for obj in recorded(recording):
        kinds.add(obj["kind"])
        for template in (obj.get("spec") or {}).get("volumeClaimTemplates") or ():
            template.pop("kind", None)  # types inside of objects have no place in protobuf
            template.pop("apiVersion", None)
        assert told(read_back(obj)) == told(obj)
    assert len(kinds) > 15


def test_what_json_schemas_may_be_replaced_by_is_kept() -> None:
    props: dict[str, Any] = {
        "type": "object", "x-kubernetes-preserve-unknown-fields": True, "additionalProperties": {"type": "string"}, "enum": [None, 1, "x"],
        "properties": {"a": {"items": {"type": "integer"}, "additionalItems": False}, "b": {"items": [{"type": "string"}, {}], "default": {"k": None}}},
        "dependencies": {"a": ["b"], "b": {"type": "string"}}, "$ref": "#/x", "x-kubernetes-list-map-keys": ["k"], "multipleOf": 0.5,
    }  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": props}}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {"versions": [version]}}
    assert read_back(crd)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == props


@pytest.mark.parametrize("text", ["0s", "1.5s", "30s", "1h2m3s", "-5s", "250ms"])
def test_durations_are_nanoseconds(text: str) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert read_back(obj) == obj
    encoded = protobuf_write._SPECIAL["Duration"](text)
    number = protobuf._fields(encoded)[0][2]
    wanted = {"0s": 0, "1.5s": 1.5e9, "30s": 30e9, "1h2m3s": 3723e9, "-5s": -5e9, "250ms": 25e7}[text]
    assert (number - 2**64 if number >= 2**63 else number) == wanted


def test_the_envelope_names_the_kind() -> None:
    data = protobuf_write.write({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}})
    assert data.startswith(b"k8s\x00\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment")


def test_a_list_is_joined_from_its_items() -> None:
    items = [protobuf_write.content({"metadata": {"name": name}}, "v1", "ConfigMap") for name in "ab"]
    data = b"".join(protobuf_write.list_parts("v1", "ConfigMapList", {"resourceVersion": "7", "remainingItemCount": 3}, items))
    whole = {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7", "remainingItemCount": 3}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}  # fmt: skip
    assert data == protobuf_write.write(whole)


def test_a_watch_frame_has_its_length_before_it() -> None:
    frame = protobuf_write.watch_frame("ADDED", b"k8s\x00...")
    assert struct.unpack(">I", frame[:4])[0] == len(frame) - 4 and frame[4:12] == b"\x0a\x05ADDED\x12"


@pytest.mark.parametrize(("api_version", "kind"), [("example.com/v1", "Widget"), ("meta.k8s.io/v1", "Table"), ("v1", "Nothing")])
def test_other_kinds_cannot_be_written(api_version: str, kind: str) -> None:
    assert not protobuf_write.writable(api_version, kind)
    with pytest.raises(KeyError):
        protobuf_write.write({"apiVersion": api_version, "kind": kind})

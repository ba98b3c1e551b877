"""Protobuf bodies as the Go clients write them, read into the dicts of JSON."""

from __future__ import annotations

import pytest

from pilothouse.api import protobuf, tables

POD = tables.schema_for("", "v1", "Pod")


def field(number: int, value: bytes | int) -> bytes:
    """One field: a varint or a length-delimited value (sizes below 128)."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def envelope(raw: bytes, kind: bytes = b"Pod") -> bytes:
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, kind)) + field(2, raw)


def test_messages_become_the_dicts_of_json() -> None:
    probe = field(1, field(2, field(2, field(1, 0) + field(2, 80)))) + field(2, 5)  # handler{httpGet{port}} is inlined
    container = (
        field(1, b"c")
        + field(2, b"image:1")
        + field(8, field(1, field(1, b"cpu") + field(2, field(1, b"500m"))))
        + bytes([82, len(probe)])
        + probe
    )
    metadata = bytes([10, 1]) + b"p" + bytes([90, 10]) + field(1, b"app") + field(2, b"web")
    pod = field(1, metadata) + field(2, field(2, container))
    obj = protobuf.read(envelope(pod), POD)
    assert (obj["kind"], obj["metadata"]) == ("Pod", {"name": "p", "labels": {"app": "web"}})
    assert obj["spec"]["containers"] == [
        {
            "name": "c",
            "image": "image:1",
            "resources": {"limits": {"cpu": "500m"}},
            "livenessProbe": {"httpGet": {"port": 80}, "initialDelaySeconds": 5},
        }
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"k8s\x00\x12\x05ab", envelope(b"\x0f")])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(protobuf.ProtobufError):
        protobuf.read(body, POD)


@pytest.mark.parametrize(
    "raw",
    [
        field(1, 5),  # metadata as a number
        field(1, field(1, b"\xff\xfe")),  # a name that is no text
        field(1, field(1, 7)),
        field(1, field(8, field(1, b"\xff" * 9 + b"\x01"))),  # a time that is no time
        field(1, field(11, field(1, 3))),  # a label whose key is a number
        field(1, field(17, field(7, field(1, b"{not JSON")))),  # fieldsV1
    ],
)
def test_fields_of_a_wrong_type_are_refused(raw: bytes) -> None:
    with pytest.raises(protobuf.ProtobufError):
        protobuf.read(envelope(raw), POD)

"""Clients that speak protobuf, as Go's do, over real HTTPS."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_https import CONFIG_MAPS, Connection, config_map

from pilothouse.api import protobuf, protobuf_write, tables
from pilothouse.api.schema import Schema
from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub

PROTOBUF = "application/vnd.kubernetes.protobuf"
ASK = f"Accept: {PROTOBUF},application/json"
CONFIG_MAP = tables.schema_for("", "v1", "ConfigMap")
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS = tables.schema_of(META + "Status")


@pytest.fixture
async def client(pilothouse_certificates: Path) -> AsyncIterator[Connection]:
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    connection = await Connection.open(hub)
    assert (await connection.ask("POST", CONFIG_MAPS, config_map("a", "text")))[0] == 201
    yield connection
    await connection.close()
    await hub.server.stop()


async def fetch(client: Connection, method: str, target: str, *headers: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    """One answer: code, media type, bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body or b'')}"]
    client.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
    code, got = await client.head()
    return code, got["content-type"], await client.reader.readexactly(int(got["content-length"]))


def members(data: bytes, message: str, schema: Schema | None = None) -> dict[str, Any]:
    """A message in its envelope, of a type that is no object of the API."""
    envelope = protobuf._read(data[4:], protobuf._UNKNOWN, None)
    raw = next(value for number, _, value in protobuf._fields(data[4:]) if number == 2)
    return {**envelope["typeMeta"], **protobuf._read(raw, message, schema)}


async def test_an_object_is_written_and_read_in_protobuf(client: Connection) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"k": "v"}, "binaryData": {"b": "AAEC"}}
    code, media, made = await fetch(client, "POST", CONFIG_MAPS, ASK, f"Content-Type: {PROTOBUF}", body=protobuf_write.write(obj))
    assert (code, media) == (201, PROTOBUF)
    code, media, data = await fetch(client, "GET", f"{CONFIG_MAPS}/p", ASK)
    assert (code, media, data) == (200, PROTOBUF, made)
    assert protobuf.read(data, CONFIG_MAP) == (await client.ask("GET", f"{CONFIG_MAPS}/p"))[1]


async def test_lists_and_pages_come_in_protobuf(client: Connection) -> None:
    for n in range(150):
        await client.ask("POST", CONFIG_MAPS, config_map(f"c-{n:03}"))
    for query in ("", "?limit=20"):
        _, media, data = await fetch(client, "GET", CONFIG_MAPS + query, ASK)
        found = members(data, "k8s.io.api.core.v1.ConfigMapList", protobuf_write._list_schema(CONFIG_MAP))
        _, wanted = await client.ask("GET", CONFIG_MAPS + query)
        assert media == PROTOBUF and found == wanted


async def test_errors_and_answers_to_deletions_are_statuses_in_protobuf(client: Connection) -> None:
    code, media, data = await fetch(client, "GET", f"{CONFIG_MAPS}/none", ASK)
    assert (code, media) == (404, PROTOBUF)
    assert protobuf.read(data, STATUS) == {**(await client.ask("GET", f"{CONFIG_MAPS}/none"))[1], "metadata": {}}
    code, media, data = await fetch(client, "DELETE", f"{CONFIG_MAPS}/a", ASK)
    status = protobuf.read(data, STATUS)
    assert (code, media, status["status"], status["details"]["name"]) == (200, PROTOBUF, "Success", "a")


async def test_metadata_alone_comes_in_protobuf_and_tables_do_not(client: Connection) -> None:
    partial = f"Accept: {PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    _, media, data = await fetch(client, "GET", f"{CONFIG_MAPS}/a", partial)
    found = members(
        data,
        "k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
        Schema("object", fields={"metadata": CONFIG_MAP.fields["metadata"]}),
    )
    assert (media, found["kind"], found["metadata"]["name"], "data" in found) == (PROTOBUF, "PartialObjectMetadata", "a", False)
    _, _, data = await fetch(client, "GET", CONFIG_MAPS, partial.replace("Metadata;", "MetadataList;"))
    listed = members(data, "k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList")
    assert "a" in [i["metadata"]["name"] for i in listed["items"]]
    code, media, _ = await fetch(client, "GET", f"{CONFIG_MAPS}/a", f"Accept: {PROTOBUF};as=Table;g=meta.k8s.io;v=v1")
    assert (code, media) == (406, "application/json")


async def test_discovery_comes_in_protobuf(client: Connection) -> None:
    for path, kind in (
        ("/api/v1", "APIResourceList"),
        ("/apis", "APIGroupList"),
        ("/api", "APIVersions"),
        ("/apis/apps", "APIGroup"),
    ):
        code, media, data = await fetch(client, "GET", path, ASK)
        assert (code, media) == (200, PROTOBUF)
        found = protobuf.read(data, tables.schema_of(META + kind))
        assert found["kind"] == kind and set(found) <= set((await client.ask("GET", path))[1])


async def frames(client: Connection) -> AsyncIterator[dict[str, Any]]:
    """The events of a watch: each with its length before it."""
    data = b""
    async for chunk in client.chunks():
        data += chunk
        while len(data) >= 4 and len(data) >= 4 + (size := struct.unpack(">I", data[:4])[0]):
            event = {number: value for number, _, value in protobuf._fields(data[4 : 4 + size])}
            data = data[4 + size :]
            schema = STATUS if event[1] == b"ERROR" else CONFIG_MAP
            yield {"type": event[1].decode(), "object": protobuf.read(protobuf._fields(event[2])[0][2], schema)}


async def test_a_watch_comes_in_frames_of_protobuf(client: Connection) -> None:
    client.send(
        "GET",
        f"{CONFIG_MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Da",
        None,
        f"Accept: {PROTOBUF};stream=watch",
    )
    code, headers = await client.head()
    assert (code, headers["content-type"]) == (200, f"{PROTOBUF};stream=watch")
    events = [event async for event in frames(client)]
    _, obj = await client.ask("GET", f"{CONFIG_MAPS}/a")
    assert events[0] == {"type": "ADDED", "object": obj}
    assert events[1]["type"] == "BOOKMARK"
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_custom_resources_are_json_also_for_those_who_like_protobuf_better(client: Connection) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]},
    }  # fmt: skip
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    code, _, data = await fetch(client, "POST", path, ASK, f"Content-Type: {PROTOBUF}", body=protobuf_write.write(crd))
    assert code == 201
    found = protobuf.read(data, tables.schema_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))
    assert found["spec"]["versions"][0]["schema"] == schema
    things = "/apis/example.com/v1/namespaces/default/things"
    code, media, data = await fetch(client, "GET", things, ASK)
    while code == 404:
        code, media, data = await fetch(client, "GET", things, ASK)
    assert (code, media, orjson.loads(data)["kind"]) == (200, "application/json", "ThingList")
    code, media, data = await fetch(client, "GET", things, f"Accept: {PROTOBUF}")
    assert (code, orjson.loads(data)["reason"]) == (406, "NotAcceptable")

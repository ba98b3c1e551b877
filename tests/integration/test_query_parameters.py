"""Query parameters and limits of the API, one by one, over real HTTPS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from test_field_ownership import send
from test_https import CONFIG_MAPS, Connection

from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub

MERGE = "Content-Type: application/merge-patch+json"


@pytest.fixture
async def client(pilothouse_certificates: Path) -> AsyncIterator[Connection]:
    """Three config maps, two of them labelled t=x."""
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    connection = await Connection.open(hub)
    for name, labels in (("a", {"t": "x"}), ("b", {"t": "x"}), ("c", {})):
        assert (await connection.ask("POST", CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}}))[0] == 201
    yield connection
    await connection.close()
    await hub.server.stop()


def url(path: str = CONFIG_MAPS, **query: str) -> str:
    return f"{path}?{urlencode(query)}"


async def listed(client: Connection, **query: str) -> list[str]:
    code, body = await client.ask("GET", url(**query))
    assert code == 200, body
    return [i["metadata"]["name"] for i in body["items"] if i["metadata"]["name"] != "kube-root-ca.crt"]


async def events(client: Connection, **query: str) -> list[tuple[str, str]]:
    """What a watch of a second tells."""
    client.send("GET", url(watch="true", timeoutSeconds="1", **query))
    code, _ = await client.head()
    assert code == 200
    data = b"".join([chunk async for chunk in client.chunks()])
    return [(e["type"], e["object"]["metadata"].get("name", "")) for e in map(orjson.loads, data.splitlines())]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("t=x", "ab"),
        ("t==x", "ab"),
        ("t!=x", "c"),
        ("t in (x,y)", "ab"),
        ("t notin (x)", "c"),
        ("t", "ab"),
        ("!t", "c"),
        ("", "abc"),
        ("t=x,!t", ""),
    ],
)
async def test_label_selector(client: Connection, selector: str, found: str) -> None:
    assert await listed(client, labelSelector=selector) == list(found)


@pytest.mark.parametrize(
    ("selector", "found"),
    [("metadata.name=a", "a"), ("metadata.name!=a,metadata.namespace==default", "bc"), ("metadata.name=", "")],
)
async def test_field_selector(client: Connection, selector: str, found: str) -> None:
    assert await listed(client, fieldSelector=selector) == list(found)


@pytest.mark.parametrize(
    ("query", "code", "told"),
    [
        ({"labelSelector": "a in x"}, 400, "unable to parse requirement"),
        ({"labelSelector": "a=-"}, 400, "a valid label must be"),
        ({"fieldSelector": "x.y=z"}, 400, '"x.y" is not a known field selector'),
        ({"fieldSelector": "metadata.name"}, 400, "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ({"limit": "many"}, 400, "invalid syntax"),
        ({"timeoutSeconds": "1.5"}, 400, "invalid syntax"),
        ({"timeout": "soon"}, 400, "invalid duration"),
        ({"resourceVersion": "-1"}, 400, "invalid resource version"),
        ({"resourceVersion": "5", "resourceVersionMatch": "Exactly"}, 422, "supported values"),
        ({"continue": "???"}, 400, "invalid continue token"),
        ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
        ({"watch": "1", "sendInitialEvents": "true"}, 422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ({"watch": "1", "resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"}, 422, "forbidden for watch unless sendInitialEvents"),
    ],
)  # fmt: skip
async def test_parameters_that_make_no_sense(client: Connection, query: dict[str, str], code: int, told: str) -> None:
    got, status = await client.ask("GET", url(**query))
    assert got == code and told in status["message"], status


async def test_the_first_of_repeated_parameters_counts(client: Connection) -> None:
    code, body = await client.ask("GET", f"{CONFIG_MAPS}?labelSelector=t%3Dx&labelSelector=t%21%3Dx&limit=1&limit=3")
    assert (code, [i["metadata"]["name"] for i in body["items"]]) == (200, ["a"])


async def test_a_watch_has_no_pages(client: Connection) -> None:
    assert len(await events(client, limit="1", labelSelector="t=x")) == 2


async def test_send_initial_events_ends_the_past_with_a_mark(client: Connection) -> None:
    told = await events(
        client, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true", labelSelector="t=x"
    )
    assert [t for t, _ in told] == ["ADDED", "ADDED", "BOOKMARK"]
    now = (await client.ask("GET", CONFIG_MAPS))[1]["metadata"]["resourceVersion"]
    assert await events(client, sendInitialEvents="false", resourceVersionMatch="NotOlderThan", resourceVersion=now) == []


async def test_bookmarks_come_only_to_those_who_asked(client: Connection) -> None:
    told = await events(client, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", labelSelector="t=x")
    assert [t for t, _ in told] == ["ADDED", "ADDED"]


async def test_writes_have_dry_run_field_manager_validation_and_force(client: Connection) -> None:
    body: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": {"k": "v"}, "unknown": 1}
    code, obj = await client.ask("POST", url(dryRun="All", fieldManager="me"), body)
    assert (code, obj["metadata"]["managedFields"][0]["manager"]) == (201, "me")
    assert (await client.ask("GET", f"{CONFIG_MAPS}/n"))[0] == 404
    code, status = await client.ask("POST", url(fieldValidation="Strict"), body)
    assert code == 400 and 'unknown field "unknown"' in status["message"]
    for query in ({"dryRun": "Some"}, {"fieldValidation": "Other"}, {"fieldManager": "x" * 129}, {"fieldManager": "a\tb"}):
        code, status = await client.ask("POST", url(**query), body)
        assert (code, status["reason"]) == (422, "Invalid")
    code, status = await send(client, "PATCH", url(f"{CONFIG_MAPS}/a", force="true"), {}, MERGE)
    assert code == 422 and "may not be specified for non-apply patch" in status["message"]


@pytest.mark.parametrize(
    ("query", "body", "told"),
    [
        ({"propagationPolicy": "Whatever"}, None, "propagationPolicy"),
        (
            {},
            {"propagationPolicy": "Orphan", "orphanDependents": True},
            "orphanDependents and deletionPropagation cannot be both set",
        ),
        ({"dryRun": "None"}, None, "dryRun"),
    ],
)
async def test_options_of_deletions_that_make_no_sense(client: Connection, query: dict[str, str], body: Any, told: str) -> None:
    sent = None if body is None else {"apiVersion": "v1", "kind": "DeleteOptions", **body}
    code, status = await client.ask("DELETE", url(f"{CONFIG_MAPS}/a", **query), sent)
    assert code == 422 and told.lower() in status["message"].lower(), status
    assert (await client.ask("GET", f"{CONFIG_MAPS}/a"))[0] == 200


async def test_preconditions_protect_single_objects_and_collections(client: Connection) -> None:
    wrong = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "0" * 8}}
    for path in (f"{CONFIG_MAPS}/a", url(labelSelector="t=x")):
        code, status = await client.ask("DELETE", path, wrong)
        assert (code, status["reason"]) == (409, "Conflict")
    revision = (await client.ask("GET", f"{CONFIG_MAPS}/a"))[1]["metadata"]["resourceVersion"]
    await send(client, "PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "v"}}, MERGE)
    stale = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": revision}}
    assert (await client.ask("DELETE", f"{CONFIG_MAPS}/a", stale))[0] == 409
    assert await listed(client) == ["a", "b", "c"]


async def test_a_collection_is_deleted_with_the_options_of_lists_and_of_deletions(client: Connection) -> None:
    code, body = await client.ask("DELETE", url(labelSelector="t=x", dryRun="All"))
    assert (code, len(body["items"])) == (200, 2) and await listed(client) == ["a", "b", "c"]
    code, body = await client.ask("DELETE", url(labelSelector="t=x", limit="1"))
    assert (code, [i["metadata"]["name"] for i in body["items"]]) == (200, ["a"])
    code, body = await client.ask("DELETE", url(fieldSelector="metadata.name=c", propagationPolicy="Foreground"))
    assert code == 200 and (await client.ask("GET", f"{CONFIG_MAPS}/c"))[1]["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert await listed(client) == ["b", "c"]


async def test_sizes_have_limits(client: Connection) -> None:
    for metadata, told in (
        ({"name": "x" * 254}, "must be no more than 253 "),
        ({"name": "ok", "annotations": {"a": "x" * (256 * 1024)}}, "may not be more than 262144 bytes"),
        ({"name": "ok", "labels": {"a": "x" * 64}}, "must be no more than 63 "),
        ({"name": "ok", "labels": {"a" * 64: "x"}}, "must be no more than 63 "),
    ):
        code, status = await client.ask("POST", CONFIG_MAPS, {"metadata": metadata})
        assert code == 422 and told in status["message"], status["message"][-200:]
    code, status = await client.ask("POST", CONFIG_MAPS, {"metadata": {"name": "ok"}, "data": {"k": "x" * ((1 << 20) + 1)}})
    assert code == 422 and "may not be more than 1048576 bytes" in status["message"]
    code, status = await client.ask("POST", CONFIG_MAPS, {"metadata": {"name": "ok"}, "data": {"k": "x" * (3 << 20)}})
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")
    operations = [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001
    code, status = await send(client, "PATCH", f"{CONFIG_MAPS}/b", operations, "Content-Type: application/json-patch+json")
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")


async def test_include_object_chooses_what_stands_beside_a_row(client: Connection) -> None:
    accept = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"
    for include, kind in (("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")):
        _, table = await client.ask("GET", url(f"{CONFIG_MAPS}/a", includeObject=include), None, accept)
        assert (table["rows"][0]["object"] or {}).get("kind") == kind
    assert (await client.ask("GET", url(includeObject="All"), None, accept))[0] == 400


async def test_a_timeout_shortens_a_request(client: Connection) -> None:
    code, status = await client.ask("GET", url(f"{CONFIG_MAPS}", resourceVersion="99999999", timeout="50ms"))
    assert (code, status["reason"]) == (504, "Timeout")

"""managedFields as clients see them, over real HTTPS: who owns what after creates, updates, patches and applies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_https import CONFIG_MAPS, Connection

from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub

A = f"{CONFIG_MAPS}/a"
MERGE = "Content-Type: application/merge-patch+json"
APPLY = "Content-Type: application/apply-patch+yaml"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


@pytest.fixture
async def client(pilothouse_certificates: Path) -> AsyncIterator[Connection]:
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    connection = await Connection.open(hub)
    yield connection
    await connection.close()
    await hub.server.stop()


async def send(client: Connection, method: str, path: str, body: Any, *headers: str) -> tuple[int, Any]:
    """One request whose only Content-Type is the one given."""
    lines = [h for h in headers if h.startswith("Content-Type")] or ["Content-Type: application/json"]
    data = orjson.dumps(body)
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        *lines,
        *(h for h in headers if not h.startswith("Content-Type")),
        f"Content-Length: {len(data)}",
    ]
    client.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
    return await client.answer()


def config_map(data: dict[str, str], **metadata: Any) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}, "data": data}


async def apply(client: Connection, manager: str, data: dict[str, str], query: str = "") -> tuple[int, Any]:
    return await send(client, "PATCH", f"{A}?fieldManager={manager}{query}", config_map(data), APPLY)


def owners(obj: Any) -> dict[tuple[str, ...], list[str]]:
    """Manager, operation and subresource, with the keys of data that they own."""
    return {
        (e["manager"], e["operation"], *([e["subresource"]] if "subresource" in e else [])): [
            k[2:] for k in e["fieldsV1"].get("f:data", {}) if k != "."
        ]
        for e in obj["metadata"].get("managedFields", ())
    }


async def test_only_ten_updaters_are_remembered_and_the_oldest_become_ancient(client: Connection) -> None:
    await send(client, "POST", f"{CONFIG_MAPS}?fieldManager=m-00", config_map({"k0": "v"}))
    for n in range(1, 13):
        _, obj = await send(client, "PATCH", f"{A}?fieldManager=m-{n:02}", {"data": {f"k{n}": "v"}}, MERGE)
    found = owners(obj)
    assert len(found) == 10 and sum(len(keys) for keys in found.values()) == 13
    assert set(found[("ancient-changes", "Update")]) == {"k0", "k1", "k2", "k3"}
    assert ("m-12", "Update") in found and ("m-03", "Update") not in found


async def test_an_entrys_time_changes_with_its_fields_only(client: Connection) -> None:
    await send(client, "POST", f"{CONFIG_MAPS}?fieldManager=one", config_map({"k": "v"}))
    past = "2020-01-01T00:00:00Z"
    _, obj = await client.ask("GET", A)
    entries = [{**obj["metadata"]["managedFields"][0], "time": past}]
    _, two = await send(
        client, "PATCH", f"{A}?fieldManager=two", {"metadata": {"managedFields": entries}, "data": {"l": "v"}}, MERGE
    )
    assert [(e["manager"], e["time"] == past) for e in two["metadata"]["managedFields"]] == [("one", True), ("two", False)]
    _, same = await send(client, "PATCH", f"{A}?fieldManager=one", {"data": {"k": "v"}}, MERGE)
    assert same == two
    _, one = await send(client, "PATCH", f"{A}?fieldManager=one", {"data": {"k": "w"}}, MERGE)
    assert past not in [e["time"] for e in one["metadata"]["managedFields"]]


async def test_an_endpoint_for_a_part_has_entries_of_its_own(client: Connection) -> None:
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }
    await send(client, "POST", f"{DEPLOYMENTS}?fieldManager=me", {"metadata": {"name": "d"}, "spec": spec})
    await send(client, "PATCH", f"{DEPLOYMENTS}/d/status?fieldManager=me", {"status": {"replicas": 1}}, MERGE)
    await send(client, "PATCH", f"{DEPLOYMENTS}/d/scale?fieldManager=me", {"spec": {"replicas": 3}}, MERGE)
    _, obj = await client.ask("GET", f"{DEPLOYMENTS}/d")
    entries = {e.get("subresource", ""): e["fieldsV1"] for e in obj["metadata"]["managedFields"]}
    assert set(entries) == {"", "status", "scale"}
    assert entries["status"] == {"f:status": {"f:replicas": {}}} and entries["scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in entries[""]["f:spec"]


async def test_ownership_is_handed_over_by_sharing_a_value_and_then_leaving_it(client: Connection) -> None:
    await apply(client, "old", {"k": "v", "l": "v"})
    code, status = await apply(client, "new", {"k": "w"})
    assert (code, status["details"]["causes"][0]["field"]) == (409, ".data.k")
    _, obj = await apply(client, "new", {"k": "v"})
    assert owners(obj) == {("old", "Apply"): ["k", "l"], ("new", "Apply"): ["k"]}
    _, obj = await apply(client, "old", {"l": "v"})
    assert owners(obj) == {("old", "Apply"): ["l"], ("new", "Apply"): ["k"]} and obj["data"] == {"k": "v", "l": "v"}
    code, obj = await apply(client, "new", {"k": "w"})
    assert (code, obj["data"]["k"]) == (200, "w")
    _, obj = await apply(client, "old", {"l": "v", "k": "x"}, "&force=true")
    assert owners(obj) == {("old", "Apply"): ["k", "l"]} and obj["data"]["k"] == "x"
    _, obj = await apply(client, "old", {"l": "v"})
    assert obj["data"] == {"l": "v"}


async def test_one_empty_entry_clears_ownership_and_an_empty_list_does_not(client: Connection) -> None:
    await apply(client, "me", {"k": "v"})
    _, kept = await send(client, "PATCH", A, {"metadata": {"managedFields": []}}, MERGE)
    assert owners(kept) == {("me", "Apply"): ["k"]}
    _, cleared = await send(client, "PATCH", A, {"metadata": {"managedFields": [{}]}}, MERGE)
    assert "managedFields" not in cleared["metadata"]
    _, after = await send(client, "PATCH", f"{A}?fieldManager=two", {"data": {"l": "v"}}, MERGE)
    assert "managedFields" not in after["metadata"]
    _, again = await apply(client, "me", {"k": "v"})
    assert owners(again)[("me", "Apply")] == ["k"] and ("before-first-apply", "Update") in owners(again)


@pytest.mark.parametrize(
    "entry",
    [
        {"operation": "Update", "fieldsType": "FieldsV2", "apiVersion": "v1", "fieldsV1": {"f:data": {}}},
        {"operation": "Other", "fieldsType": "FieldsV1", "apiVersion": "v1", "fieldsV1": {"f:data": {}}},
    ],
)
async def test_entries_that_cannot_be_understood_change_nothing(client: Connection, entry: dict[str, Any]) -> None:
    await apply(client, "me", {"k": "v"})
    code, obj = await send(client, "PATCH", A, {"metadata": {"managedFields": [{"manager": "x", **entry}]}}, MERGE)
    assert code in (200, 422) and (code == 422 or owners(obj) == {("me", "Apply"): ["k"]})
    assert owners((await client.ask("GET", A))[1]) == {("me", "Apply"): ["k"]}


async def test_an_applied_configuration_may_not_bring_managed_fields(client: Connection) -> None:
    body = config_map({"k": "v"}, managedFields=[{"manager": "x", "operation": "Apply"}])
    code, status = await send(client, "PATCH", f"{A}?fieldManager=me", body, APPLY)
    assert (code, status["message"]) == (400, "metadata.managedFields must be nil")


async def test_kubectl_takes_over_what_it_had_applied_on_its_own_side(client: Connection) -> None:
    last = orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}).decode()
    made = config_map({"k": "v"}, annotations={"kubectl.kubernetes.io/last-applied-configuration": last})
    await send(client, "POST", f"{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply", made)
    code, obj = await apply(client, "kubectl", {"k": "w"})
    assert (code, obj["data"]) == (200, {"k": "w"})
    assert orjson.loads(obj["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])["data"] == {"k": "w"}

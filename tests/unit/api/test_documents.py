"""The tables, and the documents made from them: discovery and OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api import discovery, openapi, openapi_protobuf, tables
from pilothouse.api.resource import Resource
from pilothouse.api.tables import RESOURCES

CRON_TAB = Resource("stable.example.com", "v1", "crontabs", "CronTab", "crontab", True, ("create", "get", "list", "patch"), prefix="x",
                    storage=("stable.example.com", "v1"))  # fmt: skip
CRON_TAB_SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "nullable": True, "properties": {"cron": {"type": "string"}}}},
}


def test_a_stock_server_serves_68_resources_in_22_versions() -> None:
    assert len(RESOURCES) == 68
    assert sum(len(r.subresources) for r in RESOURCES) == 45
    assert len({(r.group, r.version) for r in RESOURCES}) == 22


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.api_version}/{r.plural}")
def test_every_resource_and_subresource_has_a_schema(resource: Resource) -> None:
    schema = tables.schema_for(resource.group, resource.version, resource.kind)
    assert schema.name.endswith("." + resource.kind)
    assert schema.fields["metadata"].name.endswith(".ObjectMeta")
    for sub in resource.subresources.values():
        if not sub.kind.endswith("Options"):
            assert tables.schema_for(sub.group, sub.version, sub.kind).fields


def test_all_schemas_can_be_walked_to_the_end() -> None:
    seen: set[str] = set()
    pending = [tables.schema_for(r.group, r.version, r.kind) for r in RESOURCES]
    while pending:
        node = pending.pop()
        if node.name and node.name in seen:
            continue
        seen.add(node.name)
        pending += node.fields.values()
        pending += [node.items] if node.items is not None else []
        assert set(node.list_keys) <= set(node.items.fields if node.items else ())
    assert len(seen) > 450


def test_merge_keys_come_with_the_schema() -> None:
    spec = tables.schema_of("io.k8s.api.core.v1.PodSpec")
    containers = spec.fields["containers"]
    assert (containers.list_type, containers.list_keys, containers.patch_key) == ("map", ("name",), "name")
    assert containers.patch_strategy == {"merge"}
    assert spec.fields["nodeSelector"].map_type == "atomic"
    ports = tables.schema_of("io.k8s.api.core.v1.Container").fields["ports"]
    assert ports.list_keys == ("containerPort", "protocol")


# --- discovery -----------------------------------------------------------------------------------------------------------------------


def test_groups_come_in_the_order_of_their_priority() -> None:
    names = [g["name"] for g in discovery.api_group_list(RESOURCES)["groups"]]
    assert names[:4] == ["apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io"]
    assert [g["name"] for g in discovery.api_group_list([*RESOURCES, CRON_TAB])["groups"]][-1] == "stable.example.com"


def test_the_preferred_version_is_the_newest_stable_one() -> None:
    assert discovery.api_group(RESOURCES, "autoscaling")["preferredVersion"] == {
        "groupVersion": "autoscaling/v2",
        "version": "v2",
    }
    written = ["v1alpha1", "foo", "v2", "v1beta2", "v10", "v1", "v1beta10"]
    assert sorted(written, key=discovery.version_key) == ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]


def test_a_resource_list_has_subresources_behind_their_parents() -> None:
    rows = discovery.api_resource_list(RESOURCES, "apps", "v1")["resources"]
    assert [r["name"] for r in rows][1:6] == [
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/scale",
        "deployments/status",
    ]
    scale = rows[4]
    assert scale == {"name": "deployments/scale", "singularName": "", "namespaced": True, "group": "autoscaling", "version": "v1",
                     "kind": "Scale", "verbs": ["get", "patch", "update"]}  # fmt: skip


def test_the_storage_hash_is_that_of_the_stored_version() -> None:
    hashes = {r["name"]: r.get("storageVersionHash") for r in discovery.api_resource_list(RESOURCES, "", "v1")["resources"]}
    assert hashes["pods"] == "xPOwRZ+Yhw8="
    assert hashes["bindings"] is None
    events = discovery.api_resource_list(RESOURCES, "events.k8s.io", "v1")["resources"][0]
    assert events["storageVersionHash"] == hashes["events"] == "r2yiGXH7wu8="


def test_the_aggregated_form_says_the_same() -> None:
    items = discovery.aggregated(RESOURCES, core=False)["items"]
    plain = {g["name"]: [v["version"] for v in g["versions"]] for g in discovery.api_group_list(RESOURCES)["groups"]}
    assert {i["metadata"]["name"]: [v["version"] for v in i["versions"]] for i in items} == plain
    (core,) = discovery.aggregated(RESOURCES, core=True)["items"]
    assert core["metadata"] == {}
    pods = next(r for r in core["versions"][0]["resources"] if r["resource"] == "pods")
    assert pods["scope"] == "Namespaced"
    assert [s["subresource"] for s in pods["subresources"]][:3] == ["attach", "binding", "ephemeralcontainers"]


# --- OpenAPI -------------------------------------------------------------------------------------------------------------------------


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


@pytest.mark.parametrize("group_version", sorted({(r.group, r.version) for r in RESOURCES}))
def test_a_version_3_document_is_whole(group_version: tuple[str, str]) -> None:
    document = openapi.v3(RESOURCES, *group_version)
    schemas = document["components"]["schemas"]
    assert {r.removeprefix("#/components/schemas/") for r in references(document)} <= set(schemas)
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))


def test_the_version_2_document_is_whole() -> None:
    document = openapi.v2(RESOURCES)
    assert {r.removeprefix("#/definitions/") for r in references(document)} <= set(document["definitions"])
    assert len(document["definitions"]) > 500


def test_writes_say_that_they_know_field_validation_and_dry_run() -> None:
    document = openapi.v3(RESOURCES, "apps", "v1")
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} == {p["name"] for p in patch["parameters"]}
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]


def test_fields_carry_what_patches_on_the_client_need() -> None:
    spec = openapi.v3(RESOURCES, "", "v1")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]
    containers = spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert spec["required"] == ["containers"]


def test_custom_resources_appear_by_being_in_the_list() -> None:
    custom = {("stable.example.com", "v1", "CronTab"): CRON_TAB_SCHEMA}
    document = openapi.v3([*RESOURCES, CRON_TAB], "stable.example.com", "v1", custom)
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert schema["properties"]["spec"]["properties"]["cron"] == {"type": "string"}
    assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in document["components"]["schemas"]
    assert "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs" in document["paths"]
    v2 = openapi.v2([CRON_TAB], custom)["definitions"]["com.example.stable.v1.CronTab"]
    assert "type" not in v2["properties"]["spec"]


# --- OpenAPI in protobuf -------------------------------------------------------------------------------------------------------------


def members(message: bytes) -> list[tuple[int, Any]]:
    """The fields of a protobuf message: numbers with whole numbers or bytes."""
    out: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            out.append((number, varint()))
        else:
            size = varint()
            out.append((number, message[at : at + size]))
            at += size
    return out


def one(message: bytes, *path: int) -> bytes:
    for number in path:
        message = next(value for n, value in members(message) if n == number)
    return message


def test_the_protobuf_form_holds_every_path_and_definition() -> None:
    document = openapi.v2(RESOURCES)
    encoded = openapi_protobuf.encode(document)
    assert one(encoded, 1) == b"2.0"
    assert [one(m, 1).decode() for _, m in members(one(encoded, 8))] == list(document["paths"])
    definitions = {one(m, 1).decode(): one(m, 2) for _, m in members(one(encoded, 9))}
    assert list(definitions) == list(document["definitions"])
    pod = definitions["io.k8s.api.core.v1.Pod"]
    assert one(pod, 22, 1) == b"object"
    assert {one(m, 1).decode() for _, m in members(one(pod, 25))} == set(
        document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]
    )
    assert one(pod, 31, 1) == b"x-kubernetes-group-version-kind"
    assert one(pod, 31, 2, 2) == b'[{"group":"","kind":"Pod","version":"v1"}]'

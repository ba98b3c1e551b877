"""Every directive of strategic merge patches, sent over real HTTPS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from test_field_ownership import send
from test_https import Connection

from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
D = f"{DEPLOYMENTS}/d"
STRATEGIC = "Content-Type: application/strategic-merge-patch+json"


@pytest.fixture
async def client(pilothouse_certificates: Path) -> AsyncIterator[Connection]:
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    connection = await Connection.open(hub)
    containers = [{"name": name, "image": f"{name}:1", "env": [{"name": "E", "value": "1"}]} for name in "abc"]
    pod = {"containers": containers, "nodeSelector": {"x": "1", "y": "2"}, "volumes": [{"name": "v", "emptyDir": {}}]}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "d"}}, "template": template, "strategy": {"type": "RollingUpdate"}}
    made = {"metadata": {"name": "d", "finalizers": ["x.io/1", "x.io/2"]}, "spec": spec}
    assert (await connection.ask("POST", DEPLOYMENTS, made))[0] == 201
    yield connection
    await connection.close()
    await hub.server.stop()


def pod_patch(spec: dict[str, Any]) -> Any:
    return {"spec": {"template": {"spec": spec}}}


async def patched(client: Connection, patch: Any) -> Any:
    code, obj = await send(client, "PATCH", D, patch, STRATEGIC)
    assert code == 200, obj
    return obj


def names(obj: Any, field: str = "containers") -> list[str]:
    return [c["name"] for c in obj["spec"]["template"]["spec"].get(field, [])]


async def test_without_a_directive_elements_merge_by_their_key(client: Connection) -> None:
    obj = await patched(client, pod_patch({"containers": [{"name": "b", "image": "b:2"}]}))
    found = {c["name"]: (c["image"], len(c["env"])) for c in obj["spec"]["template"]["spec"]["containers"]}
    assert found == {"a": ("a:1", 1), "b": ("b:2", 1), "c": ("c:1", 1)}


async def test_patch_delete_removes_an_element(client: Connection) -> None:
    assert names(await patched(client, pod_patch({"containers": [{"name": "b", "$patch": "delete"}]}))) == ["a", "c"]


async def test_patch_replace_replaces_a_list_or_a_map(client: Connection) -> None:
    obj = await patched(
        client,
        pod_patch(
            {"containers": [{"name": "z", "image": "z"}, {"$patch": "replace"}], "nodeSelector": {"$patch": "replace", "z": "3"}}
        ),
    )
    assert names(obj) == ["z"] and obj["spec"]["template"]["spec"]["nodeSelector"] == {"z": "3"}


async def test_patch_delete_empties_a_map_and_patch_merge_is_the_default(client: Connection) -> None:
    obj = await patched(client, pod_patch({"nodeSelector": {"$patch": "delete"}}))
    assert "nodeSelector" not in obj["spec"]["template"]["spec"]
    obj = await patched(client, pod_patch({"nodeSelector": {"$patch": "merge", "n": "1"}}))
    assert obj["spec"]["template"]["spec"]["nodeSelector"] == {"n": "1"}


async def test_set_element_order_orders_old_and_new_elements(client: Connection) -> None:
    order = [{"name": name} for name in ("c", "n", "a", "b")]
    obj = await patched(client, pod_patch({"$setElementOrder/containers": order, "containers": [{"name": "n", "image": "n"}]}))
    assert names(obj) == ["c", "n", "a", "b"]
    obj = await patched(
        client, {"metadata": {"$setElementOrder/finalizers": ["x.io/2", "x.io/1"], "finalizers": ["x.io/1", "x.io/2"]}}
    )
    assert obj["metadata"]["finalizers"] == ["x.io/2", "x.io/1"]


async def test_retain_keys_drops_the_other_members_of_a_union(client: Connection) -> None:
    obj = await patched(client, {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})
    assert obj["spec"]["strategy"] == {"type": "Recreate"}
    volume = {"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}
    obj = await patched(client, pod_patch({"volumes": [volume]}))
    assert set(obj["spec"]["template"]["spec"]["volumes"][0]) == {"name", "configMap"}


async def test_delete_from_primitive_list_removes_values(client: Connection) -> None:
    obj = await patched(client, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/1"], "finalizers": ["x.io/3"]}})
    assert set(obj["metadata"]["finalizers"]) == {"x.io/2", "x.io/3"}


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"$patch": "wrong"}},
        pod_patch({"containers": [{"image": "no key"}]}),
        {"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}},
        {"$setElementOrder/nothing": ["a"]},
    ],
)
async def test_directives_that_cannot_be_followed_are_bad_requests_and_change_nothing(client: Connection, patch: Any) -> None:
    before = (await client.ask("GET", D))[1]
    code, status = await send(client, "PATCH", D, patch, STRATEGIC)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert (await client.ask("GET", D))[1] == before

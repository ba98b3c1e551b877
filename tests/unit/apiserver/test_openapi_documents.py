"""OpenAPI documents of custom resources: they come, change and go with their definitions."""

from typing import Any

from .kit import Caller, hub
from .test_custom_resources import CRDS, define, definition, until
from .test_definitions_at_work import WIDGET, named

PATH = "/apis/example.com/v1/namespaces/{namespace}/widgets"


async def hashes(call: Caller) -> dict[str, str]:
    paths = (await call("GET", "/openapi/v3")).body["paths"]
    return {path: entry["serverRelativeURL"].partition("hash=")[2] for path, entry in paths.items()}


async def test_a_definition_is_in_both_documents_until_it_is_deleted() -> None:
    async with hub() as call:
        before = (await call("GET", "/openapi/v2")).body
        await define(call, definition())
        v2: dict[str, Any] = (await call("GET", "/openapi/v2")).body
        v3 = (await call("GET", "/openapi/v3/apis/example.com/v1")).body
        assert PATH in v2["paths"] and PATH in v3["paths"] and "/api/v1/namespaces/{namespace}/pods" in v2["paths"]
        assert list(v2["paths"]) == sorted(v2["paths"])
        assert v3["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]["required"] == ["size"]
        assert {"com.example.v1.Widget", "com.example.v1.WidgetList"} < v2["definitions"].keys()
        await call("DELETE", WIDGET)
        await until(call, WIDGET, 404)
        assert (await call("GET", "/openapi/v2")).body == before
        assert (await call("GET", "/openapi/v3/apis/example.com/v1")).code == 404


async def test_a_change_of_one_group_leaves_the_documents_of_others_as_they_are() -> None:
    async with hub() as call:
        await define(call, definition())
        before = await hashes(call)
        other = named("wheels")
        other["metadata"]["name"], other["spec"]["group"] = "wheels.other.org", "other.org"
        await call("POST", CRDS, other)
        await until(call, "/apis/other.org/v1/namespaces/default/wheels", 200)
        after = await hashes(call)
        assert after.pop("apis/other.org/v1")
        assert after == before


async def test_documents_have_a_tag() -> None:
    async with hub() as call:
        tag = (await call("GET", "/openapi/v3")).headers["Etag"]
        assert (await call("GET", "/openapi/v3", headers={"if-none-match": tag})).code == 304

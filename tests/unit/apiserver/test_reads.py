import asyncio

import pytest

from pilothouse.clock import SystemClock
from pilothouse.store.memory import MemoryStore

from .kit import CONFIGMAPS, Caller, configmap, hub


async def five(call: Caller) -> list[str]:
    """a to e, every other one labelled odd; their resource versions."""
    revisions = []
    for n, name in enumerate("abcde"):
        got = await call("POST", CONFIGMAPS, configmap(name, {"k": name}, labels={"p": "even" if n % 2 else "odd"}))
        revisions.append(got.body["metadata"]["resourceVersion"])
    return revisions


def names(body: dict) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def test_an_object_is_read_as_it_was_written() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a", {"k": "v"}))
        got = await call("GET", f"{CONFIGMAPS}/a")
        assert (made.code, got.code) == (201, 200)
        assert got.body == made.body
        assert got.body["metadata"]["managedFields"][0]["manager"] == "tests"


async def test_items_of_a_list_do_not_repeat_kind_and_version() -> None:
    async with hub() as call:
        await five(call)
        got = await call("GET", CONFIGMAPS)
        assert got.body["kind"] == "ConfigMapList"
        assert all(set(item) == {"metadata", "data"} for item in got.body["items"])


async def test_long_lists_are_written_in_parts_of_the_announced_length() -> None:
    async with hub() as call:
        for n in range(200):
            await call("POST", CONFIGMAPS, configmap(f"c-{n:03}"))
        got = await call("GET", CONFIGMAPS)
        assert got.response.parts is not None
        assert names(got.body) == [f"c-{n:03}" for n in range(200)]


async def test_pages_show_one_moment_whatever_happens_between_them() -> None:
    async with hub() as call:
        await five(call)
        first = await call("GET", CONFIGMAPS, query={"limit": "2"})
        assert first.body["metadata"]["remainingItemCount"] == 3
        await call("DELETE", f"{CONFIGMAPS}/c")
        await call("POST", CONFIGMAPS, configmap("bb"))
        await call("PATCH", f"{CONFIGMAPS}/d", {"data": {"k": "new"}}, media="application/merge-patch+json")
        token = first.body["metadata"]["continue"]
        second = await call("GET", CONFIGMAPS, query={"limit": "2", "continue": token})
        assert names(second.body) == ["c", "d"] and second.body["items"][1]["data"] == {"k": "d"}
        assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
        last = await call("GET", CONFIGMAPS, query={"continue": second.body["metadata"]["continue"]})
        assert names(last.body) == ["e"] and "continue" not in last.body["metadata"]


async def test_a_page_of_a_forgotten_moment_is_gone_but_can_be_continued_without_consistency() -> None:
    store = MemoryStore(SystemClock())
    async with hub(store=store) as call:
        await five(call)
        first = await call("GET", CONFIGMAPS, query={"limit": "2"})
        for n in range(3):
            await call("PATCH", f"{CONFIGMAPS}/d", {"data": {"k": str(n)}}, media="application/merge-patch+json")
        await store.compact(store.revision())
        gone = await call("GET", CONFIGMAPS, query={"limit": "2", "continue": first.body["metadata"]["continue"]})
        assert (gone.code, gone.body["reason"]) == (410, "Expired")
        rest = await call("GET", CONFIGMAPS, query={"limit": "2", "continue": gone.body["metadata"]["continue"]})
        assert names(rest.body) == ["c", "d"]


async def test_pages_with_a_selector_are_full_and_give_no_count() -> None:
    async with hub() as call:
        await five(call)
        first = await call("GET", CONFIGMAPS, query={"limit": "2", "labelSelector": "p=odd"})
        assert names(first.body) == ["a", "c"] and "remainingItemCount" not in first.body["metadata"]
        rest = await call(
            "GET", CONFIGMAPS, query={"limit": "2", "labelSelector": "p=odd", "continue": first.body["metadata"]["continue"]}
        )
        assert names(rest.body) == ["e"] and "continue" not in rest.body["metadata"]


async def test_the_past_can_be_read_exactly() -> None:
    async with hub() as call:
        revisions = await five(call)
        await call("DELETE", f"{CONFIGMAPS}/a")
        then = {"resourceVersion": revisions[1], "resourceVersionMatch": "Exact"}
        assert names((await call("GET", CONFIGMAPS, query=then)).body) == ["a", "b"]
        now = {"resourceVersion": revisions[1], "resourceVersionMatch": "NotOlderThan"}
        assert names((await call("GET", CONFIGMAPS, query=now)).body) == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("query", "code", "told"),
    [
        ({"resourceVersion": "abc"}, 400, 'invalid resource version: resourceVersion: Invalid value: "abc"'),
        ({"resourceVersionMatch": "Exact"}, 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (
            {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
            422,
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        ({"resourceVersion": "1", "resourceVersionMatch": "Bad"}, 422, 'supported values: "Exact", "NotOlderThan", ""'),
        ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
        ({"limit": "x"}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"continue": "x"}, 400, "illegal base64 data at input byte 0"),
        ({"continue": "e30"}, 400, "server does not recognize this encoded version"),
        ({"fieldSelector": "data.k=v"}, 400, '"data.k" is not a known field selector'),
        ({"labelSelector": "a in"}, 400, "found '' expected: '('"),
        ({"timeout": "x"}, 400, 'time: invalid duration "x"'),
    ],
)
async def test_options_that_make_no_sense_are_refused(query: dict[str, str], code: int, told: str) -> None:
    async with hub() as call:
        got = await call("GET", CONFIGMAPS, query=query)
        assert got.code == code
        assert told in got.body["message"]


async def test_a_revision_that_does_not_exist_yet_is_waited_for() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a"))
        future = str(int(made.body["metadata"]["resourceVersion"]) + 1)
        waiting = asyncio.ensure_future(call("GET", f"{CONFIGMAPS}/a", query={"resourceVersion": future}))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await call("POST", CONFIGMAPS, configmap("b"))
        assert (await waiting).code == 200


async def test_field_selectors_by_name_and_namespace() -> None:
    async with hub() as call:
        await five(call)
        await call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
        await call("POST", "/api/v1/namespaces/other/configmaps", configmap("a"))
        everywhere = await call("GET", "/api/v1/configmaps", query={"fieldSelector": "metadata.name=a"})
        assert [i["metadata"]["namespace"] for i in everywhere.body["items"]] == ["default", "other"]
        assert names((await call("GET", CONFIGMAPS, query={"fieldSelector": "metadata.name=a"})).body) == ["a"]
        assert names(
            (await call("GET", CONFIGMAPS, query={"fieldSelector": "metadata.name!=a,metadata.namespace=default"})).body
        ) == list("bcde")


async def test_pods_are_found_by_their_node() -> None:
    async with hub() as call:
        for name, node in (("p", "n1"), ("q", "n2"), ("r", "")):
            pod = {
                "metadata": {"name": name},
                "spec": {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node} if node else {})},
            }
            assert (await call("POST", "/api/v1/namespaces/default/pods", pod)).code == 201
        assert names((await call("GET", "/api/v1/pods", query={"fieldSelector": "spec.nodeName=n1"})).body) == ["p"]
        assert names((await call("GET", "/api/v1/pods", query={"fieldSelector": "spec.nodeName="})).body) == ["r"]
        await call("DELETE", "/api/v1/namespaces/default/pods/p", query={"gracePeriodSeconds": "0"})
        assert names((await call("GET", "/api/v1/pods", query={"fieldSelector": "spec.nodeName=n1"})).body) == []


TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


async def test_tables_and_metadata_come_by_negotiation() -> None:
    async with hub() as call:
        await five(call)
        table = await call("GET", CONFIGMAPS, accept=TABLE)
        assert [c["name"] for c in table.body["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert table.body["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        whole = await call("GET", f"{CONFIGMAPS}/a", accept=TABLE, query={"includeObject": "Object"})
        assert whole.body["rows"][0]["object"]["data"] == {"k": "a"}
        partial = await call("GET", f"{CONFIGMAPS}/a", accept=PARTIAL)
        assert partial.body["kind"] == "PartialObjectMetadata" and "data" not in partial.body
        wrong = await call("GET", CONFIGMAPS, accept=PARTIAL)
        assert (wrong.code, wrong.body["reason"]) == (406, "NotAcceptable")


async def test_yaml_is_written_as_kubernetes_writes_it() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a", {"num": "5", "multi": "l1\nl2\n", "colon": "a: b", "empty": "", "k": "v"}))
        got = await call("GET", f"{CONFIGMAPS}/a", accept="application/yaml")
        head = 'apiVersion: v1\ndata:\n  colon: \'a: b\'\n  empty: ""\n  k: v\n  multi: |\n    l1\n    l2\n  num: "5"\nkind: ConfigMap\n'
        assert got.body.startswith(head)


async def test_frozen_objects_are_served_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.apiserver.entries.FREEZE", True)
    async with hub() as call:
        await five(call)
        await call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"labels": {"x": "y"}}}, media="application/merge-patch+json")
        got = await call("GET", CONFIGMAPS, query={"labelSelector": "x=y"}, accept=TABLE)
        assert [r["cells"][0] for r in got.body["rows"]] == ["a"]

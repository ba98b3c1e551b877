from typing import Any

import pytest

from pilothouse.clock import VirtualClock, parse_rfc3339

from .kit import CONFIGMAPS, Caller, configmap, hub

PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"


async def make_pod(call: Caller, name: str = "p", node: str = "n", **metadata: Any) -> None:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node} if node else {})}
    assert (await call("POST", PODS, {"metadata": {"name": name, **metadata}, "spec": spec})).code == 201


async def test_an_immediate_deletion_is_answered_with_success() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a"))
        got = await call("DELETE", f"{CONFIGMAPS}/a")
        assert got.body["status"] == "Success"
        assert got.body["details"] == {"name": "a", "kind": "configmaps", "uid": made.body["metadata"]["uid"]}
        assert (await call("DELETE", f"{CONFIGMAPS}/a")).code == 404


async def test_a_finalizer_keeps_an_object_until_it_is_taken_away() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a", finalizers=["x/1"]))
        got = await call("DELETE", f"{CONFIGMAPS}/a")
        assert got.body["metadata"]["deletionTimestamp"] and got.body["metadata"]["deletionGracePeriodSeconds"] == 0
        again = await call("POST", CONFIGMAPS, configmap("a"))
        assert (again.code, again.body["message"]) == (409, 'object is being deleted: configmaps "a" already exists')
        more = await call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["x/1", "x/2"]}}, media=MERGE)
        assert more.code == 422
        assert (await call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}}, media=MERGE)).code == 200
        assert (await call("GET", f"{CONFIGMAPS}/a")).code == 404


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({"propagationPolicy": "Orphan"}, ["orphan"]),
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ({"orphanDependents": True}, ["orphan"]),
    ],
)
async def test_the_garbage_collector_is_told_by_finalizers(options: dict[str, Any], finalizers: list[str]) -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        got = await call("DELETE", f"{CONFIGMAPS}/a", {"kind": "DeleteOptions", "apiVersion": "v1", **options})
        assert got.body["metadata"]["finalizers"] == finalizers


async def test_a_scheduled_pod_gets_its_grace_period_and_may_get_less() -> None:
    clock = VirtualClock()
    async with hub(clock=clock) as call:
        await make_pod(call)
        got = await call("DELETE", f"{PODS}/p")
        metadata = got.body["metadata"]
        assert (metadata["deletionGracePeriodSeconds"], metadata["generation"]) == (30, 2)
        assert parse_rfc3339(metadata["deletionTimestamp"]) == int(clock.now()) + 30
        longer = await call("DELETE", f"{PODS}/p", query={"gracePeriodSeconds": "60"})
        assert longer.body["metadata"]["deletionGracePeriodSeconds"] == 30
        shorter = await call("DELETE", f"{PODS}/p", query={"gracePeriodSeconds": "5"})
        assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 5
        assert parse_rfc3339(shorter.body["metadata"]["deletionTimestamp"]) == int(clock.now()) + 5
        assert (await call("DELETE", f"{PODS}/p", query={"gracePeriodSeconds": "0"})).code == 200
        assert (await call("GET", f"{PODS}/p")).code == 404


async def test_a_grace_period_that_is_shortened_too_late_ends_now_and_not_in_the_past() -> None:
    clock = VirtualClock()
    async with hub(clock=clock) as call:
        await make_pod(call)
        await call("DELETE", f"{PODS}/p")
        await clock.advance(10)
        late = await call("DELETE", f"{PODS}/p", query={"gracePeriodSeconds": "5"})
        assert late.body["metadata"]["deletionGracePeriodSeconds"] == 1
        assert parse_rfc3339(late.body["metadata"]["deletionTimestamp"]) == int(clock.now())


async def test_a_pod_that_is_on_no_node_goes_at_once() -> None:
    async with hub() as call:
        await make_pod(call, node="")
        assert (await call("DELETE", f"{PODS}/p")).body["kind"] == "Pod"
        assert (await call("GET", f"{PODS}/p")).code == 404


async def test_preconditions_protect_from_deleting_another_object() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        wrong_uid = await call("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"uid": "x"}})
        assert (wrong_uid.code, wrong_uid.body["details"]["kind"]) == (409, "ConfigMap")
        wrong_revision = await call("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"resourceVersion": "1"}})
        assert "The object might have been modified" in wrong_revision.body["message"]


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ({"propagationPolicy": "Bad"}, 422, 'supported values: "Foreground", "Background", "Orphan", "nil"'),
        (
            {"orphanDependents": True, "propagationPolicy": "Orphan"},
            422,
            "orphanDependents and deletionPropagation cannot be both set",
        ),
        ({"dryRun": ["Bad"]}, 422, 'supported values: "All"'),
        ({"gracePeriodSeconds": "x"}, 400, "gracePeriodSeconds"),
        ({"kind": "ConfigMap", "apiVersion": "v1"}, 400, 'no kind "ConfigMap" is registered'),
        (b"{", 400, "couldn't get version/kind"),
    ],
)
async def test_options_that_make_no_sense_are_refused(body: Any, code: int, told: str) -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        got = await call("DELETE", f"{CONFIGMAPS}/a", body)
        assert got.code == code
        assert told in got.body["message"]


async def test_a_dry_run_deletes_nothing() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        await make_pod(call)
        assert (await call("DELETE", f"{CONFIGMAPS}/a", query={"dryRun": "All"})).body["status"] == "Success"
        assert (await call("DELETE", f"{PODS}/p", query={"dryRun": "All"})).body["metadata"]["deletionGracePeriodSeconds"] == 30
        assert (await call("GET", f"{CONFIGMAPS}/a")).code == 200
        assert "deletionTimestamp" not in (await call("GET", f"{PODS}/p")).body["metadata"]


async def test_a_collection_is_deleted_by_selector_and_answered_as_it_was() -> None:
    async with hub() as call:
        for name, group in (("a", "1"), ("b", "2"), ("c", "1")):
            await call("POST", CONFIGMAPS, configmap(name, labels={"g": group}))
        got = await call("DELETE", CONFIGMAPS, query={"labelSelector": "g=1"})
        assert [i["metadata"]["name"] for i in got.body["items"]] == ["a", "c"]
        assert [i["metadata"]["name"] for i in (await call("GET", CONFIGMAPS)).body["items"]] == ["b"]


async def test_a_namespace_is_terminating_until_its_finalizers_are_gone() -> None:
    async with hub() as call:
        await call("POST", "/api/v1/namespaces", {"metadata": {"name": "x"}})
        got = await call("DELETE", "/api/v1/namespaces/x")
        assert got.body["status"]["phase"] == "Terminating" and got.body["spec"]["finalizers"] == ["kubernetes"]
        assert (await call("GET", "/api/v1/namespaces/x")).code == 200


JOBS = "/apis/batch/v1/namespaces/default/jobs"


@pytest.mark.parametrize(
    ("options", "warned"), [(None, True), ({"propagationPolicy": "Orphan"}, False), ({"orphanDependents": False}, False)]
)
async def test_who_deletes_a_job_without_a_word_about_its_pods_is_warned(options: dict[str, Any] | None, warned: bool) -> None:
    async with hub() as call:
        container = {"name": "c", "image": "i"}
        job = {"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
        assert (await call("POST", JOBS, job)).code == 201
        got = await call("DELETE", f"{JOBS}/j", options)
        assert ("child pods are preserved by default" in got.headers.get("Warning", "")) is warned

import asyncio
from typing import Any

import pytest

from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest
from pilothouse.apiserver.server import ApiServer

from .kit import CONFIGMAPS, Caller, configmap, hub

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def test_a_name_is_made_where_only_its_beginning_is_given() -> None:
    async with hub() as call:
        got = [await call("POST", CONFIGMAPS, {"metadata": {"generateName": "x-"}}) for _ in range(3)]
        found = {g.body["metadata"]["name"] for g in got}
        assert len(found) == 3 and all(n.startswith("x-") and len(n) == 7 for n in found)


async def test_a_taken_name_is_a_conflict() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        got = await call("POST", CONFIGMAPS, configmap("a"))
        assert (got.code, got.body["reason"]) == (409, "AlreadyExists")


async def test_an_update_of_what_was_seen_before_is_a_conflict() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a", {"k": "1"}))
        changed = {**made.body, "data": {"k": "2"}}
        assert (await call("PUT", f"{CONFIGMAPS}/a", changed)).code == 200
        late = await call("PUT", f"{CONFIGMAPS}/a", {**changed, "data": {"k": "3"}})
        assert (late.code, late.body["reason"]) == (409, "Conflict")


async def test_an_update_that_changes_nothing_writes_nothing() -> None:
    async with hub() as call:
        made = await call("POST", CONFIGMAPS, configmap("a", {"k": "1"}))
        again = await call("PUT", f"{CONFIGMAPS}/a", configmap("a", {"k": "1"}))
        assert again.body == made.body


async def test_racing_patches_all_win_one_after_the_other() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        got = await asyncio.gather(*(call("PATCH", f"{CONFIGMAPS}/a", {"data": {f"k{n}": "v"}}, media=MERGE) for n in range(20)))
        assert {g.code for g in got} == {200}
        assert len((await call("GET", f"{CONFIGMAPS}/a")).body["data"]) == 20


async def test_a_patch_that_names_a_resource_version_does_not_try_again() -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        got = await call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"resourceVersion": "1"}, "data": {"k": "v"}}, media=MERGE)
        assert (got.code, got.body["reason"]) == (409, "Conflict")


@pytest.mark.parametrize(
    ("method", "path", "body", "query", "told"),
    [
        (
            "POST",
            CONFIGMAPS,
            configmap("b", namespace="other"),
            {},
            "the namespace of the provided object does not match the namespace sent",
        ),
        ("PUT", f"{CONFIGMAPS}/a", configmap("b"), {}, "the name of the object (b) does not match the name on the URL (a)"),
        ("PUT", f"{CONFIGMAPS}/a", {"metadata": {}}, {}, "name must be provided"),
        ("POST", CONFIGMAPS, configmap("b"), {"dryRun": "Bad"}, 'dryRun: Unsupported value: ["Bad"]: supported values: "All"'),
        ("POST", CONFIGMAPS, configmap("b"), {"fieldValidation": "x"}, 'supported values: "", "Ignore", "Strict", "Warn"'),
        ("POST", CONFIGMAPS, configmap("b"), {"fieldManager": "a\tb"}, "invalid character U+0009 (at position 1)"),
        (
            "POST",
            CONFIGMAPS,
            {**configmap("b"), "x": 1},
            {"fieldValidation": "Strict"},
            'strict decoding error: unknown field "x"',
        ),
    ],
)
async def test_writes_that_make_no_sense_are_refused(
    method: str, path: str, body: dict, query: dict[str, str], told: str
) -> None:
    async with hub() as call:
        await call("POST", CONFIGMAPS, configmap("a"))
        got = await call(method, path, body, query=query)
        assert got.code in (400, 422)
        assert told in got.body["message"]


async def test_a_dry_run_tells_what_would_be_and_leaves_no_trace() -> None:
    async with hub() as call:
        would = await call("POST", CONFIGMAPS, configmap("a", {"k": "v"}), query={"dryRun": "All"})
        assert would.code == 201 and "resourceVersion" not in would.body["metadata"]
        assert (await call("GET", f"{CONFIGMAPS}/a")).code == 404


async def test_unknown_fields_are_warned_of() -> None:
    async with hub() as call:
        got = await call("POST", CONFIGMAPS, {**configmap("a"), "nothing": 1})
        assert got.headers["Warning"] == '299 - "unknown field \\"nothing\\""'


async def test_warnings_are_said_once_without_control_characters_and_cut_short_when_there_are_many() -> None:
    def said(got: Any) -> list[str]:
        return [value for name, value in got.response.headers or () if name == "Warning"]

    async with hub() as call:
        odd = await call("POST", CONFIGMAPS, {**configmap("a"), "a\r\nb": 1, "c\x85": 1, "d": 1})
        assert said(odd) == ['299 - "unknown field \\"d\\""']
        many = said(await call("POST", CONFIGMAPS, {**configmap("b"), **{f"{n}{'x' * 500}": 1 for n in range(30)}}))
        short = await call("POST", CONFIGMAPS, {**configmap("c"), **{f"x{n}": 1 for n in range(150)}})
        assert len(said(short)) == 100
        assert len(many) == 16 and {len(text) for text in many} == {len('299 - ""') + 256 + 1}


async def test_leases_are_created_by_updates_and_config_maps_are_not() -> None:
    async with hub() as call:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
        assert (await call("PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l", lease)).code == 201
        assert (await call("PUT", f"{CONFIGMAPS}/a", configmap("a"))).code == 404


async def test_server_side_apply_creates_owns_and_conflicts() -> None:
    async with hub() as call:
        path, one, two = f"{CONFIGMAPS}/a", configmap("a", {"k": "1"}), configmap("a", {"k": "2"})
        assert (await call("PATCH", path, one, media=APPLY, query={"fieldManager": "m1"})).code == 201
        refused = await call("PATCH", path, two, media=APPLY, query={"fieldManager": "m2"})
        assert (refused.code, refused.body["message"]) == (409, 'Apply failed with 1 conflict: conflict with "m1": .data.k')
        forced = await call("PATCH", path, two, media=APPLY, query={"fieldManager": "m2", "force": "true"})
        assert forced.code == 200 and forced.body["data"] == {"k": "2"}


async def test_a_patch_of_nothing_is_told_before_what_is_wrong_with_it() -> None:
    async with hub() as call:
        assert (await call("PATCH", f"{CONFIGMAPS}/none", b"[", media="application/json-patch+json")).code == 404
        await call("POST", CONFIGMAPS, configmap("a"))
        assert (await call("PATCH", f"{CONFIGMAPS}/a", b"[", media="application/json-patch+json")).code == 400
        assert (await call("PATCH", f"{CONFIGMAPS}/a", b"{}", media="application/json")).code == 415


class Recorder(AdmissionPlugin):
    """Labels config maps on their way in, and remembers what it saw."""

    name = "Recorder"
    seen: list[tuple[str, str]]

    def handles(self, operation: str, resource: object, subresource: str) -> bool:
        return getattr(resource, "plural", "") == "configmaps"

    async def admit(self, request: AdmissionRequest) -> None:
        if request.obj is not None:
            request.obj["metadata"].setdefault("labels", {})["seen"] = request.operation.lower()

    async def validate(self, request: AdmissionRequest) -> None:
        self.seen.append((request.operation, request.name))


async def test_admission_sees_every_write_and_may_change_it() -> None:
    plugin: list[Recorder] = []

    def admission(server: ApiServer) -> list[AdmissionPlugin]:
        plugin.append(Recorder(server))
        plugin[0].seen = []
        return [*plugin]

    async with hub(admission=admission) as call:
        made = await call("POST", CONFIGMAPS, configmap("a"))
        assert made.body["metadata"]["labels"] == {"seen": "create"}
        await call("PATCH", f"{CONFIGMAPS}/a", {"data": {"k": "v"}}, media=MERGE)
        await call("DELETE", f"{CONFIGMAPS}/a")
        assert plugin[0].seen == [("CREATE", "a"), ("UPDATE", "a"), ("DELETE", "a")]


async def test_objects_above_the_stores_limit_and_bodies_above_ours_are_refused() -> None:
    async with hub() as call:
        got = await call("POST", CONFIGMAPS, configmap("a", annotations={"a/b": "x"}), headers={"content-encoding": ""})
        assert got.code == 201
        request_too_large = await _too_large(call)
        assert request_too_large == (413, "RequestEntityTooLarge")


async def _too_large(call: Caller) -> tuple[int, str]:
    from pilothouse.apiserver.messages import Request, Response

    request = Request("POST", CONFIGMAPS, {b"authorization": b"Bearer admin"}, b"{}")
    request.too_large = True
    answer = call.server.chain(request)
    response = answer if isinstance(answer, Response) else await answer
    import orjson

    return response.status, orjson.loads(response.body)["reason"]


async def test_scale_is_a_view_of_the_object_behind_it() -> None:
    async with hub() as call:
        base = "/apis/apps/v1/namespaces/default/deployments"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        assert (await call("POST", base, {"metadata": {"name": "d"}, "spec": spec})).code == 201
        scale = await call("GET", f"{base}/d/scale")
        assert scale.body["spec"] == {"replicas": 2} and scale.body["status"] == {"replicas": 0, "selector": "a=b"}
        patched = await call("PATCH", f"{base}/d/scale", {"spec": {"replicas": 5}}, media=MERGE)
        assert patched.body["spec"] == {"replicas": 5}
        after = await call("GET", f"{base}/d")
        assert after.body["spec"]["replicas"] == 5 and after.body["metadata"]["generation"] == 2
        bad = await call("PATCH", f"{base}/d/scale", {"spec": {"replicas": -1}}, media=MERGE)
        assert (bad.code, bad.body["details"]["kind"]) == (422, "Scale")


async def test_a_job_has_its_pods_labels_once_it_has_been_checked() -> None:
    async with hub() as call:
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
        jobs = "/apis/batch/v1/namespaces/default/jobs"
        made = await call("POST", jobs, {"metadata": {"name": "j"}, "spec": {"template": template}})
        assert made.body["metadata"]["labels"] == made.body["spec"]["template"]["metadata"]["labels"]
        refused = await call("POST", jobs, {"metadata": {"name": "n" * 64}, "spec": {"template": template}})
        assert {cause["field"] for cause in refused.body["details"]["causes"]} == {"spec.template.labels"}


async def test_an_empty_list_is_shown_as_it_was_sent_and_stored_as_none() -> None:
    async with hub() as call:
        path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        assert (await call("POST", path, {"metadata": {"name": "r"}, "rules": []})).body["rules"] is None


@pytest.mark.parametrize("again", [False, True])
async def test_refusals_show_an_empty_map_that_was_sent_and_null_for_none(again: bool) -> None:
    async with hub() as call:
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
        for labels, shown in (({}, "{}"), (None, "null")):
            body = {"metadata": {"name": "d"}, "spec": {**spec, "template": {**spec["template"], "metadata": {"labels": labels}}}}
            for _ in range(4 if again else 1):  # bodies that were seen before are remembered
                got = await call("POST", "/apis/apps/v1/namespaces/default/deployments", body)
                assert f"spec.template.metadata.labels: Invalid value: {shown}: `selector` does not match" in got.body["message"]
        empty = {"metadata": {"name": "d"}, "spec": {**spec, "selector": {"matchLabels": {}}}}
        got = await call("POST", "/apis/apps/v1/namespaces/default/deployments", empty)
        assert "spec.selector: Invalid value: {}: empty selector is invalid" in got.body["message"]

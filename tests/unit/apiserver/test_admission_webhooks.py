"""Admission webhooks: what they are asked, and what becomes of their answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .cluster_kit import PODS, cluster, pod
from .kit import Caller
from .webhook_kit import GROUP, MAPS, RULE, Obj, allow, bundle, config, configure, deny, hooks, patch, webhook

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def label(key: str, value: str = "1") -> Obj:
    return {"op": "add", "path": f"/metadata/labels/{key}", "value": value}


async def rules(call: Caller, client: Obj, *given: Obj, **more: Any) -> None:
    await configure(call, "validating", webhook(client, rules=list(given), **more))


# --- refusing -----------------------------------------------------------------------------------------------------------------------


async def test_a_webhook_refuses_with_its_own_code_reason_and_message() -> None:
    async with cluster() as call, hooks(no=lambda r: deny(r, code=403, reason="Forbidden", message="not on a Friday")) as server:
        await configure(call, "validating", webhook(server.client("/no")))
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["reason"]) == (403, "Forbidden"), got.body
        assert got.body["message"] == 'admission webhook "a.example.com" denied the request: not on a Friday'
        assert (await call("GET", f"{MAPS}/a")).code == 404


async def test_without_a_message_the_reason_is_told_and_without_both_that_there_is_none() -> None:
    async with cluster() as call, hooks(no=lambda r: deny(r), why=lambda r: deny(r, reason="Because", code=200)) as server:
        await configure(call, "validating", webhook(server.client("/no")), name="w1")
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["message"]) == (
            400,
            'admission webhook "a.example.com" denied the request without explanation',
        )
        assert (await call("DELETE", f"{GROUP}/validatingwebhookconfigurations/w1")).code == 200
        await configure(call, "mutating", webhook(server.client("/why")))
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["message"]) == (400, 'admission webhook "a.example.com" denied the request: Because')


async def test_warnings_are_passed_on_whether_or_not_the_request_is_let_in() -> None:
    async with (
        cluster() as call,
        hooks(
            yes=lambda r: allow(r, warnings=["careful"]), no=lambda r: allow(r, allowed=False, warnings=["too late"])
        ) as server,
    ):
        await configure(call, "validating", webhook(server.client("/yes")))
        assert (await call("POST", MAPS, config())).headers["Warning"] == '299 - "careful"'
        await configure(call, "validating", webhook(server.client("/no")), name="x")
        got = await call("POST", MAPS, config("b"))
        assert got.code == 400
        assert '299 - "too late"' in [v for k, v in got.response.headers or () if k == "Warning"]


async def test_all_validating_webhooks_are_asked_at_once() -> None:
    both: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]

    def wait(mine: int) -> Any:
        async def decide(review: Obj) -> Obj:
            both[mine].set()
            await both[1 - mine].wait()
            return allow(review)

        return decide

    async with cluster() as call, hooks(one=wait(0), two=wait(1)) as server:
        await configure(call, "validating", webhook(server.client("/one")), webhook(server.client("/two"), "b.example.com"))
        assert (await call("POST", MAPS, config())).code == 201


# --- what is asked ------------------------------------------------------------------------------------------------------------------


async def test_a_webhook_sees_who_does_what_to_which_object() -> None:
    async with cluster() as call, hooks(yes=allow) as server:
        await rules(call, server.client("/yes"), {**RULE, "operations": ["*"]})
        assert (await call("POST", MAPS, config(), query={"fieldManager": "me"})).code == 201
        assert (await call("PATCH", f"{MAPS}/a", {"data": {"k": "w"}}, media=MERGE, query={"dryRun": "All"})).code == 200
        assert (await call("DELETE", f"{MAPS}/a", {"gracePeriodSeconds": 3})).code == 200
        create, update, delete = (r["request"] for r in server.asked)
        kind, resource = (
            {"group": "", "version": "v1", "kind": "ConfigMap"},
            {"group": "", "version": "v1", "resource": "configmaps"},
        )
        assert (create["kind"], create["requestKind"]) == (kind, kind)
        assert (create["resource"], create["requestResource"]) == (resource, resource)
        assert (create["name"], create["namespace"], create["operation"], create["dryRun"]) == ("a", "default", "CREATE", False)
        assert create["userInfo"] == {"username": "admin", "uid": "admin", "groups": ["system:masters", "system:authenticated"]}
        assert create["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
        assert create["object"]["data"] == {"k": "v"} and create["object"]["metadata"]["uid"] and create["oldObject"] is None
        assert "subResource" not in create
        assert (update["object"]["data"], update["oldObject"]["data"], update["dryRun"]) == ({"k": "w"}, {"k": "v"}, True)
        assert update["options"]["kind"] == "PatchOptions"
        assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"k": "v"})
        assert delete["options"] == {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 3}
        assert len({r["uid"] for r in (create, update, delete)}) == 3
        assert {(r["kind"], r["apiVersion"]) for r in server.asked} == {("AdmissionReview", "admission.k8s.io/v1")}


async def test_connections_are_let_in_by_what_they_ask_for() -> None:
    async with cluster() as call, hooks(no=lambda r: deny(r, message="no shells")) as server:
        assert (await call("POST", PODS, pod())).code == 201
        await rules(call, server.client("/no"), {**RULE, "operations": ["CONNECT"], "resources": ["pods/exec"]})
        got = await call("POST", f"{PODS}/p/exec?command=sh&command=-c&container=c&stdin=true")
        assert (got.code, got.body["message"]) == (400, 'admission webhook "a.example.com" denied the request: no shells')
        asked = server.asked[0]["request"]
        assert (asked["operation"], asked["subResource"], asked["kind"]["kind"]) == ("CONNECT", "exec", "PodExecOptions")
        assert asked["object"]["command"] == ["sh", "-c"]
        assert asked["object"]["stdin"] is True and "tty" not in asked["object"]


async def test_a_subresource_is_asked_about_as_the_object_that_it_takes() -> None:
    async with (
        cluster() as call,
        hooks(scale=lambda r: patch(r, {"op": "replace", "path": "/spec/replicas", "value": 4})) as server,
    ):
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        assert (await call("POST", sets, {"metadata": {"name": "r"}, "spec": spec})).code == 201
        rule = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["*/scale"]}
        await configure(call, "mutating", webhook(server.client("/scale"), rules=[rule]))
        got = await call("PATCH", f"{sets}/r/scale", {"spec": {"replicas": 2}}, media=MERGE)
        assert (got.code, got.body["spec"]) == (200, {"replicas": 4})
        asked = server.asked[0]["request"]
        assert (asked["kind"]["kind"], asked["resource"]["resource"], asked["subResource"]) == ("Scale", "replicasets", "scale")
        assert (asked["object"]["spec"], asked["oldObject"]["spec"]) == ({"replicas": 2}, {"replicas": 1})


async def test_reviews_are_of_the_first_version_that_both_sides_understand() -> None:
    async with cluster() as call, hooks(yes=lambda r: {"response": {"allowed": True}}) as server:
        await configure(call, "validating", webhook(server.client("/yes"), admissionReviewVersions=["v2", "v1beta1", "v1"]))
        assert (await call("POST", MAPS, config())).code == 201
        assert server.asked[0]["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_an_equivalent_resource_is_shown_in_the_version_that_the_rule_names() -> None:
    rule = {"operations": ["CREATE"], "apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "resources": ["events"]}
    event = {
        "metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"namespace": "default", "name": "x"},
        "reason": "R", "message": "told", "type": "Normal",
    }  # fmt: skip
    async with (
        cluster() as call,
        hooks(mark=lambda r: patch(r, {"op": "replace", "path": "/note", "value": "changed"})) as server,
    ):
        await configure(call, "mutating", webhook(server.client("/mark"), rules=[rule]))
        got = await call("POST", "/api/v1/namespaces/default/events", event)
        assert (got.code, got.body["message"]) == (201, "changed")
        asked = server.asked[0]["request"]
        assert (asked["kind"]["group"], asked["requestKind"]["group"]) == ("events.k8s.io", "")
        assert (asked["object"]["apiVersion"], asked["object"]["note"]) == ("events.k8s.io/v1", "told")


# --- which requests -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({"rules": [{**RULE, "operations": ["UPDATE"]}]}, False),
        ({"rules": [{**RULE, "resources": ["*"], "apiGroups": ["*"], "apiVersions": ["*"]}]}, True),
        ({"rules": [{**RULE, "resources": ["configmaps/status", "*/scale"]}]}, False),
        ({"rules": [{**RULE, "scope": "Cluster"}]}, False),
        ({"rules": []}, False),
        ({"objectSelector": {"matchLabels": {"l": "1"}}}, True),
        ({"objectSelector": {"matchLabels": {"l": "2"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]}},
            False,
        ),
        (
            {
                "matchConditions": [
                    {"name": "c", "expression": "object.metadata.name == 'a' && request.userInfo.username == 'admin'"}
                ]
            },
            True,
        ),
        ({"matchConditions": [{"name": "c", "expression": "authorizer.path('/x').check('get').allowed() && false"}]}, False),
        ({"matchConditions": [{"name": "c", "expression": "object.nope == 1"}], "failurePolicy": "Ignore"}, False),
    ],
)
async def test_a_webhook_is_asked_about_what_it_is_for(more: Obj, asked: bool) -> None:
    async with cluster() as call, hooks(yes=allow) as server:
        await configure(call, "validating", webhook(server.client("/yes"), **more))
        assert (await call("POST", MAPS, config(labels={"l": "1"}))).code == 201
        assert bool(server.asked) == asked


async def test_a_condition_that_cannot_be_evaluated_refuses() -> None:
    async with cluster() as call, hooks(yes=allow) as server:
        condition = {"name": "c", "expression": "object.nope == 1"}
        await configure(call, "mutating", webhook(server.client("/yes"), matchConditions=[condition]))
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["message"]) == (
            403,
            "configmaps \"a\" is forbidden: expression 'object.nope == 1' resulted in error: no such key: nope",
        )


async def test_webhooks_are_not_asked_about_webhooks_and_policies() -> None:
    everything = {**RULE, "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    async with cluster() as call, hooks(no=deny) as server:
        await rules(call, server.client("/no"), everything)
        assert (await call("POST", MAPS, config())).code == 400
        assert (await call("DELETE", f"{GROUP}/validatingwebhookconfigurations/w")).code == 200
        assert (await call("POST", MAPS, config())).code == 201


# --- mutating -----------------------------------------------------------------------------------------------------------------------


async def test_a_patch_changes_the_object_and_nobody_owns_the_change() -> None:
    async with cluster() as call, hooks(mark=lambda r: patch(r, {"op": "add", "path": "/data/added", "value": "yes"})) as server:
        await configure(call, "mutating", webhook(server.client("/mark")))
        got = await call("POST", MAPS, config())
        assert got.body["data"] == {"k": "v", "added": "yes"}
        assert got.body["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {".": {}, "f:k": {}}}
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "v"}}
        got = await call("PATCH", f"{MAPS}/b", applied, media=APPLY, query={"fieldManager": "m"})
        assert got.body["data"] == {"k": "v", "added": "yes"}
        got = await call("PATCH", f"{MAPS}/b", {"data": {"added": None}}, media=MERGE)
        assert got.body["data"] == {"k": "v", "added": "yes"}


async def test_what_a_patch_adds_gets_its_defaults_and_is_pruned_and_checked() -> None:
    sidecar = {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "s", "bogus": 1}}
    broken = {"op": "add", "path": "/spec/containers/-", "value": {"name": "c", "image": "twice"}}
    async with cluster() as call, hooks(side=lambda r: patch(r, sidecar), bad=lambda r: patch(r, broken)) as server:
        rule = {**RULE, "resources": ["pods"], "operations": ["CREATE"]}
        await configure(call, "mutating", webhook(server.client("/side"), rules=[rule]))
        made = (await call("POST", PODS, pod())).body["spec"]["containers"]
        assert [c["name"] for c in made] == ["c", "side"]
        assert made[1]["imagePullPolicy"] == "Always" and "bogus" not in made[1]
        assert [m["name"][:15] for m in made[1]["volumeMounts"]] == ["kube-api-access"]  # built-in plugins run once more
        await configure(call, "mutating", webhook(server.client("/bad"), rules=[rule]), name="x")
        got = await call("POST", PODS, pod("q"))
        assert (got.code, got.body["details"]["causes"][0]["field"]) == (422, "spec.containers[2].name")


async def test_webhooks_change_an_object_one_after_the_other_by_the_names_of_their_configurations() -> None:
    def append(letter: str) -> Any:
        return lambda r: patch(r, label("seen", r["request"]["object"]["metadata"]["labels"]["seen"] + letter))

    async with cluster() as call, hooks(a=append("a"), b=append("b"), c=append("c")) as server:
        await configure(call, "mutating", webhook(server.client("/c")), name="z")
        await configure(call, "mutating", webhook(server.client("/b"), "z.example.com"), webhook(server.client("/a")), name="y")
        assert (await call("POST", MAPS, config(labels={"seen": "x"}))).body["metadata"]["labels"] == {"seen": "xbac"}


async def test_a_webhook_that_wants_to_sees_again_what_others_changed_after_it() -> None:
    def mark(name: str) -> Any:
        return lambda r: patch(r, label(name))

    for policy, times in (("IfNeeded", 2), ("Never", 1)):
        async with cluster() as call, hooks(first=mark("first"), second=mark("second")) as server:
            first = webhook(server.client("/first"), reinvocationPolicy=policy)
            await configure(call, "mutating", first, webhook(server.client("/second"), "b.example.com"))
            assert (await call("POST", MAPS, config(labels={"x": "y"}))).code == 201
            seen = [sorted(r["request"]["object"]["metadata"]["labels"]) for r in server.asked]
            assert seen == [["x"], ["first", "x"], ["first", "second", "x"]][: times + 1]


async def test_a_patch_that_cannot_be_carried_out_is_an_internal_error() -> None:
    missing = {"op": "remove", "path": "/data/none"}
    async with cluster() as call, hooks(bad=lambda r: patch(r, missing), gone=lambda r: patch(r, missing)) as server:
        await configure(call, "mutating", webhook(server.client("/bad"), failurePolicy="Ignore"))
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["reason"]) == (500, "InternalError")
        assert got.body["message"] == (
            'Internal error occurred: remove operation does not apply: doc is missing path: "/data/none": missing value'
        )


async def test_spoilt_field_owners_are_put_back_with_a_warning() -> None:
    spoil = {"op": "add", "path": "/metadata/managedFields", "value": [{"manager": "m"}]}
    async with cluster() as call, hooks(spoil=lambda r: patch(r, spoil)) as server:
        await configure(call, "mutating", webhook(server.client("/spoil")))
        got = await call("POST", MAPS, config())
        assert got.code == 201
        assert got.body["metadata"]["managedFields"][0]["manager"] == "tests"
        assert "managedFields was in an invalid state after admission" in got.headers["Warning"]


# --- what goes wrong ----------------------------------------------------------------------------------------------------------------


async def failing(client: Obj, kind: str = "validating", **more: Any) -> str:
    """The message that a client gets, without what it always begins with."""
    async with cluster() as call:
        await configure(call, kind, webhook(client, **more))
        got = await call("POST", MAPS, config())
        assert (got.code, got.body["reason"]) == (500, "InternalError"), got.body
        message = got.body["message"]
        assert got.body["details"]["causes"] == [{"message": message.removeprefix("Internal error occurred: ")}]
        start = 'Internal error occurred: failed calling webhook "a.example.com": '
        assert message.startswith(start)
        return str(message[len(start) :])


async def test_an_authority_that_is_not_the_webhooks_own_is_not_trusted() -> None:
    async with hooks(yes=allow) as server:
        told = await failing(server.client("/yes", caBundle=bundle("others")))
        assert told == (
            f'failed to call webhook: Post "https://127.0.0.1:{server.port}/yes?timeout=10s": tls: failed to verify certificate: '
            "x509: certificate signed by unknown authority"
        )
        assert (await failing(server.client("/yes", caBundle="Z2FyYmFnZQ=="))).startswith("could not get REST client: ")


async def test_a_webhook_that_takes_too_long_has_failed() -> None:
    async def never(review: Obj) -> Obj:
        await asyncio.Event().wait()
        return allow(review)

    async with hooks(slow=never) as server:
        told = await failing(server.client("/slow"), timeoutSeconds=1)
        assert told == (
            f'failed to call webhook: Post "https://127.0.0.1:{server.port}/slow?timeout=1s": context deadline exceeded'
        )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"http": 500, "text": "boom"}, 'failed to call webhook: an error on the server ("boom") has prevented the request from succeeding'),
        ({"http": 404, "text": ""}, "failed to call webhook: the server could not find the requested resource"),
        ({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}, "received invalid webhook response: webhook response was absent"),
        (
            {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "", "allowed": True}},
            'received invalid webhook response: expected response.uid="UID", got ""',
        ),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_has_failed(answer: Obj, told: str) -> None:
    async with hooks(bad=lambda r: answer) as server:
        found = await failing(server.client("/bad"))
        assert found.replace(server.asked[0]["request"]["uid"], "UID") == told


async def test_a_validating_webhook_may_not_patch() -> None:
    async with hooks(bad=lambda r: patch(r, label("x"))) as server:
        assert (
            await failing(server.client("/bad"))
            == "received invalid webhook response: validating webhook may not return response.patch"
        )


async def test_failures_are_ignored_where_the_configuration_says_so() -> None:
    async with cluster() as call, hooks(no=lambda r: {"http": 500, "text": ""}) as server:
        for kind in ("validating", "mutating"):
            await configure(call, kind, webhook(server.client("/no"), failurePolicy="Ignore"))
        assert (await call("POST", MAPS, config())).code == 201
        assert len(server.asked) == 2

import asyncio

import pytest

from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.interface import Attributes, User, Verdict

from .kit import ADMIN, CONFIGMAPS, Caller, configmap, hub


class Readers:
    """Everybody may read config maps; jane may impersonate bob."""

    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]:
        if attributes.resource == "configmaps" and attributes.verb in ("get", "list"):
            return Verdict.ALLOW, ""
        if (attributes.user.name, attributes.verb, attributes.resource, attributes.name) == (
            "jane",
            "impersonate",
            "users",
            "bob",
        ):
            return Verdict.ALLOW, ""
        return Verdict.NO_OPINION, ""


def readers(hub: object) -> tuple[Readers]:
    return (Readers(),)


async def test_a_request_that_nobody_allows_is_forbidden_with_the_reason() -> None:
    async with hub(authorizers=readers) as call:
        jane = Caller(call.server, "jane")
        assert (await jane("GET", CONFIGMAPS)).code == 200
        got = await jane("POST", CONFIGMAPS, configmap("a"))
        told = (
            'configmaps is forbidden: User "jane" cannot create resource "configmaps" in API group "" in the namespace "default"'
        )
        assert (got.code, got.body["message"]) == (403, told)
        path = await jane("GET", "/metrics")
        assert path.body["message"] == 'forbidden: User "jane" cannot get path "/metrics"'


async def test_a_request_without_credentials_is_anonymous() -> None:
    async with hub(authorizers=readers) as call:
        got = await call("DELETE", f"{CONFIGMAPS}/a", headers={"authorization": ""})
        assert (got.code, 'User "system:anonymous"' in got.body["message"]) == (403, True)


async def test_wrong_credentials_are_told_what_is_wanted() -> None:
    async with hub(anonymous_auth=False) as call:
        call.token = ""
        got = await call("GET", CONFIGMAPS)
        assert (got.code, got.headers["Www-Authenticate"]) == (401, 'Bearer realm="kubernetes-master"')


async def test_impersonation_needs_permission_and_makes_another_user() -> None:
    async with hub(authorizers=readers) as call:
        jane = Caller(call.server, "jane")
        as_bob = await jane("DELETE", f"{CONFIGMAPS}/a", headers={"impersonate-user": "bob"})
        assert 'User "bob" cannot delete' in as_bob.body["message"]
        as_eve = await jane("GET", CONFIGMAPS, headers={"impersonate-user": "eve"})
        assert 'User "jane" cannot impersonate-on:user-info:list' in as_eve.body["message"]
        as_group = await call("GET", "/metrics", headers={"impersonate-user": "eve"})
        assert 'User "eve" cannot get path' in as_group.body["message"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/namespaces/default/nothings", 404),
        ("GET", "/apis/apps/v9", 404),
        ("GET", "/apis/nothing.io/v1/things", 404),
        ("GET", "/api/v1/configmaps/a", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1//namespaces", 404),
        ("GET", "/nothing", 404),
        ("POST", f"{CONFIGMAPS}/a", 405),
        ("DELETE", "/api/v1/pods", 405),
        ("POST", "/api/v1/pods", 405),
        ("GET", "/api/v1/namespaces/default/pods/p/binding", 405),
        ("GET", f"{CONFIGMAPS}/%2e%2e", 400),
        ("GET", f"{CONFIGMAPS}/%zz", 400),
    ],
)
async def test_paths_and_methods_that_do_not_exist(method: str, path: str, code: int) -> None:
    async with hub() as call:
        assert (await call(method, path)).code == code


async def test_unknown_groups_and_paths_are_answered_in_plain_text() -> None:
    async with hub() as call:
        assert (await call("GET", "/apis/nothing.io")).body == "404 page not found\n"


async def test_too_many_requests_at_once_are_turned_away() -> None:
    async with hub(max_mutating_in_flight=2) as call:
        got = await asyncio.gather(*(call("POST", CONFIGMAPS, configmap(f"c{n}")) for n in range(6)))
        codes = sorted(g.code for g in got)
        assert codes[:2] == [201, 201] and set(codes[2:]) <= {201, 429} and 429 in codes
        refused = next(g for g in got if g.code == 429)
        assert refused.headers["Retry-After"] == "1"


async def test_a_request_that_takes_too_long_is_given_up() -> None:
    async with hub() as call:
        got = await call("GET", CONFIGMAPS, query={"resourceVersion": "999", "timeout": "20ms"})
        assert (got.code, got.body["reason"]) == (504, "Timeout")


async def test_every_answer_has_an_audit_id() -> None:
    async with hub() as call:
        first, second = await call("GET", "/version"), await call("GET", "/version")
        assert first.response.audit and first.response.audit != second.response.audit
        assert (await call("GET", "/version", headers={"audit-id": "mine"})).response.audit == b"mine"


async def test_health_says_what_it_checks() -> None:
    async with hub() as call:
        assert (await call("GET", "/readyz")).body == "ok"
        verbose = (await call("GET", "/readyz", query={"verbose": ""})).body
        assert "[+]poststarthook/rbac/bootstrap-roles ok\n" in verbose and verbose.endswith("readyz check passed\n")
        assert (await call("GET", "/livez/ping")).body == "ok"
        assert (await call("GET", "/livez/shutdown")).code == 404
        call.server.stopping = True
        failing = await call("GET", "/readyz")
        assert failing.code == 500 and "[-]shutdown failed: reason withheld" in failing.body


async def test_requests_are_counted_under_kubernetes_names() -> None:
    async with hub() as call:
        await call("GET", f"{CONFIGMAPS}/none")
        text = (await call("GET", "/metrics")).body
        assert (
            'apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource"'
            in text
        )
        assert 'apiserver_storage_objects{resource="namespaces"} 1' in text


async def test_discovery_in_both_forms_and_documents_with_tags() -> None:
    async with hub() as call:
        plain = await call("GET", "/api/v1")
        assert {"name": "configmaps", "singularName": "configmap"}.items() <= plain.body["resources"][2].items()
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        whole = await call("GET", "/apis", accept=accept)
        assert (
            '"kind":"APIGroupDiscoveryList"' in whole.body
            if isinstance(whole.body, str)
            else whole.body["kind"] == "APIGroupDiscoveryList"
        )
        again = await call("GET", "/apis", accept=accept, headers={"if-none-match": whole.headers["Etag"]})
        assert again.code == 304
        index = await call("GET", "/openapi/v3")
        url = index.body["paths"]["api/v1"]["serverRelativeURL"]
        document = await call("GET", url)
        assert (
            document.response.cache == "public, immutable"
            and "/api/v1/namespaces/{namespace}/configmaps" in document.body["paths"]
        )


async def test_errors_come_in_the_format_that_was_asked_for() -> None:
    async with hub() as call:
        got = await call("GET", f"{CONFIGMAPS}/none", accept="application/yaml")
        assert got.body.startswith("apiVersion: v1\ncode: 404\n")


async def test_a_bug_is_an_internal_error_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub() as call:
        monkeypatch.setattr(call.server.handlers, "get", lambda ask: 1 / 0)
        got = await call("GET", f"{CONFIGMAPS}/a")
        assert (got.code, got.body["reason"]) == (500, "InternalError")
        assert "division by zero" in caplog.text


async def test_components_in_the_process_use_the_same_chain_without_copies() -> None:
    async with hub(authorizers=readers) as call:
        admin = InProcessTransport(call.server.chain, ADMIN)
        made = await admin.request("POST", CONFIGMAPS, body=configmap("a", {"k": "v"}))
        assert made.status == 201
        entry = call.server.cache("", "configmaps").get("default", "a")
        assert entry is not None
        assert (await admin.request("GET", f"{CONFIGMAPS}/a")).body is entry.obj
        listed = await admin.request("GET", CONFIGMAPS, {"labelSelector": "!x"})
        assert listed.body["items"][0] is entry.obj
        jane = InProcessTransport(call.server.chain, User("jane"))
        refused = await jane.request("DELETE", f"{CONFIGMAPS}/a")
        assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
        tables = await admin.request("GET", CONFIGMAPS, accept="application/json;as=Table;g=meta.k8s.io;v=v1")
        assert tables.body["kind"] == "Table"

"""Webhooks as parts of a cluster: what they may not block, where they are, as whom they are called, what is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilothouse.apiserver.webhooks.identities import Identities
from pilothouse.clock import SystemClock, VirtualClock
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore

from .cluster_kit import PODS, cluster, pod
from .webhook_kit import GROUP, MAPS, RULE, allow, bundle, client_files, config, configure, deny, hooks, webhook

EVERYTHING = {**RULE, "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
NOWHERE = {"url": "https://127.0.0.1:1/"}


async def test_a_server_starts_whatever_webhooks_keep_others_from_doing(tmp_path: Path) -> None:
    clock = SystemClock(seed=1)
    async with cluster(store=SqliteStore(tmp_path / "db", clock), clock=clock) as call:
        for kind in ("validating", "mutating"):
            await configure(call, kind, webhook(NOWHERE, rules=[EVERYTHING]))
    async with cluster(store=SqliteStore(tmp_path / "db", clock), clock=clock) as call:
        assert (await call("GET", "/readyz")).code == 200
        assert (await call("POST", MAPS, config())).code == 500


async def test_a_definition_is_served_once_the_webhook_in_its_way_has_gone() -> None:
    clock = VirtualClock()
    async with cluster(clock=clock, store=MemoryStore(clock)) as call:
        await configure(call, "validating", webhook(NOWHERE, rules=[{**EVERYTHING, "resources": ["*/status"]}]))
        versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]
        spec = {"group": "example.com", "scope": "Cluster", "names": {"plural": "bs", "kind": "B"}, "versions": versions}
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert (await call("POST", crds, {"metadata": {"name": "bs.example.com"}, "spec": spec})).code == 201
        await clock.advance(20)
        assert (await call("GET", "/apis/example.com/v1/bs")).code == 404
        assert (await call("DELETE", f"{GROUP}/validatingwebhookconfigurations/w")).code == 200

        async def served() -> bool:
            return (await call("GET", "/apis/example.com/v1/bs")).code == 200

        await clock.run_until(served)


async def test_an_eviction_is_asked_about_and_the_deletion_that_it_leads_to_is_not() -> None:
    async with cluster() as call, hooks(yes=allow) as server:
        assert (await call("POST", PODS, pod())).code == 201
        rule = {**RULE, "operations": ["*"], "resources": ["pods", "pods/eviction"]}
        await configure(call, "validating", webhook(server.client("/yes"), rules=[rule]))
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        assert (await call("POST", f"{PODS}/p/eviction", body)).code == 201
        [asked] = [r["request"] for r in server.asked]
        assert (asked["operation"], asked["subResource"], asked["kind"]["kind"]) == ("CREATE", "eviction", "Eviction")


async def test_connections_are_used_again() -> None:
    async with cluster() as call, hooks(yes=allow) as server:
        await configure(call, "validating", webhook(server.client("/yes")))
        for n in range(5):
            assert (await call("POST", MAPS, config(f"a{n}"))).code == 201
        assert (len(server.asked), len(server.connections)) == (5, 1)


async def test_a_service_is_reached_at_its_name_and_known_by_its_certificate() -> None:
    async with cluster() as call, hooks(yes=allow) as server:
        spec = {"type": "ExternalName", "externalName": "localhost"}
        for name in ("hook", "other"):
            assert (
                await call("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": name}, "spec": spec})
            ).code == 201
        ref = {"namespace": "default", "name": "hook", "port": server.port, "path": "/yes"}
        await configure(call, "validating", webhook({"service": ref, "caBundle": bundle()}))
        assert (await call("POST", MAPS, config())).code == 201
        await configure(call, "validating", webhook({"service": {**ref, "name": "other"}, "caBundle": bundle()}), name="x")
        got = await call("POST", MAPS, config("b"))
        assert (
            f'Post "https://other.default.svc:{server.port}/yes?timeout=10s": tls: failed to verify certificate'
            in got.body["message"]
        )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none", 'service "none" not found'),
        ("headless", 'no endpoints available for service "headless"'),
        ("ports", 'no service port 443 found for service "ports"'),
    ],
)
async def test_a_service_that_leads_nowhere_is_told(name: str, told: str) -> None:
    async with cluster() as call:
        services = "/api/v1/namespaces/default/services"
        headless = {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 443}]}
        assert (await call("POST", services, {"metadata": {"name": "headless"}, "spec": headless})).code == 201
        assert (await call("POST", services, {"metadata": {"name": "ports"}, "spec": {"ports": [{"port": 80}]}})).code == 201
        await configure(call, "mutating", webhook({"service": {"namespace": "default", "name": name}}))
        got = await call("POST", MAPS, config())
        assert got.body["message"].endswith(f'failed to call webhook: Post "https://{name}.default.svc:443/?timeout=10s": {told}')


async def test_what_webhooks_do_is_counted() -> None:
    async with cluster() as call, hooks(no=lambda r: deny(r, code=403)) as server:
        await configure(
            call, "validating", webhook(server.client("/no")), webhook(NOWHERE, "b.example.com", failurePolicy="Ignore")
        )
        await configure(call, "mutating", webhook(NOWHERE, "c.example.com", failurePolicy="Ignore"))
        assert (await call("POST", MAPS, config())).code == 403
        text = (await call("GET", "/metrics")).body
        prefix = "apiserver_admission_webhook"
        labels = 'name="a.example.com",operation="CREATE",rejected="true",type="validating"'
        assert f"{prefix}_admission_duration_seconds_count{{{labels}}} 1" in text
        rejection = 'error_type="no_error",name="a.example.com",operation="CREATE",rejection_code="403",type="validating"'
        assert f"{prefix}_rejection_count{{{rejection}}} 1" in text
        assert f'{prefix}_fail_open_count{{name="b.example.com",type="validating"}} 1' in text
        assert f'{prefix}_fail_open_count{{name="c.example.com",type="admit"}} 1' in text
        helps = [line for line in text.splitlines() if line.startswith("# HELP")]
        assert len(helps) == len(set(helps))


async def test_webhooks_are_called_as_the_users_of_a_kubeconfig(tmp_path: Path) -> None:
    certificate, key = client_files(tmp_path, "the-api-server")
    user = {"token": "t", "client-certificate": certificate.name, "client-key": key.name}
    (tmp_path / "hooks.conf").write_text(json.dumps({"users": [{"name": "*", "user": user}]}))
    config_file = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": str(tmp_path / "hooks.conf")}  # fmt: skip
    plugins = [{"name": "ValidatingAdmissionWebhook", "configuration": config_file}]
    (tmp_path / "admission.yaml").write_text(
        json.dumps({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins})
    )
    async with cluster(admission_control_config_file=tmp_path / "admission.yaml") as call, hooks(yes=allow) as server:
        for kind in ("mutating", "validating"):
            await configure(call, kind, webhook(server.client("/yes")))
        assert (await call("POST", MAPS, config())).code == 201
        assert server.callers == [("", ""), ("Bearer t", "the-api-server")]


def test_the_user_for_a_server_is_the_one_with_the_closest_name() -> None:
    names = ("a.ns.svc", "a.ns.svc:8443", "*.ns.svc", "*")
    users = [{"name": n, "user": {"token": n}} for n in names]
    found = Identities({"users": users}, Path())
    asked = [("a.ns.svc", 443), ("a.ns.svc", 8443), ("b.ns.svc", 443), ("b.ns.svc", 8443), ("x.org", 443)]
    assert [found.of(*server).authorization for server in asked] == [
        f"Bearer {n}" for n in ("a.ns.svc", "a.ns.svc:8443", "*.ns.svc", "*", "*")
    ]
    basic = Identities({"users": [{"name": "u", "user": {"username": "a", "password": "b"}}], "contexts": [{"name": "c", "context": {"user": "u"}}], "current-context": "c"}, Path())  # fmt: skip
    assert basic.of("x.org", 443).authorization == "Basic YTpi"

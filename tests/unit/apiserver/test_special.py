from __future__ import annotations

from typing import Any

import pytest

from pilothouse.apiserver.special import component_status
from pilothouse.clock import rfc3339_micro

from .cluster_kit import PODS, cluster, pod

MERGE = "application/merge-patch+json"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


def binding(node: str = "n", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **metadata}, "target": {"kind": "Node", "name": node}}


async def test_a_pod_is_bound_once() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod())
        assert (await call("POST", f"{PODS}/p/binding", binding(annotations={"by": "me"}))).code == 201
        got = (await call("GET", f"{PODS}/p")).body
        assert got["spec"]["nodeName"] == "n" and got["metadata"]["annotations"] == {"by": "me"}
        assert [(c["type"], c["status"]) for c in got["status"]["conditions"]] == [("PodScheduled", "True")]
        got = await call("POST", f"{PODS}/p/binding", binding("m"))
        assert (got.code, got.body["reason"]) == (409, "Conflict")


async def test_bindings_of_a_namespace_bind_pods_too() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod())
        assert (await call("POST", "/api/v1/namespaces/default/bindings", binding())).code == 201
        assert (await call("GET", f"{PODS}/p")).body["spec"]["nodeName"] == "n"


async def test_a_gated_pod_is_not_bound() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod(schedulingGates=[{"name": "x.io/wait"}]))
        got = await call("POST", f"{PODS}/p/binding", binding())
        assert got.code == 409 and "non-empty .spec.schedulingGates" in got.body["message"]


async def test_a_binding_for_another_incarnation_is_refused() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod())
        assert (await call("POST", f"{PODS}/p/binding", binding(uid="other"))).code == 409
        assert "nodeName" not in (await call("GET", f"{PODS}/p")).body["spec"]


async def test_a_bound_pod_learns_its_nodes_zone() -> None:
    async with cluster() as call:
        labels = {"topology.kubernetes.io/zone": "z1", "other": "x"}
        await call("POST", "/api/v1/nodes", {"metadata": {"name": "n", "labels": labels}})
        await call("POST", PODS, pod())
        await call("POST", f"{PODS}/p/binding", binding())
        assert (await call("GET", f"{PODS}/p")).body["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z1"}


async def _running(call: Any, name: str = "p", ready: bool = True) -> None:
    await call("POST", PODS, pod(name, metadata={"labels": {"a": "b"}}, nodeName="n"))
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    got = await call("PATCH", f"{PODS}/{name}/status", {"status": status}, media=MERGE)
    assert got.code == 200, got.body


async def _budget(call: Any, allowed: int, **spec: Any) -> None:
    body = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}, **spec}}
    await call("POST", BUDGETS, body)
    status = {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    await call("PATCH", f"{BUDGETS}/b/status", {"status": status}, media=MERGE)


def eviction(name: str = "p", **options: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **({"deleteOptions": options} if options else {})}


async def test_an_eviction_takes_a_disruption_from_the_budget() -> None:
    async with cluster() as call:
        await _running(call)
        await _budget(call, 1)
        assert (await call("POST", f"{PODS}/p/eviction", eviction(), query={"dryRun": "All"})).code == 201
        assert (await call("POST", f"{PODS}/p/eviction", eviction())).code == 201
        got = (await call("GET", f"{PODS}/p")).body
        assert got["metadata"]["deletionTimestamp"]
        assert got["status"]["conditions"][-1]["type"] == "DisruptionTarget"
        status = (await call("GET", f"{BUDGETS}/b")).body["status"]
        assert status["disruptionsAllowed"] == 0 and list(status["disruptedPods"]) == ["p"]


async def test_an_empty_budget_says_try_again() -> None:
    async with cluster() as call:
        await _running(call)
        await _budget(call, 0)
        got = await call("POST", f"{PODS}/p/eviction", eviction())
        assert got.code == 429
        assert got.body["details"]["causes"][0]["message"] == "The disruption budget b needs 1 healthy pods and has 1 currently"
        assert "deletionTimestamp" not in (await call("GET", f"{PODS}/p")).body["metadata"]


async def test_a_sick_pod_may_go_if_the_budget_says_so() -> None:
    async with cluster() as call:
        await _running(call, ready=False)
        await _budget(call, 0, unhealthyPodEvictionPolicy="AlwaysAllow")
        assert (await call("POST", f"{PODS}/p/eviction", eviction())).code == 201


async def test_a_finished_pod_needs_no_budget() -> None:
    async with cluster() as call:
        await _running(call)
        await _budget(call, 0)
        await call("PATCH", f"{PODS}/p/status", {"status": {"phase": "Succeeded"}}, media=MERGE)
        assert (await call("POST", f"{PODS}/p/eviction", eviction())).code == 201


async def test_an_eviction_of_another_incarnation_changes_nothing() -> None:
    async with cluster() as call:
        await _running(call)
        got = await call("POST", f"{PODS}/p/eviction", eviction(preconditions={"uid": "other"}))
        assert got.code == 409
        conditions = (await call("GET", f"{PODS}/p")).body["status"]["conditions"]
        assert [c["type"] for c in conditions] == ["Ready"]


async def test_connections_say_what_is_missing() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod(containers=[{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]))
        got = await call("GET", f"{PODS}/p/log")
        assert got.body["message"] == "a container name must be specified for pod p, choose one of: [a b]"
        assert (await call("GET", f"{PODS}/p/log", query={"container": "a"})).code == 204
        got = await call("POST", f"{PODS}/p/exec", query={"container": "a", "command": "ls", "stdout": "true"})
        assert (got.code, got.body["message"]) == (400, "pod p does not have a host assigned")
        await call("POST", f"{PODS}/p/binding", binding())
        assert (await call("GET", f"{PODS}/p/log", query={"container": "a"})).code == 503


async def test_a_review_without_a_question_is_invalid() -> None:
    async with cluster() as call:
        got = await call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": "x"}})
        assert (got.code, got.body["details"]["causes"][0]["field"]) == (422, "spec.resourceAttributes")
        both = {"user": "x", "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/", "verb": "get"}}
        assert (await call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": both})).code == 422


async def test_a_local_review_is_about_its_namespace() -> None:
    async with cluster() as call:
        reviews = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
        asked = {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}
        got = await call("POST", reviews, {"metadata": {"namespace": "default"}, "spec": asked})
        assert got.code == 201 and "allowed" in got.body["status"]
        asked["resourceAttributes"] = {"verb": "get", "resource": "pods", "namespace": "other"}
        got = await call("POST", reviews, {"metadata": {"namespace": "default"}, "spec": asked})
        assert (got.code, got.body["details"]["causes"][0]["field"]) == (422, "spec.resourceAttributes.namespace")


async def test_components_tell_how_they_are() -> None:
    async with cluster() as call:
        call.server.components.update({"scheduler": lambda: "", "controller-manager": lambda: "it has stopped"})
        got = await call("GET", "/api/v1/componentstatuses")
        told = [(c["metadata"]["name"], c["conditions"][0]["status"], c["conditions"][0]["message"]) for c in got.body["items"]]
        assert told == [
            ("scheduler", "True", "ok"),
            ("controller-manager", "False", "it has stopped"),
            ("etcd-0", "True", "ok"),
        ]
        assert (await call("GET", "/api/v1/componentstatuses/other")).code == 404


@pytest.mark.parametrize(("age", "status"), [(0, "True"), (60, "False")])
async def test_a_component_elsewhere_is_alive_while_its_lease_is_renewed(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int, age: int, status: str
) -> None:
    monkeypatch.setitem(component_status._PORTS, "scheduler", unused_tcp_port)
    async with cluster() as call:
        one = "/api/v1/componentstatuses/scheduler"
        got = await call("GET", one)
        refused = f"dial tcp 127.0.0.1:{unused_tcp_port}: connect: connection refused"
        assert got.body["conditions"][0] == {
            "type": "Healthy",
            "status": "False",
            "message": f'Get "https://127.0.0.1:{unused_tcp_port}/healthz": {refused}',
        }
        renewed = rfc3339_micro(call.server.clock.now() - age)
        lease = {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": renewed}
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
        assert (await call("POST", leases, {"metadata": {"name": "kube-scheduler"}, "spec": lease})).code == 201
        assert (await call("GET", one)).body["conditions"][0]["status"] == status


async def test_the_keys_of_tokens_are_published() -> None:
    async with cluster() as call:
        got = await call("GET", "/openid/v1/jwks", accept="application/jwk-set+json")
        assert got.code == 200 and '"kty":"EC"' in got.response.body.decode()
        got = await call("GET", "/.well-known/openid-configuration")
        assert got.body["issuer"] == "https://kubernetes.default.svc"

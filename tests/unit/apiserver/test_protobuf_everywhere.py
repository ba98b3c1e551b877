"""Every endpoint of a built-in kind answers in protobuf when it is asked to: lists of all resources, reviews, tokens, scales, bindings, evictions."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pilothouse.api import protobuf, protobuf_write, tables
from pilothouse.apiserver.messages import Request, Response

from .cluster_kit import PODS, cluster, pod
from .kit import Caller

PROTOBUF = "application/vnd.kubernetes.protobuf"


async def ask(call: Caller, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """An answer in protobuf, read by what its envelope says that it is. Bodies go in protobuf, too."""
    data = protobuf_write.write(body) if body is not None else b""
    sent = {b"authorization": b"Bearer admin", b"accept": PROTOBUF.encode(), b"content-type": PROTOBUF.encode()}
    answer = call.server.chain(Request(method, path, sent, data))
    response = answer if isinstance(answer, Response) else await answer
    assert response.content_type == PROTOBUF, response.body
    raw = response.body if response.parts is None else b"".join(response.parts)
    kind = protobuf._read(raw[4:], protobuf._UNKNOWN, None)
    found = protobuf_write._message_of(kind["typeMeta"].get("apiVersion", ""), kind["typeMeta"]["kind"])
    assert found is not None
    return response.status, {**kind["typeMeta"], **protobuf._read(base64.b64decode(kind["raw"]), *found)}


async def test_every_resource_is_listed_in_protobuf_as_in_json() -> None:
    async with cluster() as call:
        for resource in tables.RESOURCES:
            if "list" not in resource.verbs:
                continue
            path = f"/{'apis/' + resource.group if resource.group else 'api'}/{resource.version}/{resource.plural}"
            code, found = await ask(call, "GET", path)
            wanted = (await call("GET", path)).body
            assert (code, found["kind"]) == (200, wanted["kind"])
            names = [[i["metadata"].get("name") for i in body.get("items", [])] for body in (found, wanted)]
            assert names[0] == names[1], path


REVIEWS: list[tuple[str, dict[str, Any]]] = [
    ("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"kind": "SubjectAccessReview", "spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}}}),
    ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"kind": "SelfSubjectAccessReview", "spec": {"nonResourceAttributes": {"verb": "get", "path": "/version"}}}),
    ("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}}),
    ("/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", {"kind": "LocalSubjectAccessReview", "metadata": {"namespace": "default"}, "spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}),
    ("/apis/authentication.k8s.io/v1/tokenreviews", {"kind": "TokenReview", "spec": {"token": "jane"}}),
    ("/apis/authentication.k8s.io/v1/selfsubjectreviews", {"kind": "SelfSubjectReview"}),
    ("/api/v1/namespaces/default/serviceaccounts/default/token", {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 3600}}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), REVIEWS, ids=[body["kind"] for _, body in REVIEWS])
async def test_reviews_and_tokens(path: str, body: dict[str, Any]) -> None:
    async with cluster() as call:
        body = {"apiVersion": "/".join(path.split("/")[2:4]), **body}
        code, found = await ask(call, "POST", path, body)
        assert (code, found["kind"]) == (201, body["kind"]) and found["status"]


async def test_bindings_evictions_scales_and_statuses() -> None:
    async with cluster() as call:
        code, found = await ask(call, "POST", PODS, pod("p"))
        assert (code, found["spec"]["containers"][0]["name"]) == (201, "c")
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        code, found = await ask(call, "POST", f"{PODS}/p/binding", binding)
        assert (code, found["kind"], found["status"]) == (201, "Status", "Success")
        code, found = await ask(call, "GET", f"{PODS}/p/status")
        assert (code, found["kind"], found["spec"]["nodeName"]) == (200, "Pod", "n1")
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        code, found = await ask(call, "POST", f"{PODS}/p/eviction", eviction)
        assert (code, found["kind"]) == (201, "Status")
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}  # fmt: skip
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        code, found = await ask(call, "POST", sets, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"}, "spec": spec})  # fmt: skip
        assert code == 201
        code, found = await ask(call, "GET", f"{sets}/r/scale")
        assert (code, found["kind"], found["spec"]["replicas"]) == (200, "Scale", 1)
        found["spec"]["replicas"] = 3
        code, found = await ask(call, "PUT", f"{sets}/r/scale", found)
        assert (code, found["spec"]["replicas"]) == (200, 3)
        code, found = await ask(call, "DELETE", f"{sets}/r")
        assert (code, found["kind"], found["details"]["name"]) == (200, "Status", "r")
        code, found = await ask(call, "DELETE", PODS)
        assert (code, found["kind"]) == (200, "PodList")

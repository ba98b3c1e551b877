"""NodeRestriction: what a kubelet may write, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .cluster_kit import PODS, acting, cluster, pod
from .kit import Caller

MERGE = "application/merge-patch+json"
MIRROR = {"kubernetes.io/config.mirror": "x"}


@asynccontextmanager
async def restricted() -> AsyncIterator[tuple[Caller, Caller, dict[str, Any]]]:
    """An administrator, the kubelet of n1, and the reference to its node."""
    async with cluster(enable_admission_plugins=("NodeRestriction",)) as call:
        for name in ("n1", "n2"):
            made = await call("POST", "/api/v1/nodes", {"metadata": {"name": name}})
            if name == "n1":
                uid = made.body["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": True}
        yield call, acting(call, "n1"), owner


def mirror(owner: dict[str, Any], **spec: Any) -> dict[str, Any]:
    metadata = {"annotations": MIRROR, "ownerReferences": [owner]}
    return pod(**{"metadata": metadata, "nodeName": "n1", "automountServiceAccountToken": False, **spec})


async def test_a_kubelet_makes_mirror_pods_of_its_own_node() -> None:
    async with restricted() as (_, kubelet, owner):
        assert (await kubelet("POST", PODS, mirror(owner))).code == 201


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metadata": {"ownerReferences": []}}, 'pod does not have "kubernetes.io/config.mirror" annotation'),
        ({"spec": {"nodeName": "n2"}}, 'node "n1" can only create pods with spec.nodeName set to itself'),
        ({"owner": {"name": "n2"}}, "can only create pods with an owner reference set to itself"),
        ({"owner": {"controller": False}}, "can only create pods with a controller owner reference set to itself"),
        ({"owner": {"blockOwnerDeletion": True}}, "must not set blockOwnerDeletion on an owner reference"),
        ({"owner": {"uid": "other"}}, "node n1 UID mismatch: expected other got "),
        ({"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}, "not reference secrets"),
        ({"spec": {"volumes": [{"name": "v", "configMap": {"name": "s"}}]}}, "can not create pods that reference configmaps"),
        (
            {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}},
            "can not create pods that reference persistentvolumeclaims",
        ),
    ],
)
async def test_a_pod_that_is_no_mirror_of_its_own_is_refused(change: dict[str, Any], told: str) -> None:
    async with restricted() as (_, kubelet, owner):
        body = mirror({**owner, **change.get("owner", {})}, **change.get("spec", {}))
        if "metadata" in change:
            body["metadata"] = {"name": "p", **change["metadata"]}
        got = await kubelet("POST", PODS, body)
        assert got.code == 403 and told in got.body["message"]


async def test_a_kubelet_tells_of_its_own_pods_and_removes_them() -> None:
    async with restricted() as (call, kubelet, _):
        for name, node in (("mine", "n1"), ("other", "n2")):
            await call("POST", PODS, pod(name, nodeName=node))
        status = {"status": {"phase": "Running"}}
        assert (await kubelet("PATCH", f"{PODS}/mine/status", status, media=MERGE)).code == 200
        got = await kubelet("PATCH", f"{PODS}/other/status", status, media=MERGE)
        assert got.body["message"].endswith('node "n1" can only update status of pods with spec.nodeName set to itself')
        labels = {"metadata": {"labels": {"a": "b"}}}
        got = await kubelet("PATCH", f"{PODS}/mine/status", labels, media=MERGE)
        assert got.body["message"].endswith('node "n1" cannot update labels through pod status')
        assert (await kubelet("DELETE", f"{PODS}/other")).code == 403
        assert (await kubelet("DELETE", f"{PODS}/mine")).code == 200


@pytest.mark.parametrize(
    ("path", "change", "told"),
    [
        ("n1", {"metadata": {"labels": {"kubernetes.io/arch": "amd64", "example.com/a": "b"}}}, ""),
        ("n2", {"metadata": {"labels": {"a": "b"}}}, 'node "n1" is not allowed to modify node "n2"'),
        (
            "n1",
            {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}},
            "is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        ("n1", {"spec": {"taints": []}}, 'node "n1" is not allowed to modify taints'),
    ],
)
async def test_a_kubelet_changes_its_own_node_within_limits(path: str, change: dict[str, Any], told: str) -> None:
    async with restricted() as (_, kubelet, _):
        got = await kubelet("PATCH", f"/api/v1/nodes/{path}", change, media=MERGE)
        assert (got.code == 200) is (not told), got.body
        assert told in got.body.get("message", "")


async def test_a_token_is_for_a_pod_of_the_node_and_an_audience_that_it_wants() -> None:
    async with restricted() as (call, kubelet, _):
        volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}}
        mine = (await call("POST", PODS, pod("mine", nodeName="n1", volumes=[volume]))).body["metadata"]["uid"]
        other = (await call("POST", PODS, pod("other", nodeName="n2"))).body["metadata"]["uid"]

        async def ask(name: str, uid: str, *audiences: str) -> str:
            ref = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
            body = {"spec": {"audiences": list(audiences), "boundObjectRef": ref}}
            got = await kubelet("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", body)
            return "" if got.code == 201 else str(got.body["message"])

        assert await ask("mine", mine) == "" == await ask("mine", mine, "vault")
        assert (await ask("mine", mine, "bank")).endswith('audience "bank" not found in pod spec volume')
        assert (await ask("mine", mine, "vault", "bank")).endswith("node may only request 0 or 1 audiences")
        assert "does not match the UID in record" in await ask("mine", other)
        assert await ask("other", other) != ""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pilothouse.apiserver.admission.image_policy_webhook import ImagePolicyWebhook

from .cluster_kit import PODS, cluster, pod
from .kit import Caller
from .webhook_kit import Hooks, bundle, hooks

Obj = dict[str, Any]


def only_trusted(review: Obj) -> Obj:
    """Images of one registry."""
    bad = [c["image"] for c in review["spec"]["containers"] if not c["image"].startswith("trusted/")]
    return {**review, "status": {"allowed": not bad, "reason": f"who made {bad[0]}?" if bad else ""}}


def config_file(folder: Path, port: int, **policy: Any) -> Path:
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}/", "certificate-authority-data": bundle()}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
    settings = {"imagePolicy": {"kubeConfigFile": str(folder / "kubeconfig"), "retryBackoff": 1, **policy}}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ImagePolicyWebhook", "configuration": settings}],
    }
    (folder / "admission.yaml").write_text(json.dumps(document))
    return folder / "admission.yaml"


@asynccontextmanager
async def asking(folder: Path, decide: Any, **policy: Any) -> AsyncIterator[tuple[Caller, Hooks]]:
    async with hooks(x=decide) as server:
        server.paths["/"] = decide
        file = config_file(folder, server.port, **policy)
        async with cluster(enable_admission_plugins=("ImagePolicyWebhook",), admission_control_config_file=file) as call:
            yield call, server


def running(name: str, image: str, **metadata: Any) -> Obj:
    return pod(name, containers=[{"name": "c", "image": image}], metadata=metadata)


async def test_images_run_only_if_the_other_server_says_so(tmp_path: Path) -> None:
    async with asking(tmp_path, only_trusted) as (call, server):
        marks = {"me.image-policy.k8s.io/ticket": "1", "other": "x"}
        assert (await call("POST", PODS, running("a", "trusted/a", annotations=marks))).code == 201
        got = await call("POST", PODS, running("b", "evil"))
        why = "image policy webhook backend denied one or more images: who made evil?"
        assert (got.code, got.body["message"]) == (403, f'pods "b" is forbidden: {why}')
    first = server.asked[0]
    assert (first["apiVersion"], first["kind"]) == ("imagepolicy.k8s.io/v1alpha1", "ImageReview")
    assert first["spec"] == {
        "containers": [{"image": "trusted/a"}],
        "namespace": "default",
        "annotations": {"me.image-policy.k8s.io/ticket": "1"},
    }
    assert {caller for caller, _ in server.callers} == {"Bearer secret"}


async def test_containers_for_debugging_are_asked_about_as_well(tmp_path: Path) -> None:
    async with asking(tmp_path, only_trusted) as (call, _):
        assert (await call("POST", PODS, running("a", "trusted/a"))).code == 201
        body = {"spec": {"ephemeralContainers": [{"name": "e", "image": "evil"}]}}
        got = await call("PATCH", f"{PODS}/a/ephemeralcontainers", body, media="application/strategic-merge-patch+json")
        assert got.code == 403 and "who made evil?" in got.body["message"]


@pytest.mark.parametrize(("ttl", "asked"), [({}, 1), ({"allowTTL": -1}, 3)])
async def test_an_answer_counts_for_a_while(tmp_path: Path, ttl: Obj, asked: int) -> None:
    async with asking(tmp_path, only_trusted, **ttl) as (call, server):
        for name in "abc":
            assert (await call("POST", PODS, running(name, "trusted/a"))).code == 201
        assert len(server.asked) == asked


@pytest.mark.parametrize(("default", "code"), [(True, 201), (False, 403)])
async def test_a_server_that_gives_no_answer_is_asked_five_times(tmp_path: Path, default: bool, code: int) -> None:
    async with asking(tmp_path, lambda review: {"http": 500, "text": "oh"}, defaultAllow=default) as (call, server):
        assert (await call("POST", PODS, running("a", "trusted/a"))).code == code
        assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"kubeConfigFile": None}, "kubeConfigFile: want the name of a file"),
        ({"allowTTL": 5000}, "allowTTL: want a number from 1 to 1800"),
        ({"retryBackoff": "x"}, "retryBackoff: want a number"),
    ],
)
async def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, policy: Obj, told: str) -> None:
    plugin = ImagePolicyWebhook(None)
    document = json.loads(config_file(tmp_path, 1, **policy).read_text())
    with pytest.raises(ValueError, match=told):
        plugin.configure(document["plugins"][0]["configuration"])

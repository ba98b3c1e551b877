"""What a Kubernetes API server answered to patches and server-side apply, and what we answer."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
import recorded
from recorded import Step

from pilothouse.api.apply import apply, track_update
from pilothouse.api.errors import StatusError
from pilothouse.api.patch import apply_json_patch, apply_merge_patch, apply_strategic_merge, decode_json_patch
from pilothouse.api.schema import Schema
from pilothouse.api.tables import schema_for

SCRIPTS = {s["script"]: s for s in recorded.scripts()}
RESET = {"": (("status",),), "status": (("spec",), ("metadata", "labels"), ("metadata", "annotations"))}
#: What these scripts are about is decided elsewhere: conversion between versions, and a kind's own reset fields.
ELSEWHERE = {"mach/apply2/hpa-versions", "groups/apply/CertificateSigningRequest"}


def schema_of(obj: dict[str, Any]) -> Schema:
    group, _, version = obj["apiVersion"].rpartition("/")
    return schema_for(group, version, obj["kind"])


def applied(step: Step, config: dict[str, Any]) -> dict[str, Any]:
    return apply(
        step.live, config, schema_of(config), step.query["fieldManager"], api_version=config["apiVersion"], kind=config["kind"], now=1.9e9,
        force=step.query.get("force") == "true", subresource=step.subresource, reset_fields=RESET[step.subresource],
    )  # fmt: skip


def content(obj: dict[str, Any]) -> dict[str, Any]:
    """What clients put into a ConfigMap; in text, null is the same as nothing."""
    meta = obj["metadata"]
    found = {
        "data": obj.get("data"),
        **{k: meta.get(k) for k in ("name", "uid", "labels", "annotations", "finalizers", "ownerReferences")},
    }
    return {
        k: {n: t or "" for n, t in v.items()} if isinstance(v, dict) else v
        for k, v in found.items()
        if v and (k != "uid" or v != "<uid>")
    }


def str_of(cause: dict[str, Any]) -> str:
    return json.dumps(cause, sort_keys=True)


def is_apply(step: Step) -> bool:
    config = recorded.configuration(step)
    return (
        step.media == "application/apply-patch+yaml" and bool(step.query.get("fieldManager")) and step.subresource in RESET
        and isinstance(config, dict) and bool(config.get("apiVersion") and config.get("kind"))
    )  # fmt: skip


def test_the_recordings_are_there() -> None:
    found = [step for s in SCRIPTS.values() for step in recorded.steps(s) if is_apply(step)]
    assert len(found) > 250


@pytest.mark.parametrize("name", [n for n in SCRIPTS if "apply" in n and n not in ELSEWHERE])
def test_apply_answers_with_the_same_owners_and_the_same_conflicts(name: str) -> None:
    for step in map(age, filter(is_apply, recorded.steps(SCRIPTS[name]))):
        config = recorded.configuration(step)
        if step.code in (200, 201) and step.is_object:
            out = applied(step, config)
            if step.answer["kind"] == "ConfigMap":
                assert content(out) == content(step.answer)
            assert recorded.without_times(out["metadata"].get("managedFields")) == recorded.without_times(
                step.answer["metadata"].get("managedFields")
            )
        elif step.code == 409 and "Apply failed" in step.answer["message"]:
            with pytest.raises(StatusError) as refused:
                applied(step, config)
            assert (refused.value.code, refused.value.message) == (409, step.answer["message"])
            assert refused.value.details is not None
            assert sorted(map(str_of, refused.value.details["causes"])) == sorted(map(str_of, step.answer["details"]["causes"]))
        elif step.code == 500 and "typed patch object" in step.answer.get("message", ""):
            with pytest.raises(StatusError) as refused:
                applied(step, config)
            assert (refused.value.code, refused.value.message) == (400, step.answer["message"])


@pytest.mark.parametrize(
    "name", [n for n in SCRIPTS if n.startswith(("mach/jsonpatch", "mach/smp", "mach/mergepatch", "mach/apply"))]
)
def test_updates_leave_the_same_owners(name: str) -> None:
    """What the server made of the object is taken as given; only the owners are computed."""
    for step in recorded.steps(SCRIPTS[name]):
        plain = step.method in ("PUT", "PATCH") and step.subresource in ("", "status") and not is_apply(step)
        if not plain or step.live is None or step.code != 200 or not step.is_object or "managedFields" in json.dumps(step.body):
            continue
        if step.body in ({}, "{}"):
            continue  # comes after a request that changed the object without showing it
        if step.answer["kind"] in ("Pod", "Service", "Scale") or (
            step.subresource == "status" and "metadata" in json.dumps(step.body)
        ):
            continue  # admission and allocation changed these after the owners were noted; kinds differ in what their status resets
        if "fieldManager" not in step.query and "unknown" not in json.dumps(step.answer["metadata"].get("managedFields")):
            continue  # named after the client's User-Agent
        new = json.loads(json.dumps(step.answer))
        new["metadata"].pop("managedFields", None)
        old = age(step).live
        track_update(
            new, old, schema_of(new), step.query.get("fieldManager", ""), api_version=new["apiVersion"], now=1.9e9,
            subresource=step.subresource, reset_fields=RESET[step.subresource],
        )  # fmt: skip
        assert recorded.without_times(new["metadata"].get("managedFields")) == recorded.without_times(
            step.answer["metadata"].get("managedFields")
        ), step.body


def age(step: Step) -> Step:
    """The step with real times, older than now, where the recording has placeholders."""
    step.live = json.loads(json.dumps(step.live))
    for entry in step.live["metadata"].get("managedFields", []) if step.live else []:
        if "time" in entry:
            entry["time"] = "2026-01-01T00:00:00Z"
    return step


def patched(step: Step) -> Any:
    assert step.live is not None
    body = step.body if not isinstance(step.body, str) else orjson.loads(step.body)
    if step.media == "application/json-patch+json":
        return apply_json_patch(step.live, decode_json_patch(orjson.dumps(body)))
    if step.media == "application/merge-patch+json":
        return apply_merge_patch(step.live, body)
    return apply_strategic_merge(step.live, body or {}, schema_of(step.live))


def contained(part: Any, whole: Any, path: str = "") -> list[str]:
    """Where `part` has something that `whole` has not. Empty values and nulls are left out by the server."""
    if part in (None, {}, [], "") or path == ".metadata":
        return []
    if isinstance(part, dict) and isinstance(whole, dict):
        return [p for k, v in part.items() for p in contained(v, whole.get(k), f"{path}.{k}")]
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        return [p for i, (a, b) in enumerate(zip(part, whole, strict=True)) for p in contained(a, b, f"{path}[{i}]")]
    return [] if part == whole else [f"{path}: {part} is not {whole}"]


@pytest.mark.parametrize("name", [n for n in SCRIPTS if n.startswith(("mach/jsonpatch", "mach/smp", "mach/mergepatch"))])
def test_patches_have_the_same_result(name: str) -> None:
    known = (
        "unknown",
        "v1beta1",
        '"kind":',
        "data/k",
        "stringData",
        "clusterIP",
        '"$patch": "replace", "replicas"',
    )  # undone afterwards
    for step in recorded.steps(SCRIPTS[name]):
        if step.method != "PATCH" or step.live is None or step.subresource or step.live["kind"] in ("Scale", "Pod", "Service"):
            continue
        if step.code == 200 and step.is_object:
            if step.body != "null" and not any(k in json.dumps(step.body) for k in known):
                assert contained(patched(step), step.answer) == []
        elif step.code == 422 and step.answer["message"].startswith("the server rejected"):
            with pytest.raises(StatusError) as refused:
                patched(step)
            assert refused.value.status() == {**step.answer, "metadata": {}}
        elif step.code == 500 and "strconv" not in step.answer["message"]:
            with pytest.raises(StatusError) as refused:
                patched(step)
            assert (refused.value.code, refused.value.message) == (400, step.answer["message"])

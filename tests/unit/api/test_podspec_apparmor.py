"""A new pod's AppArmor profiles: fields for what only annotations say."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.podspec.apparmor import sync_apparmor

KEY = "container.apparmor.security.beta.kubernetes.io/"
RUNTIME, FREE = {"type": "RuntimeDefault"}, {"type": "Unconfined"}
LOCAL = {"type": "Localhost", "localhostProfile": "mine"}


def synced(annotations: dict[str, str] | None, spec: dict[str, Any]) -> tuple[dict[str, str], list[Any], list[str]]:
    """Annotations, the containers' profiles, and warnings."""
    metadata: dict[str, Any] = {"annotations": dict(annotations)} if annotations else {}
    warnings: list[str] = []
    sync_apparmor(metadata, spec, warnings.append)
    found = [c.get("securityContext", {}).get("appArmorProfile") for c in (*spec.get("initContainers", ()), *spec["containers"])]
    return metadata.get("annotations", {}), found, warnings


@pytest.mark.parametrize(("value", "field"), [("runtime/default", RUNTIME), ("unconfined", FREE), ("localhost/mine", LOCAL)])
def test_an_annotation_brings_the_field_and_not_the_other_way(value: str, field: dict[str, str]) -> None:
    annotations, found, warnings = synced({KEY + "c": value}, {"containers": [{"name": "c"}]})
    assert (annotations, found) == ({KEY + "c": value}, [field])
    assert warnings == [f'metadata.annotations[{KEY}c]: deprecated since v1.30; use the "appArmorProfile" field instead']
    annotations, found, warnings = synced(None, {"containers": [{"name": "c", "securityContext": {"appArmorProfile": field}}]})
    assert (annotations, found, warnings) == ({}, [field], [])


def test_what_the_pod_says_anyway_is_not_copied_into_its_containers() -> None:
    spec = {"securityContext": {"appArmorProfile": RUNTIME}, "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}
    annotations, found, _ = synced({KEY + "c": "runtime/default"}, spec)
    assert annotations == {KEY + "c": "runtime/default"} and found == [None, None]


def test_who_says_both_is_left_alone_and_so_are_windows_and_what_makes_no_sense() -> None:
    both = {"containers": [{"name": "c", "securityContext": {"appArmorProfile": FREE}}]}
    assert synced({KEY + "c": "runtime/default"}, both) == ({KEY + "c": "runtime/default"}, [FREE], [])
    assert synced({KEY + "c": "what"}, {"containers": [{"name": "c"}]}) == ({KEY + "c": "what"}, [None], [])
    windows = {"os": {"name": "windows"}, "containers": [{"name": "c"}]}
    assert synced({KEY + "c": "unconfined"}, windows) == ({KEY + "c": "unconfined"}, [None], [])

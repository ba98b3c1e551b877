"""kubectl on single objects: apply, diff, get in all its forms, patch, edit, replace, label, delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from live_cluster import Kubectl, wait_for

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: demo}}
data: {colour: blue, size: small}
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec: {containers: [{name: c, image: "one:1", ports: [{containerPort: 80}]}]}
"""


def test_client_side_apply_creates_configures_and_prunes_fields(kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(CONFIG)
    assert kubectl("apply", "-f", str(file)) == "configmap/settings created\n"
    assert kubectl("apply", "-f", str(file)) == "configmap/settings unchanged\n"
    file.write_text(CONFIG.replace(", size: small", "").replace("blue", "red"))
    assert kubectl("apply", "-f", str(file)) == "configmap/settings configured\n"
    assert json.loads(kubectl.path("cm/settings", ".data")) == {"colour": "red"}
    assert "last-applied-configuration" in kubectl("get", "cm", "settings", "-o", "yaml")
    assert kubectl("apply", "view-last-applied", "cm/settings", "-o", "json").count("red") == 1


def test_server_side_apply_owns_fields_and_meets_conflicts(kubectl: Kubectl) -> None:
    def apply(text: str, *more: str, code: int = 0) -> str:
        return kubectl("apply", "--server-side", "-f", "-", *more, stdin=text, code=code)

    assert apply(CONFIG) == "configmap/settings serverside-applied\n"
    other = CONFIG.replace("blue", "green").replace(", size: small", "")
    refused = apply(other, "--field-manager=other", code=1)
    assert "conflict" in refused and ".data.colour" in refused
    apply(other, "--field-manager=other", "--force-conflicts")
    assert json.loads(kubectl.path("cm/settings", ".data")) == {"colour": "green", "size": "small"}
    managers = kubectl("get", "cm", "settings", "-o", "jsonpath={.metadata.managedFields[*].manager}", "--show-managed-fields")
    assert managers.split() == ["kubectl", "other"]


def test_diff_shows_what_an_apply_would_change_and_changes_nothing(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CONFIG)
    assert kubectl("diff", "-f", "-", stdin=CONFIG) == ""
    shown = kubectl("diff", "-f", "-", stdin=CONFIG.replace("blue", "red"), code=1)
    assert "-  colour: blue" in shown and "+  colour: red" in shown
    assert kubectl.path("cm/settings", ".data.colour") == "blue"


def test_get_in_each_output_format(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    assert "condition met" in kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=60s")
    header, row = kubectl("get", "pods", "-o", "wide").splitlines()
    assert header.split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"] and "NODE" in header
    assert row.split()[:4] == ["one", "1/1", "Running", "0"] and "node-" in row
    assert "name: one\n" in kubectl("get", "pod", "one", "-o", "yaml")
    assert json.loads(kubectl("get", "pod", "one", "-o", "json"))["kind"] == "Pod"
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}") == "one:1"
    columns = kubectl("get", "pods", "-o", "custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image")
    assert [line.split() for line in columns.splitlines()] == [["NAME", "IMAGE"], ["one", "one:1"]]
    assert kubectl("get", "pods", "-o", "name", "-l", "app=one") == "pod/one\n"
    assert "No resources found" in kubectl("get", "pods", "-l", "app=two")
    assert "No resources found" in kubectl("get", "pods", "--field-selector", "status.phase=Failed")


def test_get_watch_prints_what_happens(kubectl: Kubectl) -> None:
    with kubectl.stream("get", "configmaps", "--watch", "--output-watch-events", "-l", "app=demo") as following:
        kubectl("apply", "-f", "-", stdin=CONFIG)
        assert following("settings").split()[:3] == ["ADDED", "settings", "2"]
        kubectl("patch", "cm", "settings", "-p", '{"data": {"third": "3"}}')
        assert following("settings").split()[:3] == ["MODIFIED", "settings", "3"]
        kubectl("delete", "cm", "settings")
        assert following("settings").split()[:2] == ["DELETED", "settings"]


def test_describe_tells_the_story_of_a_pod(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=60s")
    wait_for(lambda: "Scheduled" in kubectl("describe", "pod", "one"), "the event")
    shown = kubectl("describe", "pod", "one")
    for text in (
        "Name:             one",
        "Image:          one:1",
        "Ready ",
        "QoS Class:                   BestEffort",
    ):
        assert text in shown, text
    assert f"Successfully assigned {kubectl.namespace}/one to node-" in shown


@pytest.mark.parametrize(
    ("kind", "patch", "images"),
    [
        ("strategic", '{"spec": {"template": {"spec": {"containers": [{"name": "more", "image": "m:1"}]}}}}', "m:1 web:v1"),
        ("merge", '{"spec": {"template": {"spec": {"containers": [{"name": "more", "image": "m:1"}]}}}}', "m:1"),
        ("json", '[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:v2"}]', "web:v2"),
    ],
)
def test_patch_of_three_types(kubectl: Kubectl, kind: str, patch: str, images: str) -> None:
    kubectl("create", "deployment", "web", "--image=web:v1")
    assert kubectl("patch", "deployment", "web", f"--type={kind}", "-p", patch) == "deployment.apps/web patched\n"
    assert kubectl.path("deployment/web", ".spec.template.spec.containers[*].image") == images
    assert "(no change)" in kubectl("patch", "deployment", "web", "--type=merge", "-p", "{}")


def test_edit_sends_what_the_editor_saved(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CONFIG)
    assert kubectl("edit", "cm", "settings", KUBE_EDITOR="sed -i s/blue/purple/") == "configmap/settings edited\n"
    assert kubectl.path("cm/settings", ".data.colour") == "purple"
    assert "no changes made" in kubectl("edit", "cm", "settings", KUBE_EDITOR="true")


def test_replace_takes_the_whole_object_and_minds_the_version(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    stale = kubectl("get", "cm", "settings", "-o", "json")
    assert kubectl("replace", "-f", "-", stdin=CONFIG.replace(", size: small", "")) == "configmap/settings replaced\n"
    assert json.loads(kubectl.path("cm/settings", ".data")) == {"colour": "blue"}
    assert "the object has been modified" in kubectl("replace", "-f", "-", stdin=stale, code=1)
    uid = kubectl.path("cm/settings", ".metadata.uid")
    kubectl("replace", "--force", "-f", "-", stdin=CONFIG)
    assert kubectl.path("cm/settings", ".metadata.uid") != uid


def test_label_and_annotate(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    assert kubectl("label", "cm", "settings", "tier=back") == "configmap/settings labeled\n"
    assert "--overwrite is false" in kubectl("label", "cm", "settings", "tier=front", code=1)
    kubectl("label", "cm", "settings", "tier=front", "app-", "--overwrite")
    assert json.loads(kubectl.path("cm/settings", ".metadata.labels")) == {"tier": "front"}
    assert kubectl("annotate", "cm", "settings", "note=hello") == "configmap/settings annotated\n"
    assert kubectl.path("cm/settings", ".metadata.annotations.note") == "hello"


def owned(kubectl: Kubectl) -> tuple[int, int]:
    """How many replica sets and pods there are."""
    return tuple(len(kubectl("get", kind, "-o", "name").split()) for kind in ("replicasets", "pods"))  # type: ignore[return-value]


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_delete_with_each_cascade(kubectl: Kubectl, cascade: str) -> None:
    kubectl("create", "deployment", "web", "--image=web:v1", "--replicas=2")
    kubectl.rolled_out("deployment/web")
    printed = kubectl("delete", "deployment", "web", f"--cascade={cascade}", "--timeout=60s")
    assert printed.startswith('deployment.apps "web" deleted')
    if cascade == "orphan":
        wait_for(lambda: not kubectl.path("replicasets", ".items[*].metadata.ownerReferences"), "the owner to be forgotten")
        assert owned(kubectl)[0] == 1 and len(kubectl("get", "pods", "-o", "name").split()) == 2
    elif cascade == "foreground":
        assert owned(kubectl)[0] == 0, "what was owned goes first"
    wait_for(lambda: owned(kubectl) == ((1, 2) if cascade == "orphan" else (0, 0)), f"what {cascade} leaves")

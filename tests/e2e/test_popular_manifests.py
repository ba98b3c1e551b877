"""What popular charts carry, written anew: it passes strict validation, shows no difference after it was applied, and can be applied from both sides."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helm_binary import helm
from live_cluster import ON_SQLITE, Kubectl

MANIFESTS = Path(__file__).parent / "manifests"
CHART = Path(__file__).parents[2] / "examples" / "charts" / "bookshop"


def apply(kubectl: Kubectl, *arguments: str, stdin: str = "") -> list[str]:
    """What happened to each object: the last word of each line that kubectl prints."""
    return [line.split()[-1] for line in kubectl("apply", *arguments, stdin=stdin).splitlines() if not line.startswith("Warning")]


@ON_SQLITE
@pytest.mark.parametrize(
    ("files", "running"),
    [
        (("certificates", "certificates-use"), "deployment/certs-controller"),
        (("ingress-controller",), "deployment/ingress-controller"),
        (("redis",), "statefulset/redis"),
        (("monitoring",), "daemonset/node-exporter"),
    ],
)
def test_manifests_apply_strictly_show_no_difference_and_move_to_the_server_side(
    kubectl: Kubectl, files: tuple[str, ...], running: str
) -> None:
    paths = [str(MANIFESTS / f"{name}.yaml") for name in files]
    try:
        for path in paths:
            assert set(apply(kubectl, "--validate=strict", "-f", path)) == {"created"}
        for path in paths:
            assert kubectl("diff", "-f", path) == ""
            assert "created" not in apply(kubectl, "--dry-run=server", "-f", path)
            assert set(apply(kubectl, "--server-side", "--force-conflicts", "-f", path)) == {"serverside-applied"}
            assert kubectl("diff", "--server-side", "-f", path) == ""
        assert kubectl.rolled_out(running)
    finally:
        for path in reversed(paths):
            kubectl("delete", "--wait=false", "--ignore-not-found", "-f", path)


@ON_SQLITE
def test_a_difference_is_shown_with_code_1_and_nothing_is_written(kubectl: Kubectl) -> None:
    manifest = (MANIFESTS / "redis.yaml").read_text()
    apply(kubectl, "-f", "-", stdin=manifest)
    shown = kubectl("diff", "-f", "-", stdin=manifest.replace("replicas: 3", "replicas: 5"), code=1)
    assert "-  replicas: 3" in shown and "+  replicas: 5" in shown
    assert kubectl.path("statefulset/redis", ".spec.replicas") == "3"


@ON_SQLITE
def test_strict_validation_names_what_it_does_not_know(kubectl: Kubectl) -> None:
    manifest = (
        (MANIFESTS / "redis.yaml").read_text().replace("podManagementPolicy: OrderedReady", "podManagmentPolicy: OrderedReady")
    )
    told = kubectl("apply", "--validate=strict", "-f", "-", stdin=manifest, code=1)
    assert 'strict decoding error: unknown field "spec.podManagmentPolicy"' in told
    warned = kubectl("apply", "--validate=warn", "-f", "-", stdin=manifest)
    assert 'Warning: unknown field "spec.podManagmentPolicy"' in warned and "statefulset.apps/redis created" in warned


@ON_SQLITE
def test_helm_template_feeds_kubectl_apply(kubectl: Kubectl, tmp_path: Path) -> None:
    program = helm()
    if program is None:
        pytest.skip("the package that carries helm is not installed")

    def rendered(*values: str) -> str:
        command = [
            str(program),
            "template",
            "shop",
            str(CHART),
            "-n",
            kubectl.namespace,
            "--no-hooks",
            "--set-json",
            "catalogue=[]",
            *values,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)}).stdout

    assert set(apply(kubectl, "--validate=strict", "-f", "-", stdin=rendered())) == {"created"}
    kubectl.rolled_out("deployment/shop-bookshop")
    pruned = kubectl(
        "apply", "--prune", "-l", "app.kubernetes.io/instance=shop", "-f", "-", stdin=rendered("--set", "ingress.enabled=false")
    )
    assert "ingress.networking.k8s.io/shop-bookshop pruned" in pruned and "deployment.apps/shop-bookshop pruned" not in pruned


# --- kinds with schemas of hundreds of kilobytes, as operators that embed a pod's template have them ------------------------------


PROSE = (
    "what a published schema says of each of its fields, at some length, and with a reference to the page that says more. " * 2
)


def inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A published OpenAPI schema as a structural schema: references written out, directives of patches left out."""
    if "$ref" in schema or "allOf" in schema:
        reference = schema.get("$ref") or schema["allOf"][0]["$ref"]
        rest = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
        return inlined({**definitions[reference.rsplit("/", 1)[-1]], **rest}, definitions)
    if "oneOf" in schema:
        return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    out = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-patch") and k != "x-kubernetes-group-version-kind"}
    if out.get("default") == {}:
        del out["default"]
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = inlined(out[key], definitions)
    if "properties" in out:
        out["properties"] = {
            name: {"description": f"{name}: {PROSE}", **inlined(sub, definitions)} for name, sub in out["properties"].items()
        }
    if out.get("x-kubernetes-list-type") == "map":
        _complete_keys(out)
    return out


def _complete_keys(schema: dict[str, Any]) -> None:
    """Keys of a list are needed or have a default."""
    item = schema["items"]
    for key in schema["x-kubernetes-list-map-keys"]:
        if key not in item.get("required", ()):
            item["properties"][key]["default"] = "TCP" if key == "protocol" else ""


def big_definition(kubectl: Kubectl) -> dict[str, Any]:
    definitions = json.loads(kubectl("get", "--raw", "/openapi/v3/api/v1"))["components"]["schemas"]
    template = inlined(definitions["io.k8s.api.core.v1.PodSpec"], definitions)
    fields = {
        "template": template,
        "containers": template["properties"]["containers"],
        "replicas": {"type": "integer", "default": 1},
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "monitors", "singular": "monitor", "kind": "Monitor", "listKind": "MonitorList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "monitors.big.example.com"},
        "spec": {"group": "big.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip


MONITOR = """
apiVersion: big.example.com/v1
kind: Monitor
metadata: {name: main}
spec:
  template:
    nodeSelector: {disk: ssd}
    tolerations: [{operator: Exists}]
    containers:
      - name: a
        image: a:1
        ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]
        resources: {limits: {memory: 1Gi, cpu: 2}}
        livenessProbe: {httpGet: {path: /, port: web}}
      - {name: b, image: "b:1"}
"""


@ON_SQLITE
def test_a_definition_of_half_a_megabyte(kubectl: Kubectl) -> None:
    definition = json.dumps(big_definition(kubectl))
    assert len(definition) > 262144
    refused = kubectl("apply", "-f", "-", stdin=definition, code=1)
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in refused
    try:
        assert apply(kubectl, "--server-side", "-f", "-", stdin=definition) == ["serverside-applied"]
        kubectl("wait", "--for=condition=Established", "crd/monitors.big.example.com", "--timeout=30s")
        assert apply(kubectl, "--server-side", "-f", "-", stdin=definition) == ["serverside-applied"]
        assert apply(kubectl, "--server-side", "--validate=strict", "-f", "-", stdin=MONITOR) == ["serverside-applied"]
        assert kubectl("diff", "--server-side", "-f", "-", stdin=MONITOR) == ""
        assert kubectl.path("monitor/main", ".spec.template.containers[0].ports[*].protocol") == "TCP UDP"
        theirs = """{"apiVersion": "big.example.com/v1", "kind": "Monitor", "metadata": {"name": "main"},
                     "spec": {"template": {"containers": [{"name": "b", "env": [{"name": "X", "value": "1"}]}]}}}"""
        apply(kubectl, "--server-side", "--field-manager=other", "-f", "-", stdin=theirs)
        assert kubectl.path("monitor/main", ".spec.template.containers[*]['name','image','env']").split()[:4] == [
            "a",
            "b",
            "a:1",
            "b:1",
        ]
        wrong = kubectl("apply", "-f", "-", stdin=MONITOR.replace("a:1", "[1]"), code=1)
        assert "spec.template.containers[0].image" in wrong
        assert "livenessProbe" in kubectl("explain", "monitor.spec.template.containers", "--recursive")
    finally:
        kubectl("delete", "crd", "monitors.big.example.com", "--ignore-not-found", "--wait=false")

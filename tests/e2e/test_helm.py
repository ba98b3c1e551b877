"""helm 4 with a chart as charts are: hooks, a kind of its own, a test, values with a schema; and what popular charts carry."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helm_binary import helm
from live_cluster import ON_SQLITE, SECONDS, Kubectl, wait_for

CHART = Path(__file__).parents[2] / "examples" / "charts" / "bookshop"


class Helm:
    """helm in one namespace of a cluster."""

    def __init__(self, program: Path, kubectl: Kubectl, home: Path) -> None:
        self.program = program
        self.namespace = kubectl.namespace
        self.environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig), "HOME": str(home)}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(self.program), "-n", self.namespace, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, env=self.environment,
        )  # fmt: skip
        assert done.returncode == code, f"helm {' '.join(arguments)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def history(self) -> list[tuple[int, str]]:
        """Revisions of the release `shop` and their states."""
        return [(entry["revision"], entry["status"]) for entry in json.loads(self("history", "shop", "-o", "json"))]


@pytest.fixture
def helm4(kubectl: Kubectl, tmp_path: Path) -> Helm:
    program = helm()
    if program is None:
        pytest.skip("the package that carries helm is not installed")
    return Helm(program, kubectl, tmp_path)


@pytest.fixture
def shop(kubectl: Kubectl, helm4: Helm) -> Iterator[Helm]:
    """The chart, installed and ready."""
    printed = helm4("install", "shop", str(CHART), "--wait", "--timeout=60s")
    assert "STATUS: deployed" in printed
    assert "The shop shop-bookshop is open at http://shop.example.com/ (revision 1)." in printed
    yield helm4
    kubectl("delete", "crd", "books.shop.example.com", "--ignore-not-found", "--timeout=60s")


def ready(kubectl: Kubectl) -> str:
    return kubectl.path("deployment/shop-bookshop", ".status.readyReplicas")


def test_install_runs_hooks_brings_the_crd_first_and_waits(shop: Helm, kubectl: Kubectl) -> None:
    assert ready(kubectl) == "2"
    assert kubectl.path("job/shop-bookshop-migrate", ".status.succeeded") == "1"
    assert "NotFound" in kubectl("get", "pod", "shop-bookshop-announce", code=1), "its delete policy is hook-succeeded"
    assert kubectl("get", "bk", "--no-headers").split()[:2] == ["moby-dick", "3"]
    assert [entry["name"] for entry in json.loads(shop("list", "-o", "json"))] == ["shop"]
    fields = kubectl("get", "deployment", "shop-bookshop", "-o", "json", "--show-managed-fields")
    managers = {(entry["manager"], entry["operation"]) for entry in json.loads(fields)["metadata"]["managedFields"]}
    assert ("helm", "Apply") in managers
    shown = shop("status", "shop")
    assert "==> v1/Book" in shown and "==> v1/Pod(related)" in shown


def test_upgrade_rollback_and_history(shop: Helm, kubectl: Kubectl) -> None:
    password = kubectl.path("secret/shop-bookshop", ".data.password")
    books = 'catalogue=[{"title": "Moby-Dick", "copies": 7}]'
    shop("upgrade", "shop", str(CHART), "--set", "replicaCount=3", "--set-string", "image.tag=2", "--set-json", books, "--wait")
    assert ready(kubectl) == "3"
    assert kubectl.path("deployment/shop-bookshop", ".spec.template.spec.containers[0].image").endswith("/web:2")
    assert kubectl.path("book/moby-dick", ".spec.copies") == "7"
    assert kubectl.path("configmap/shop-bookshop-migration", ".data.plan") == "revision 2", "hooks run again"
    assert kubectl.path("secret/shop-bookshop", ".data.password") == password, "lookup found the one that was there"
    assert "Rollback was a success" in shop("rollback", "shop", "1", "--wait")
    assert ready(kubectl) == "2" and kubectl.path("book/moby-dick", ".spec.copies") == "3"
    assert shop.history() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]


@ON_SQLITE
def test_what_a_chart_no_longer_holds_is_deleted(shop: Helm, kubectl: Kubectl) -> None:
    shop("upgrade", "shop", str(CHART), "--set", "ingress.enabled=false,autoscaling.enabled=true", "--set-json", "catalogue=[]")
    assert kubectl("get", "ingress,books", "-o", "name") == ""
    assert kubectl("get", "hpa", "-o", "name") == "horizontalpodautoscaler.autoscaling/shop-bookshop\n"


@ON_SQLITE
def test_a_hook_that_fails_fails_the_upgrade_and_can_be_rolled_back(shop: Helm, kubectl: Kubectl) -> None:
    failing = ("upgrade", "shop", str(CHART), "--set-string", "hooks.migrateExitCode=3,image.tag=9", "--timeout=30s")
    assert "pre-upgrade hooks failed" in shop(*failing, code=1)
    assert shop.history()[-1] == (2, "failed")
    assert not kubectl.path("deployment/shop-bookshop", ".spec.template.spec.containers[0].image").endswith(":9")
    assert "pre-upgrade hooks failed" in shop(*failing, "--rollback-on-failure", code=1)
    assert shop.history()[-1][1] == "deployed" and ready(kubectl) == "2"


@ON_SQLITE
def test_the_charts_test_passes_and_fails(shop: Helm) -> None:
    assert "Phase:          Succeeded" in shop("test", "shop")
    shop("upgrade", "shop", str(CHART), "--set-string", "hooks.testExitCode=1")
    assert "Phase:          Failed" in shop("test", "shop", code=1)


@ON_SQLITE
def test_uninstall_leaves_the_crd_and_what_hooks_made(shop: Helm, kubectl: Kubectl) -> None:
    shop("uninstall", "shop", "--wait", "--timeout=60s")
    assert kubectl("get", "deployments,services,ingresses,books,secrets,pdb,networkpolicies,roles", "-o", "name") == ""
    wait_for(lambda: "shop-bookshop-" not in kubectl("get", "replicasets", "-o", "name"), "replica sets to go with their owner")
    assert kubectl.path("configmap/shop-bookshop-farewell", ".data.said") == "goodbye"
    assert kubectl("get", "crd", "books.shop.example.com", "-o", "name")


@ON_SQLITE
def test_a_dry_run_of_the_server_writes_nothing_and_mistakes_are_told(helm4: Helm, kubectl: Kubectl) -> None:
    plain = ("install", "shop", str(CHART), "--set-json", "catalogue=[]", "--skip-crds")
    assert "kind: Deployment" in helm4(*plain, "--dry-run=server")
    assert kubectl("get", "deployments,secrets", "-o", "name") == ""
    told = "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive"
    assert told in helm4(*plain, "--set", "service.port=99999", code=1)

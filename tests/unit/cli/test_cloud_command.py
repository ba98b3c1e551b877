"""`pilothouse cloud-controller-manager`: a provider that somebody published is found; mistakes are told in one line."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from published_provider import NAME, publish
from typer.testing import CliRunner

from pilothouse.cli.main import app
from pilothouse.cli.managing import Build
from pilothouse.client.reconcile.entries import can_run, select
from pilothouse.client.reconcile.manager import Options
from pilothouse.client.serving import Serving
from pilothouse.clock import VirtualClock
from pilothouse.cloud.provider import GROUP, load
from pilothouse.controllers.registry import PROGRAM

from .test_command_errors import refused


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(publish(tmp_path / "site"))


def test_a_published_provider_is_found_by_its_name() -> None:
    provider = load(NAME, "latency: 0.5", VirtualClock())
    assert provider.name == "fake" and provider.load_balancers() is not None


def test_the_providers_that_come_with_the_package_are_published() -> None:
    told = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert set(told) == {"aws", "fake", "local"}
    assert all(callable(EntryPoint(name, place, GROUP).load()) for name, place in told.items())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--kubeconfig is needed"),
        (("--node-monitor-period", "soon"), "'soon' is no duration such as 1m30s"),
        (("--cluster-cidr", "10.0.0.0/8,10.1.0.0/16"), "two ranges of one family"),
        (("--cluster-cidr", "nonsense"), "--cluster-cidr: 'nonsense'"),
        (("--allocate-node-cidrs",), "need the ranges of --cluster-cidr"),
        (("--cloud-config", "/nowhere/cloud.yaml"), "/nowhere/cloud.yaml"),
        (("--kubeconfig", "/nowhere/k"), "/nowhere/k"),
        (("--concurrent-service-syncs", "0"), "--concurrent-service-syncs"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    assert told in refused("cloud-controller-manager", "--cloud-provider", NAME, *arguments)


@pytest.mark.parametrize(
    ("config", "told"),
    [("- a", "a mapping"), ("flavour: x", "'flavour' is unknown"), ("a: [", "--cloud-config: "), ("latency: soon", "soon")],
)
def test_a_configuration_that_cannot_be_is_told_in_one_line(config: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text(config)
    assert told in refused("cloud-controller-manager", "--cloud-provider", NAME, "--cloud-config", str(path))


def test_flags_reach_the_controllers_that_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    async def run(agent: str, kubeconfig: Path, options: Options, serving: Serving, build: Build) -> int:
        manager = build(lambda token: None, VirtualClock(), options)  # type: ignore[arg-type, return-value]
        told.update(agent=agent, options=options, port=serving.port, component=manager.component)
        return 0

    monkeypatch.setattr("pilothouse.cli.managing.run_manager", run)
    flags = (
        "--cluster-name", "mine", "--allocate-node-cidrs", "--cluster-cidr", "10.0.0.0/8,fd00::/48", "--route-reconciliation-period", "1m",
        "--node-monitor-period", "7s", "--node-status-update-frequency", "1h", "--concurrent-service-syncs", "3", "--concurrent-node-syncs", "4",
        "--controllers", "*,-route", "--no-leader-elect", "--use-service-account-credentials", "--no-install-ingress-class",
    )  # fmt: skip
    command = ("cloud-controller-manager", "--cloud-provider", NAME, "--kubeconfig", "k", *flags)
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 0, done.output
    assert (told["agent"], told["component"], told["port"]) == ("cloud-controller-manager", "cloud-controller-manager", 10258)
    options = told["options"]
    assert options.settings == {
        "cluster_name": "mine", "configure_cloud_routes": True, "allocate_node_cidrs": True, "cluster_cidr": "10.0.0.0/8,fd00::/48",
        "route_reconciliation_period": 60.0, "node_monitor_period": 7.0, "node_status_update_frequency": 3600.0,
        "install_gateway_api": True, "install_ingress_class": False,
    }  # fmt: skip
    assert options.concurrency == {"service-lb-controller": 3, "cloud-node-controller": 4}
    assert options.controllers == ("*", "-route") and not options.leader_elect and options.use_service_account_credentials


def test_the_clouds_controllers_are_known_to_the_other_manager_and_never_run_there() -> None:
    for name in ("service-lb-controller", "service", "route", "node-route-controller", "cloud-node-lifecycle-controller"):
        (entry,) = select([name], PROGRAM.entries)
        assert not can_run(entry, {})

"""`pilothouse cloud-controller-manager`: a provider that somebody published is found; mistakes are told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_provider import NAME, publish

from pilothouse.client.reconcile.entries import can_run, select
from pilothouse.clock import VirtualClock
from pilothouse.cloud.provider import load
from pilothouse.controllers.registry import PROGRAM

from .test_command_errors import refused


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(publish(tmp_path / "site"))


def test_a_published_provider_is_found_by_its_name() -> None:
    provider = load(NAME, "latency: 0.5", VirtualClock())
    assert provider.name == "fake" and provider.load_balancers() is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--kubeconfig is needed"),
        (("--node-monitor-period", "soon"), "'soon' is no duration such as 1m30s"),
        (("--cluster-cidr", "10.0.0.0/8,10.1.0.0/16"), "two ranges of one family"),
        (("--cluster-cidr", "nonsense"), "--cluster-cidr: 'nonsense'"),
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


def test_the_clouds_controllers_are_known_to_the_other_manager_and_never_run_there() -> None:
    for name in ("service-lb-controller", "service", "route", "node-route-controller", "cloud-node-lifecycle-controller"):
        (entry,) = select([name], PROGRAM.entries)
        assert not can_run(entry, {})

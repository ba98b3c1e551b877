"""The flags of controllers' workers: kube-controller-manager's names, the controllers' own defaults."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pilothouse.cli.controllers import WORKERS, _with_workers
from pilothouse.controllers import registry


@pytest.mark.parametrize("flag", WORKERS)
def test_a_flag_defaults_to_what_its_controller_has(flag: str) -> None:
    controller, default = WORKERS[flag]
    (entry,) = [e for e in registry.ENTRIES if e.name == controller]
    assert entry.load().workers == default


def test_workers_that_are_given_reach_the_command_by_controller() -> None:
    told: dict[str, Any] = {}

    def command(name: str = "x", workers: dict[str, int] | None = None) -> None:
        told.update(workers or {}, name=name)

    app = typer.Typer()
    app.command()(_with_workers(command))
    done = CliRunner().invoke(app, ["--name", "y", "--concurrent-gc-syncs", "3"])
    assert done.exit_code == 0, done.output
    assert told["name"] == "y" and told["garbage-collector-controller"] == 3 and told["deployment-controller"] == 5

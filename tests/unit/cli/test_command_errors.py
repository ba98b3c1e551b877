"""What a user gets wrong: one line and exit code 2, never a traceback; and 1 from a component that loses its lease."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pilothouse.cli.main import app
from pilothouse.cli.running import work_until_signal


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def refused(*arguments: str) -> str:
    """The one line that a command which cannot work prints."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("pilothouse: "), result.output
    return lines[0]


def test_a_busy_port(busy_port: int, tmp_path: Path) -> None:
    told = refused("apiserver", "--secure-port", str(busy_port), "--data-dir", str(tmp_path / "data"))
    assert "address already in use" in told and "--port" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("apiserver", "--feature-gates", "Nonsense=true"), "unrecognized feature gate: Nonsense"),
        (("apiserver", "--runtime-config", "nonsense/v1=true"), "unknown API group version or resource: nonsense/v1"),
        (("apiserver", "--storage-media-type", "application/vnd.kubernetes.protobuf"), "is not supported"),
        (("apiserver", "--etcd-servers", "http://127.0.0.1:1", "--data-dir", "/tmp/x"), "exclude each other"),
        (("apiserver", "--authorization-mode", "Nobody"), "Nobody"),
        (("apiserver", "--enable-admission-plugins", "Nobody"), "Nobody"),
        (("up", "--memory", "--data-dir", "/tmp/x"), "exclude"),
        (("up", "--memory", "--etcd-servers", "http://127.0.0.1:1"), "exclude"),
        (("controller-manager",), "--kubeconfig is needed"),
        (("controller-manager", "--kubeconfig", "/nowhere/kubeconfig"), "/nowhere/kubeconfig"),
        (("controller-manager", "--horizontal-pod-autoscaler-sync-period", "soon"), "'soon' is no duration such as 1m30s"),
        (("controller-manager", "--allocate-node-cidrs", "--cluster-cidr", "10.0.0.0/28"), "does not fit into 10.0.0.0/28"),
        (("controller-manager", "--kubeconfig", "/nowhere/k", "--root-ca-file", "/nowhere/ca.crt"), "/nowhere/ca.crt"),
        (("nodes", "--kubeconfig", "/nowhere/k", "--cloud-provider", "aws"), "there is only external"),
        (("cloud-controller-manager",), "--cloud-provider is needed"),
        (("cloud-controller-manager", "--cloud-provider", "nobody"), "there is no provider 'nobody'; there are "),
        (("nodes", "--kubeconfig", "/nowhere/k", "--cloud-provider", "aws"), "there is only external"),
        (("controller-manager", "--cloud-provider", "aws"), "there is only external"),
        (("controller-manager", "--cloud-provider", "external"), "--kubeconfig is needed"),
        (("scheduler",), "--kubeconfig is needed"),
        (("scheduler", "--kubeconfig", "/nowhere/kubeconfig"), "/nowhere/kubeconfig"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("apiserver", "--no-such-flag"), "no such option: --no-such-flag"),
        (("up", "--memry"), "possible options: --memory"),
        (("up", "--port", "x"), "invalid value for '--port'"),
        (("nodes", "--kubeconfig", "k", "--count", "0"), "0 is not in the range"),
        (("apiserver", "extra"), "unexpected extra argument"),
        (("nonsense",), "no such command 'nonsense'"),
    ],
)
def test_what_no_command_understands_is_told_in_one_line_too(arguments: tuple[str, ...], told: str) -> None:
    line = refused(*arguments)
    assert told in line.lower() and "--help" in line


def commands() -> Iterator[tuple[str, Any]]:
    top: Any = get_command(app)
    yield "pilothouse", top
    yield from top.commands.items()


def test_every_command_and_flag_says_what_it_is_for() -> None:
    for name, command in commands():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.opts}"


def test_no_command_at_all_shows_what_there_is() -> None:
    shown = CliRunner().invoke(app, []).output
    assert all(name in shown for name, _ in list(commands())[1:])


@pytest.mark.parametrize(
    ("words", "found"), [("pilothouse con", "controller-manager"), ("pilothouse apiserver --secure", "--secure-port")]
)
def test_shells_complete_commands_and_flags(words: str, found: str) -> None:
    environment = {"_PILOTHOUSE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert found in CliRunner().invoke(app, [], env=environment, prog_name="pilothouse").output.split()


def test_work_that_ends_by_itself_has_lost_its_lease() -> None:
    async def lost() -> None:
        return None

    assert asyncio.run(work_until_signal(lost())) == 1

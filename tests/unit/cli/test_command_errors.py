"""What a user gets wrong: one line and exit code 2, never a traceback; and 1 from a component that loses its lease."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pilothouse.cli.main import _work, app


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
        (("controller-manager", "--kubeconfig", "/nowhere/k", "--root-ca-file", "/nowhere/ca.crt"), "/nowhere/ca.crt"),
        (("scheduler", "--kubeconfig", "/nowhere/kubeconfig"), "/nowhere/kubeconfig"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(*arguments)


def test_an_unknown_flag() -> None:
    result = CliRunner().invoke(app, ["apiserver", "--no-such-flag"])
    assert result.exit_code == 2 and "No such option" in result.output


def test_work_that_ends_by_itself_has_lost_its_lease() -> None:
    async def lost() -> None:
        return None

    assert asyncio.run(_work(lost())) == 1

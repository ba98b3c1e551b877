"""Twins of simulated addresses, and ports that a process may listen on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.client import loopback
from pilothouse.client.loopback import _first_port, port, twin

NOBODY, ROOT, GIVEN = "0000000000000000", "000001ffffffffff", "0000000000000400"


def test_the_twin_of_an_address_is_a_loopback_address() -> None:
    assert twin("10.64.0.7") == "127.64.0.7"
    assert twin("fd00::7") == "fd00::7"
    assert twin("web.example") == "web.example"


@pytest.mark.parametrize(("capabilities", "first"), [(NOBODY, 1024), (ROOT, 1), (GIVEN, 1)])
def test_low_ports_are_for_processes_with_the_capability(tmp_path: Path, capabilities: str, first: int) -> None:
    status, limit = tmp_path / "status", tmp_path / "limit"
    status.write_text(f"Name:\tpilothouse\nCapPrm:\t{ROOT}\nCapEff:\t{capabilities}\n")
    limit.write_text("1024\n")
    assert _first_port(status, limit) == first


@pytest.mark.parametrize(("limit", "first"), [("80", 80), ("0", 1), ("", 1024)])
def test_the_machine_may_let_everybody_have_some(tmp_path: Path, limit: str, first: int) -> None:
    (tmp_path / "status").write_text(f"CapEff:\t{NOBODY}\n")
    (tmp_path / "limit").write_text(limit)
    assert _first_port(tmp_path / "status", tmp_path / "limit") == first


def test_a_port_that_cannot_be_had_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "first_port", lambda: 1024)
    assert [port(80), port(1024)] == [40080, 1024]

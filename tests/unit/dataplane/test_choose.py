"""Which engine is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.clock import SystemClock
from pilothouse.dataplane.choose import make_engine
from pilothouse.dataplane.haproxy import binary


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, says: str | None) -> None:
    """A machine on which haproxy says this of itself, or has none."""
    program = folder / "haproxy"
    if says is not None:
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
    monkeypatch.setattr(binary, "find", lambda name="haproxy": str(program) if name != "haproxy" or says is not None else None)


def test_auto_is_haproxy_where_it_is_installed_and_new_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, "HAProxy version 2.8.3 2023/09/07 +LUA")
    assert make_engine("auto", SystemClock()).name == "haproxy"


@pytest.mark.parametrize("says", [None, "HA-Proxy version 2.2.9 +LUA", "HAProxy version 2.8.3 -LUA", "nonsense"])
def test_auto_is_embedded_where_haproxy_cannot_be_used(says: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, says)
    assert make_engine("auto", SystemClock()).name == "embedded"


async def test_haproxy_that_is_too_old_is_refused_when_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, "HA-Proxy version 2.2.9")
    engine = make_engine("haproxy", SystemClock())
    with pytest.raises(OSError, match=r"is version 2\.2: 2\.6 or newer is needed"):
        await engine.start()


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="is no engine"):
        make_engine("nginx", SystemClock())

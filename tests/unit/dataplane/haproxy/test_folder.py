"""Folders of engines that live, and of those that were killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pilothouse.dataplane.haproxy import folder
from pilothouse.dataplane.haproxy.folder import PREFIX, YOUNG_SECONDS, Folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folder.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_for_its_owner_alone() -> None:
    made = Folder(0.0)
    assert made.path.stat().st_mode & 0o777 == 0o700
    made.remove()
    assert not made.path.exists()


def test_what_a_killed_engine_left_is_cleared_away_and_what_lives_stays(place: Path) -> None:
    living = Folder(0.0)
    left = place / f"{PREFIX}left"
    (left / "g1").mkdir(parents=True)
    young = place / f"{PREFIX}young"
    young.mkdir()
    (place / "other").mkdir()
    for path in (living.path, left):
        os.utime(path, (1000.0, 1000.0))
    os.utime(young, (2000.0, 2000.0))
    folder.clear_abandoned(1000.0 + YOUNG_SECONDS + 1)
    assert sorted(path.name for path in place.iterdir()) == sorted([living.path.name, young.name, "other"])
    living.remove()

"""Every decision recorded from kube-scheduler 1.36 is decided alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path

GOLDEN = Path(__file__).parents[2] / "golden"


def test_recorded_decisions_are_decided_alike() -> None:
    spec = importlib.util.spec_from_file_location("replay_schedule", GOLDEN / "replay_schedule.py")
    assert spec is not None and spec.loader is not None
    replay = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(replay)
    asked, same, told = replay.compare(GOLDEN / "schedule.jsonl.gz")
    assert not told
    assert all(asked[kind] == same[kind] > 200 for kind in replay.KINDS)

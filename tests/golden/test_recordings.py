"""The recorded conversations: every answer the same, but for what `known.json` explains."""

from __future__ import annotations

import pytest

from .known import Known
from .replay import outcomes, recordings, scripts

KNOWN = Known.load()
GROUPS = [(recording, group) for recording, group in recordings() if f"{recording}:{group}" not in KNOWN.unfinished]


@pytest.mark.parametrize(("recording", "group"), GROUPS)
async def test_answers_are_those_recorded_but_for_known_differences(recording: str, group: str) -> None:
    surprises = KNOWN.surprises(await outcomes(recording, group))
    assert not surprises, "\n".join(surprises[:20])


def test_every_known_difference_is_of_a_step_that_is_run_and_has_a_reason() -> None:
    run = {script["script"]: len(script["steps"]) for recording, group in GROUPS for script in scripts(recording)[group]}
    for script, steps in KNOWN.known.items():
        for index, (_, reason) in steps.items():
            assert int(index) < run.get(script, 0), f"{script} has no step {index} that is run"
            assert reason in KNOWN.reasons, f"{script} step {index}: why does it differ?"

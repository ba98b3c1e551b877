"""Controllers end where a real controller-manager ended, state by state and event by event."""

from __future__ import annotations

import pytest

from .converge import play, scenarios


@pytest.mark.parametrize("area", scenarios())
async def test_controllers_converge_as_recorded(area: str) -> None:
    found = await play(area)
    assert not found, "\n".join(found[:20])

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from local_world import World, a_world, hub_in_memory

from pilothouse.cluster import ApiHub


@pytest.fixture
async def hub(pilothouse_certificates: Path) -> AsyncIterator[ApiHub]:
    async with hub_in_memory(pilothouse_certificates) as made:
        yield made


@pytest.fixture
async def world(hub: ApiHub) -> AsyncIterator[World]:
    async with a_world(hub) as made:
        yield made

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from town import Town


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """The loop that `pilothouse` runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["embedded", "haproxy"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def town(pilothouse_certificates: Path, tmp_path: Path, engine: str) -> AsyncIterator[Town]:
    town = Town(pilothouse_certificates, tmp_path, engine)
    await town.start()
    yield town
    await town.stop()
    await asyncio.gather(*(p.stop() for p in town.pods.values()))

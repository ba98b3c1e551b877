from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from pilothouse.dataplane.haproxy import binary

from .city import City, a_city

HERE = Path(__file__).parent


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """The loop that `pilothouse` runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a city stay with one worker."""
    for item in items:
        if item.path.parent == HERE and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{item.callspec.params.get('city', '')}"))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "haproxy"])
async def city(request: pytest.FixtureRequest, pilothouse_certificates: Path) -> AsyncIterator[City]:
    """One for each module and engine."""
    if request.param == "haproxy":
        try:
            binary.check()
        except OSError as missing:
            pytest.skip(str(missing))
    async with a_city(pilothouse_certificates, request.param) as city:
        yield city

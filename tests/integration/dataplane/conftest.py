from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
import uvloop
from lab import Lab, make_engine

from pilothouse.dataplane.engine import Engine

_ON_BOTH_LOOPS = ("test_tls.py", "test_websockets.py", "test_forwarding_tcp.py")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """The loop that `pilothouse` runs on; where transports differ most, Python's own too."""
    loops = {"uvloop": uvloop.new_event_loop}
    return loops | {"asyncio": asyncio.new_event_loop} if item.path.name in _ON_BOTH_LOOPS else loops


@pytest.fixture(autouse=True)
async def unheard() -> AsyncIterator[None]:
    """Errors that nobody waits for, such as those in a protocol's callbacks, fail the test too."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield
    assert errors == []


@pytest.fixture(params=["embedded", "haproxy"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Each engine in turn, started."""
    engine = make_engine(request.param)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
async def lab(engine: Engine) -> AsyncIterator[Lab]:
    lab = Lab(engine)
    yield lab
    await lab.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is not ours."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session

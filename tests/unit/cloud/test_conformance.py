"""The suite for providers, on the fake cloud: in memory and in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilothouse.clock import Clock
from pilothouse.cloud.provider import Provider
from pilothouse.testing.cloud import FakeProvider, FileShelf, MemoryShelf, left
from pilothouse.testing.cloud_conformance import CloudConformance, Leftovers, node

INSTANCE = {"id": "i-1", "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "zone": "a", "region": "r"}


class TestFakeInMemory(CloudConformance):
    @pytest.fixture
    def provider(self, clock: Clock) -> FakeProvider:
        shelf = MemoryShelf()
        shelf.put("instances", "node-1", INSTANCE)
        return FakeProvider(clock, shelf)

    @pytest.fixture
    def another(self, clock: Clock, provider: FakeProvider) -> Callable[[], Provider]:
        return lambda: FakeProvider(clock, provider.shelf)

    @pytest.fixture
    def nodes(self) -> list[dict]:
        return [node("node-1")]

    @pytest.fixture
    def leftovers(self, provider: FakeProvider) -> Leftovers:
        async def look() -> list[str]:
            return [name for names in left(provider.shelf).values() for name in names]

        return look


class TestFakeInAFile(TestFakeInMemory):
    @pytest.fixture
    def provider(self, clock: Clock, tmp_path: Path) -> Iterator[FakeProvider]:
        shelf = FileShelf(tmp_path / "cloud.db")
        shelf.put("instances", "node-1", INSTANCE)
        yield FakeProvider(clock, shelf)
        shelf.close()

"""The local provider does what every provider has to do: the suite that others run against theirs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import pytest

from pilothouse.clock import Clock
from pilothouse.cloud.provider import Provider
from pilothouse.cloud.providers.local import make
from pilothouse.testing.cloud_conformance import CloudConformance, node

#: Ranges that no other process of a test run has.
_numbers = itertools.count()


class TestLocal(CloudConformance):
    @pytest.fixture
    def config(self) -> str:
        return f"engine: embedded\naddresses: 127.{140 + next(_numbers) % 40}.{os.getpid() % 250}.0/24"

    @pytest.fixture
    def provider(self, clock: Clock, config: str) -> Provider:
        return make(config, clock)

    @pytest.fixture
    def another(self, clock: Clock, config: str) -> Callable[[], Provider]:
        return lambda: make(config, clock)

    @pytest.fixture
    def nodes(self) -> list[dict]:
        return [node("node-1")]

    @pytest.fixture
    def stranger(self) -> None:
        return None

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("moto", reason="moto[server] is not installed")
pytest.importorskip("boto3", reason="boto3 is not installed")

from aws_world import Server, World, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def world(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    server.reset()
    world = World(server)
    world.remember()
    yield world


@pytest.fixture
def nodes(world: World) -> list[dict]:
    """Two, which count as having been there before."""
    found = [world.add_node(0), world.add_node(1)]
    world.remember()
    return found

"""A small part of `tools/fuzz.py`: bodies that nobody should send, and never an answer of 500."""

from __future__ import annotations

import logging

import pytest

from .malformed import offences
from .replay import player


@pytest.mark.parametrize("seed", [11, 12])
async def test_no_malformed_body_is_answered_with_500_and_nothing_is_half_written(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with player() as played:
            found = await offences(played, 1000, seed)
            assert not found, "\n".join(found[:5])
            for path in ("/api/v1/pods", "/api/v1/services", "/api/v1/configmaps", "/apis/apps/v1/deployments"):
                code, listed, _ = await played.call("GET", path, None, {})
                assert code == 200
                assert all(item["metadata"]["uid"] and item["metadata"]["name"] for item in listed["items"])
    assert not caplog.records


@pytest.mark.parametrize("body", [b"-1180591620717411303424", b'{"metadata": {"generation": 1180591620717411303424}}'])
async def test_a_number_beyond_64_bits_is_a_mistake_of_the_client(body: bytes) -> None:
    async with player() as played:
        code, status, _ = await played.call("POST", "/api/v1/namespaces/default/configmaps", body + b" \x9b", {})
    assert (code, status["reason"]) == (400, "BadRequest")


async def test_a_service_without_a_name_is_refused_before_it_holds_an_address() -> None:
    async with player() as played:
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80}]}}
        code, status, _ = await played.call("POST", "/api/v1/namespaces/default/services", service, {})
        assert (code, status["details"]["causes"][0]["field"]) == (422, "metadata.name")
        _, addresses, _ = await played.call("GET", "/apis/networking.k8s.io/v1/ipaddresses", None, {})
        assert len(addresses["items"]) == 1  # the API server's own

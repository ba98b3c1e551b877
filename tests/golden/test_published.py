"""A small part of `tools/contract.py`: requests that Schemathesis makes up from the published OpenAPI, and never an answer of 500."""

from __future__ import annotations

import asyncio
import logging

import pytest

from .published import DEFINITION, offence, requests_of
from .replay import player

#: Of all operations, how many are tried, and by how many requests each.
SHARE, EACH = 0.12, 8


async def test_what_schemathesis_makes_of_our_openapi_is_never_answered_with_500(caplog: pytest.LogCaptureFixture) -> None:
    found, sent = [], 0
    with caplog.at_level(logging.ERROR):
        async with player() as played:
            await played.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION, {})
            while (await played.call("GET", "/apis/shop.example.com/v1", None, {}))[0] != 200:
                await asyncio.sleep(0)
            _, index, _ = await played.call("GET", "/openapi/v3", None, {})
            assert "apis/shop.example.com/v1" in index["paths"]
            for path in index["paths"]:
                _, document, _ = await played.call("GET", f"/openapi/v3/{path}", None, {})
                for made in requests_of(document, EACH, 1, 1.0 if "shop" in path else SHARE):
                    code, answer, _ = await played.call(made.method, made.target, made.body, dict(made.headers))
                    sent += 1
                    if wrong := offence(made, code, answer):
                        found.append(wrong)
    assert not found, "\n".join(found[:5])
    assert not caplog.records
    assert sent > 300

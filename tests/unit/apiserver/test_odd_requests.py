"""Request lines and headers that make no sense, drawn at random with a seed: never a bug, never an answer of 500."""

from __future__ import annotations

import asyncio
import logging
import random
from urllib.parse import quote

import pytest

from pilothouse.apiserver import lists
from pilothouse.apiserver.messages import Request, Response, Stream

from .cluster_kit import PODS, cluster, pod
from .test_watches import Wire

NAMES = [
    "labelSelector",
    "fieldSelector",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "watch",
    "pretty",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
    "includeObject",
    "timeout",
    "container",
    "tailLines",
    "verbose",
    "x",
]
VALUES = (
    "", "0", "1", "-1", "abc", "9" * 23, "true", "false", "All", "Exact", "NotOlderThan", "metadata.name=p", "metadata.name!=p,x", "a=b", "a in (b,c",
    "!a", "a notin ()", "\0", "é", "%", "5", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYSJ9", "Foreground", "Strict", "x" * 200, "1s", "None",
)  # fmt: skip
PATHS = (
    PODS, f"{PODS}/p", f"{PODS}/p/status", f"{PODS}/p/log", f"{PODS}/p/eviction", "/api/v1/pods", "/api", "/apis", "/apis/apps/v1", "/version", "/readyz",
    "/openapi/v2", "/openapi/v3", "/metrics", "/api/v1/watch/pods", "/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces",
    "/apis/apps/v1/namespaces/default/deployments/d/scale", "/api/v1/componentstatuses", "/%2e%2e", "//", "/api//v1",
)  # fmt: skip
ACCEPTS = (
    "application/json", "*/*", "", "application/yaml", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "text/html;q=x", "application/json;q=0", "application/yaml;as=Table;v=v1beta1;g=meta.k8s.io", ";;;,", ",", "application/*",
)  # fmt: skip
MEDIA = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/merge-patch+json", "application/json-patch+json",
    "application/strategic-merge-patch+json", "application/apply-patch+yaml", "", "x/y",
)  # fmt: skip
BODIES = (b"", b"{}", b"null", b"[]", b'{"kind":"DeleteOptions"}', b"\xff", b'{"metadata":{"name":"p"}}', b"k8s\x00", b"x: y")
METHODS = ("GET",) * 6 + ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO")


def drawn(draw: random.Random) -> Request:
    pairs = [(draw.choice(NAMES), draw.choice(VALUES)) for _ in range(draw.randrange(4))]
    query = "&".join(f"{name}={quote(value, safe='') if draw.random() < 0.9 else value}" for name, value in pairs)
    method = draw.choice(METHODS)
    headers = {
        b"authorization": b"Bearer admin",
        b"accept": draw.choice(ACCEPTS).encode(),
        b"content-type": draw.choice(MEDIA).encode(),
    }
    if draw.random() < 0.05:
        headers |= {b"upgrade": b"websocket", b"connection": b"Upgrade", b"sec-websocket-version": draw.choice((b"13", b"8")), b"sec-websocket-key": b"YWJj"}  # fmt: skip
    target = (draw.choice(PATHS) + (f"?{query}" if query else "")).encode().decode("latin-1")
    return Request(method, target, headers, draw.choice(BODIES) if method not in ("GET", "HEAD", "OPTIONS") else b"")


def known(request: Request, response: Response) -> bool:
    """A GET of one object at a revision that is no number is 500 in the reference, too (recorded)."""
    return "resourceVersion=" in request.target and b"strconv.ParseUint" in response.body


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_request_line_is_answered_with_500(
    seed: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "FRESH_WAIT", 0.01)
    draw = random.Random(seed)
    with caplog.at_level(logging.ERROR):
        async with cluster() as call:
            await call("POST", PODS, pod("p"))
            for _ in range(1500):
                request = drawn(draw)
                answer = call.server.chain(request)
                response = answer if isinstance(answer, Response) else await asyncio.wait_for(answer, 10)
                assert response.status < 500 or response.status in (503, 504) or known(request, response), request.target
                if response.stream is not None:
                    stream = Stream(Wire())  # type: ignore[arg-type]
                    response.stream(stream)
                    stream.peer_gone()
                elif response.parts is not None:
                    assert b"".join(response.parts)
    assert not caplog.records

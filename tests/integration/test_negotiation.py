"""What a client can ask for beside the object itself: formats by quality, compression, indentation, methods, headers. Over real HTTPS."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_https import CONFIG_MAPS, Connection, config_map

from pilothouse.apiserver import http
from pilothouse.apiserver.assembly import Settings
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture
async def client(pilothouse_certificates: Path) -> AsyncIterator[Connection]:
    hub = ApiHub(Settings(pilothouse_certificates, port=0), clock=SystemClock())
    await hub.server.start()
    connection = await Connection.open(hub)
    assert (await connection.ask("POST", CONFIG_MAPS, config_map("a", "text")))[0] == 201
    yield connection
    await connection.close()
    await hub.server.stop()


async def fetch(client: Connection, method: str, target: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """One answer as it is on the wire."""
    client.send(method, target, None, *headers)
    code, got = await client.head()
    size = 0 if method == "HEAD" else int(got.get("content-length", 0))
    return code, got, await client.reader.readexactly(size)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/yaml;q=0.9, application/json;q=0.1", "yaml"),
        ("application/yaml;q=0.1, application/json;q=0.9", "json"),
        ("text/html, */*;q=0.1", "json"),
        (f"application/json;q=0.1, {TABLE}", "table"),
        (f"application/json;as=Other;v=v1;g=meta.k8s.io, {TABLE};q=0.5, application/json;q=0.2", "table"),
        ("text/html;q=1, application/yaml;q=0.2", "yaml"),
        ("*/*", "json"),
    ],
)
async def test_the_clause_of_the_highest_quality_that_can_be_served_is_served(client: Connection, accept: str, kind: str) -> None:
    code, headers, body = await fetch(client, "GET", f"{CONFIG_MAPS}/a", f"Accept: {accept}")
    assert code == 200
    if kind == "yaml":
        assert headers["content-type"] == "application/yaml" and body.startswith(b"apiVersion: v1\n")
    else:
        assert orjson.loads(body)["kind"] == ("Table" if kind == "table" else "ConfigMap")


async def test_what_cannot_be_served_is_406_with_a_list_of_what_can(client: Connection) -> None:
    code, _, body = await fetch(client, "GET", f"{CONFIG_MAPS}/a", "Accept: text/html, application/xml;q=0.9")
    assert code == 406
    message = orjson.loads(body)["message"]
    assert all(media in message for media in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"))


@pytest.mark.parametrize(
    ("header", "packed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("", False)],
)
async def test_large_answers_are_compressed_for_remote_clients_that_accept_it(
    client: Connection, monkeypatch: pytest.MonkeyPatch, header: str, packed: bool
) -> None:
    await client.ask("POST", CONFIG_MAPS, config_map("big", "x" * 200_000))
    plain = (await fetch(client, "GET", f"{CONFIG_MAPS}/big", f"Accept-Encoding: {header}"))[2]
    assert b"x" * 200_000 in plain  # this client is on the same machine
    monkeypatch.setattr(http.Connection, "remote", True)
    _, headers, body = await fetch(client, "GET", f"{CONFIG_MAPS}/big", f"Accept-Encoding: {header}")
    assert (headers.get("content-encoding"), headers.get("vary")) == (("gzip", "Accept-Encoding") if packed else (None, None))
    assert (gzip.decompress(body) if packed else body) == plain
    _, headers, _ = await fetch(client, "GET", f"{CONFIG_MAPS}/a", "Accept-Encoding: gzip")
    assert "content-encoding" not in headers  # too small to be worth it


async def test_head_has_the_head_of_get_and_no_body(client: Connection) -> None:
    for target in (f"{CONFIG_MAPS}/a", CONFIG_MAPS, "/version", "/readyz"):
        _, whole, _ = await fetch(client, "GET", target)
        code, headers, _ = await fetch(client, "HEAD", target)
        assert (
            code == 200
            and headers["content-length"] == whole["content-length"]
            and headers["content-type"] == whole["content-type"]
        )
    assert (await fetch(client, "HEAD", f"{CONFIG_MAPS}/none"))[0] == 404
    assert (await fetch(client, "GET", f"{CONFIG_MAPS}/a"))[0] == 200  # the connection goes on


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("OPTIONS", CONFIG_MAPS, "DELETE, GET, HEAD, POST"),
        ("OPTIONS", f"{CONFIG_MAPS}/a", "DELETE, GET, HEAD, PATCH, PUT"),
        ("POST", f"{CONFIG_MAPS}/a", "DELETE, GET, HEAD, PATCH, PUT"),
        ("PUT", "/api/v1/configmaps", "GET, HEAD"),
        ("GET", "/api/v1/namespaces/default/pods/p/binding", "POST"),
        ("DELETE", "/api/v1/nodes/n/status", "GET, HEAD, PATCH, PUT"),
        ("POST", "/version", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_405_and_names_those_it_has(
    client: Connection, method: str, target: str, allowed: str
) -> None:
    code, headers, body = await fetch(client, method, target)
    assert (code, headers["allow"]) == (405, allowed)
    status = orjson.loads(body)
    assert (status["reason"], status["message"]) == (
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )


@pytest.mark.parametrize(
    ("query", "agent", "pretty"),
    [("?pretty=true", "", True), ("?pretty", "", True), ("?pretty=1", "", True), ("", "curl/8.0", True), ("", "Mozilla/5.0 (X11)", True),
     ("", "kubectl/v1.37", False), ("?pretty=false", "curl/8.0", False), ("?pretty=0", "curl/8.0", False)],
)  # fmt: skip
async def test_json_is_indented_for_people(client: Connection, query: str, agent: str, pretty: bool) -> None:
    for target in (f"{CONFIG_MAPS}/a", CONFIG_MAPS, f"{CONFIG_MAPS}/none", "/api/v1"):
        _, _, body = await fetch(client, "GET", target + query, *([f"User-Agent: {agent}"] if agent else []))
        assert (b'{\n  "' in body) is pretty


async def test_every_answer_has_a_date_an_audit_id_and_is_not_to_be_kept(client: Connection) -> None:
    seen = set()
    for method, target in (("GET", CONFIG_MAPS), ("GET", f"{CONFIG_MAPS}/none"), ("POST", "/version"), ("GET", "/healthz")):
        _, headers, _ = await fetch(client, method, target)
        assert headers["date"].endswith(" GMT") and headers["cache-control"] == "no-cache, private"
        seen.add(headers["audit-id"])
    assert len(seen) == 4 and all(len(i) == 36 for i in seen)
    _, headers, _ = await fetch(client, "GET", CONFIG_MAPS, f"Audit-ID: {'m' * 100}")
    assert headers["audit-id"] == "m" * 64


async def test_answers_name_the_flow_schema_and_the_priority_level(client: Connection) -> None:
    _, headers, _ = await fetch(client, "GET", CONFIG_MAPS)
    uids: dict[str, Any] = {}
    for plural in ("flowschemas", "prioritylevelconfigurations"):
        _, obj = await client.ask("GET", f"/apis/flowcontrol.apiserver.k8s.io/v1/{plural}/exempt")
        uids[plural] = obj["metadata"]["uid"]
    assert headers["x-kubernetes-pf-flowschema-uid"] == uids["flowschemas"]
    assert headers["x-kubernetes-pf-prioritylevel-uid"] == uids["prioritylevelconfigurations"]

"""What a simulated pod answers: its name and place, and the request as it came. Pure functions; sockets are in `serve/`.

The fields are those that the echo servers of the Gateway API's conformance tests have (path, host, method, proto, headers with lists of values,
namespace, pod), with node, podIP, container, port, bodyLength and, over TLS, `secure` beside them. Text instead of JSON for those who accept text and no JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from pilothouse.nodes.behaviour import Behaviour

SERVER = "pilothouse-simulated"
JSON, TEXT, OCTETS = "application/json", "text/plain; charset=utf-8", "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Place:
    """Who answers: one port of one container, and whether it speaks TLS."""

    namespace: str
    pod: str
    node: str
    ip: str
    container: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `path` has its query; `headers` in the order in which they came; `body` is how many bytes it had."""

    method: str
    path: str
    proto: str
    host: str
    headers: tuple[tuple[str, str], ...]
    body: int = 0

    def header(self, name: str) -> str:
        """The values of a header (named in lower case), joined; "" if there is none."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True, slots=True)
class Answer:
    """An empty body with an empty content type where the status allows none."""

    status: int
    content_type: str
    body: bytes


def answer(place: Place, how: Behaviour, asked: Asked, ready: bool) -> Answer:
    """The answer to a request."""
    status = how.status_of(asked.path.partition("?")[0], ready)
    if status in (204, 304):
        return Answer(status, "", b"")
    if how.size:
        return Answer(status, OCTETS, _filling(how.size))
    told = _told(place, asked)
    if wants_text(asked.header("accept")):
        return Answer(status, TEXT, "".join(_lines(told)).encode())
    return Answer(status, JSON, orjson.dumps(told) + b"\n")


def wants_text(accept: str) -> bool:
    return "text/" in accept and "json" not in accept


def _told(place: Place, asked: Asked) -> dict[str, object]:
    headers: dict[str, list[str]] = {}
    for name, value in asked.headers:
        headers.setdefault(_canonical(name), []).append(value)
    method = "GET" if asked.method == "HEAD" else asked.method  # nobody sees it, but its length is to be that of the GET
    return {
        "path": asked.path, "host": asked.host, "method": method, "proto": asked.proto, "headers": headers, "bodyLength": asked.body,
        "namespace": place.namespace, "pod": place.pod, "node": place.node, "podIP": place.ip, "container": place.container,
        "port": place.port, **({"secure": True} if place.tls else {}),
    }  # fmt: skip


@functools.lru_cache(maxsize=512)
def _canonical(name: str) -> str:
    """`x-request-id` as `X-Request-Id`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def _lines(told: dict[str, object]) -> Iterable[str]:
    headers = told.pop("headers")
    yield from (f"{name}: {value}\n" for name, value in told.items())
    assert isinstance(headers, dict)
    yield from (f"header {name}: {value}\n" for name, values in headers.items() for value in values)


@functools.lru_cache(maxsize=4)
def _filling(size: int) -> bytes:
    return b"x" * size

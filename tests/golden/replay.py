"""Recorded conversations with an API server 1.36, held against this one.

A recording is a file of scripts, one JSON object a line: {"script": name, "base": {name: object}, "nsLabels": {...}, "steps": [...]}. A step
is a request (`m` method, `p` path, `q` query, `h` headers, `b` body), what to remember of its answer (`save`: variable to path) and `want`,
the recorded code and body. `$ns` in any text is a namespace of the script's own, `${name}` a remembered value. A body {"$of": base, "$set":
[[path, value]...], "$del": [path...]} is a base object that was changed in places. `until` repeats a request until its answer is as it says,
`keep` compares warnings as well.

The server runs in this process, without network and in virtual time, so that a watch of a second costs none.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import lzma
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from pilothouse.apiserver.assembly import Settings, server_options
from pilothouse.apiserver.http import BODY_LIMIT
from pilothouse.apiserver.messages import Request, Response, Stream
from pilothouse.apiserver.server import ApiServer
from pilothouse.clock import VirtualClock
from pilothouse.store.memory import MemoryStore

from . import compare

RECORDINGS = Path(__file__).with_name("recordings")
#: Some scripts present the administrator's token themselves.
ADMIN = "Bearer admintoken"
#: When the recordings were made: ages of things past are counted from here.
RECORDED = 1_795_460_400.0
#: Turns of the loop given to an answer before time moves on for it.
_TURNS = 40
_UNTIL_SECONDS = 10.0
_NODE_PORT = re.compile(r'odePort": (\d+)')
#: Methods that no parser of HTTP here knows are refused before the chain (tested in test_http.py).
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step held against the recording: its place, the request as recorded, both answers with placeholders."""

    script: str
    index: int
    step: dict[str, Any]
    code: int
    answer: Any
    verdict: str

    @property
    def differences(self) -> list[str]:
        want = self.step["want"]
        found = [] if want["code"] == self.code else [f"code: want {want['code']}, got {self.code}"]
        return [*found, *compare.differences(compare.canonical(want.get("body", self.answer)), self.answer)]


@functools.cache
def scripts(recording: str) -> dict[str, list[dict[str, Any]]]:
    """The scripts of a recording by their group: the file's first names, or a mutated kind."""
    groups: dict[str, list[dict[str, Any]]] = {}
    with lzma.open(RECORDINGS / f"{recording}.jsonl.xz", "rt") as lines:
        for line in lines:
            script = json.loads(line)
            groups.setdefault(group_of(script["script"]), []).append(script)
    return groups


def group_of(name: str) -> str:
    """What shares a server: the first two names, or the kind of scripts for one kind (`groups/life/Job`, `mutate/v1/Pod/3`)."""
    parts = name.split("/")
    if parts[0] == "mutate":
        return "/".join(parts[:-1])
    of_kind = parts[0] == "groups" and len(parts) > 2 and parts[2][:1].isupper()
    return f"{parts[0]}/{parts[2]}" if of_kind else "/".join(parts[:2])


# --- a server, and a caller ----------------------------------------------------------------------------------------------------


@functools.cache
def _files() -> Path:
    """Keys and the token of an administrator, made once a process."""
    folder = Path(tempfile.mkdtemp(prefix="pilothouse-golden-"))
    (folder / "tokens.csv").write_text("admintoken,admin,admin,system:masters\n")
    return folder


@asynccontextmanager
async def player() -> AsyncIterator[Player]:
    """A player on a server of its own, as the reference ran: alone, on an empty store."""
    clock = VirtualClock(start=RECORDED, grace=0.001)
    settings = Settings(_files(), listen=False, token_auth_file=_files() / "tokens.csv")
    server = ApiServer(server_options(MemoryStore(clock), settings, clock))
    await server.start()
    try:
        yield Player(server, clock)
    finally:
        await server.stop()


@dataclass(slots=True)
class _Wire:
    """The other end of a stream: keeps what is written, takes chunks apart."""

    data: bytearray
    paused: bool = False
    ended: bool = False
    subject: None = None

    @property
    def transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self)

    def write(self, chunk: bytes) -> None:
        self.data += chunk.split(b"\r\n", 1)[1][:-2]

    def end_stream(self) -> None:
        self.ended = True

    abort = end_stream


class Player:
    """Plays scripts against one server, one after the other."""

    def __init__(self, server: ApiServer, clock: VirtualClock) -> None:
        self.server = server
        self._clock = clock
        self._count = 0

    async def play(self, script: dict[str, Any]) -> AsyncIterator[Outcome]:
        """Each step of a script, in a fresh namespace."""
        self._count += 1
        namespace = f"g{id(self) % 10**6:x}x{self._count}"
        await self._prepare(namespace, script)
        known = {"ns": namespace}
        for index, step in enumerate(script["steps"]):
            if step["m"] not in METHODS:
                continue
            body = filled(body_of(step.get("b"), script), known)
            code, answer, warnings = await self._step(step, body, known)
            for variable, path in (step.get("save") or {}).items():
                known[variable] = _found(answer, path)
            answer = _with_warnings(step, answer, warnings)
            base = _generate_name(body)
            if base and isinstance(answer, dict) and answer.get("kind") == "Status":
                answer = compare.without_generated_name(answer, base)
            ports = frozenset(int(n) for n in _NODE_PORT.findall(json.dumps(body))) if body else frozenset()
            answer = compare.Normaliser(namespace, ports)(answer)
            yield Outcome(script["script"], index, step, code, answer, compare.verdict(step["want"], code, answer))

    async def _prepare(self, namespace: str, script: dict[str, Any]) -> None:
        labels = script.get("nsLabels") or {}
        await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}}, {})
        account = {"metadata": {"name": "default"}}
        await self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account, {})

    async def _step(self, step: dict[str, Any], body: Any, known: dict[str, str]) -> tuple[int, Any, list[str]]:
        """The answer to a step; with `until`, to its last repetition."""
        target = filled(step["p"], known)
        if query := filled(step.get("q"), known):
            target += "?" + urlencode(query)
        headers = filled(step.get("h") or {}, known)
        until, limit = filled(step.get("until"), known), self._clock.monotonic() + step.get("within", _UNTIL_SECONDS)
        while True:
            code, answer, warnings = await self.call(step["m"], target, body, headers)
            if _reached(until, code, answer) or self._clock.monotonic() > limit:
                return code, answer, warnings
            await self._clock.advance(0.1)

    async def call(self, method: str, target: str, body: Any, headers: dict[str, str | None]) -> tuple[int, Any, list[str]]:
        """One request through the whole chain: code, decoded answer, warnings."""
        data = _encoded(body)
        sent: dict[str, str | None] = {"authorization": ADMIN, "accept": "application/json"}
        if body is not None:
            sent["content-type"] = "application/json"
        more: list[tuple[bytes, bytes]] = []
        for name, value in headers.items():
            if value is not None and name.lower() in (other.lower() for other in headers if other < name):
                more.append((name.lower().encode(), value.encode()))  # a header that comes twice
            else:
                sent[name.lower()] = value
        lines = {name.encode(): value.encode() for name, value in sent.items() if value is not None}
        request = Request(method, target, lines, data[: BODY_LIMIT + 1])
        request.more = more
        request.too_large = len(data) > BODY_LIMIT
        answer = self.server.chain(request)
        response = answer if isinstance(answer, Response) else await self._awaited(answer)
        warnings = [value for name, value in response.headers or () if name.lower() == "warning"]
        content = await self._content(response)
        return response.status, _decoded(content if method != "HEAD" else b"", response.content_type), warnings

    async def _awaited(self, work: Any) -> Response:
        task = asyncio.ensure_future(work)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if task.done():
                return task.result()
        while not task.done():
            await self._clock.settle()
            if not task.done():
                self._clock.jump()
        return task.result()

    async def _content(self, response: Response) -> bytes:
        if response.stream is None:
            return response.body if response.parts is None else b"".join(response.parts)
        wire = _Wire(bytearray())
        response.stream(Stream(wire))
        while not wire.ended:
            await self._clock.settle()
            if not wire.ended:
                self._clock.jump()
        return bytes(wire.data)


# --- the format ----------------------------------------------------------------------------------------------------------------


def filled(value: Any, known: dict[str, str]) -> Any:
    """A value with the variables in its texts replaced."""
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace("${" + name + "}", text)
        return value.replace("$ns", known["ns"])
    if isinstance(value, list):
        return [filled(item, known) for item in value]
    if isinstance(value, dict):
        return {filled(key, known): filled(item, known) for key, item in value.items()}
    return value


def body_of(body: Any, script: dict[str, Any]) -> Any:
    """The body of a step, made from a base object where it names one."""
    if not isinstance(body, dict) or "$of" not in body:
        return body
    made = copy.deepcopy(script["base"][body["$of"]])
    for path, value in body.get("$set") or ():
        at = made
        for part in path[:-1]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        at[path[-1]] = value
    for path in body.get("$del") or ():
        at = made
        for part in path[:-1]:
            at = at[part]
        del at[path[-1]]
    return made


def _encoded(body: Any) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _found(answer: Any, path: str) -> str:
    try:
        return str(_at(answer, path))
    except (LookupError, TypeError, ValueError):
        return "missing"


def _reached(until: Any, code: int, answer: Any) -> bool:
    """Whether a step need not be repeated: `until` is a code, or {"code", "at", "is"} with any of its parts."""
    if until is None:
        return True
    if isinstance(until, int):
        return code == until
    if until.get("code", code) != code:
        return False
    try:
        return "at" not in until or _at(answer, until["at"]) == until["is"]
    except (LookupError, TypeError, ValueError):
        return False


def _decoded(content: bytes, media: str) -> Any:
    if "json" in media:
        if content[:40].find(b'"type"') >= 0 and content.count(b"\n") > 1:
            return [json.loads(line) for line in content.splitlines() if line.strip()]
        try:
            return json.loads(content)
        except ValueError:
            return content.decode(errors="replace")
    return content.decode(errors="replace")


def _with_warnings(step: dict[str, Any], answer: Any, warnings: list[str]) -> Any:
    keep = step.get("keep") or ""
    if "warnings" in keep:
        return {"warnings": warnings, "answer": answer}
    if "warn" in keep and warnings and isinstance(answer, dict):
        return {"warning": warnings[-1], "answer": answer}
    return answer


def _generate_name(body: Any) -> str:
    metadata = body.get("metadata") if isinstance(body, dict) else None
    base = metadata.get("generateName") if isinstance(metadata, dict) else None
    return base if isinstance(base, str) else ""


async def outcomes(recording: str, group: str) -> list[Outcome]:
    """A group of scripts played against one server."""
    async with player() as played:
        return [outcome for script in scripts(recording)[group] async for outcome in played.play(script)]


def recordings() -> Iterator[tuple[str, str]]:
    """All groups of all recordings."""
    for path in sorted(RECORDINGS.glob("*.jsonl.xz")):
        name = path.name.removesuffix(".jsonl.xz")
        for group in scripts(name):
            yield name, group

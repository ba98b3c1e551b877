"""Scheduler extenders: programs that are asked over HTTP which nodes a pod may have, which it should, and whom to remove (reference:
kube-scheduler Configuration v1, Extender; the messages are those of extender/v1, whose fields bear Go's names).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pilothouse.scheduler.podinfo import PodInfo

log = logging.getLogger("pilothouse.scheduler")

Obj = dict[str, Any]

TIMEOUT = 5.0
#: An extender's scores go up to 10, a plugin's to 100.
SCALE = 10


class ExtenderError(Exception):
    """The extender cannot be asked, or says that it failed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an extender leaves of the nodes, and why not the others. `hopeless` are those that preemption would not help."""

    names: list[str]
    failed: dict[str, str]
    hopeless: dict[str, str]


@dataclass(slots=True)
class Extender:
    """One entry of `extenders`. Close it when done."""

    raw: Obj
    managed: frozenset[str] = field(init=False)
    timeout: float = field(init=False)
    _session: Any = None

    def __post_init__(self) -> None:
        self.managed = frozenset(r["name"] for r in self.raw.get("managedResources") or ())
        self.timeout = _seconds(self.raw.get("httpTimeout")) or TIMEOUT

    @property
    def name(self) -> str:
        return str(self.raw.get("urlPrefix") or "")

    @property
    def ignorable(self) -> bool:
        """Scheduling goes on without it when it cannot be reached."""
        return bool(self.raw.get("ignorable"))

    def can(self, verb: str) -> bool:
        """Whether it implements filter, prioritize, preempt or bind."""
        return bool(self.raw.get(f"{verb}Verb"))

    def interested(self, pod: PodInfo) -> bool:
        """Whether the pod asks for a resource that this extender manages, or it manages everything."""
        if not self.managed:
            return True
        containers = (*pod.spec.get("containers", ()), *(pod.spec.get("initContainers") or ()))
        resources = [c.get("resources") or {} for c in containers]
        return any(not self.managed.isdisjoint(r.get(kind) or ()) for r in resources for kind in ("requests", "limits"))

    # --- questions ---------------------------------------------------------------------------------------------------------------

    async def filter(self, pod: PodInfo, nodes: Sequence[Obj]) -> Verdict:
        """Which of these nodes the pod may have."""
        answer = _lowered(await self._send("filter", self._arguments(pod, nodes)))
        if answer.get("error"):
            raise ExtenderError(answer["error"])
        asked = {n["metadata"]["name"] for n in nodes}
        names = self._names(answer)
        strange = next((n for n in names if n not in asked), None)
        if strange is not None:
            raise ExtenderError(
                f'extender "{self.name}" claims a filtered node "{strange}" which is not found in the input node list'
            )
        return Verdict(names, answer.get("failednodes") or {}, answer.get("failedandunresolvablenodes") or {})

    def _names(self, answer: Obj) -> list[str]:
        if self.raw.get("nodeCacheCapable") and answer.get("nodenames") is not None:
            return list(answer["nodenames"])
        return [n["metadata"]["name"] for n in (answer.get("nodes") or {}).get("items") or ()]

    async def prioritize(self, pod: PodInfo, nodes: Sequence[Obj]) -> dict[str, int]:
        """Scores by node, weighted, on the scale of plugins."""
        answer = await self._send("prioritize", self._arguments(pod, nodes))
        weight = int(self.raw.get("weight") or 0) * SCALE
        entries = [_lowered(entry) for entry in answer or ()]
        return {entry["host"]: int(entry.get("score") or 0) * weight for entry in entries}

    async def preempt(self, pod: PodInfo, victims: dict[str, tuple[Sequence[PodInfo], int]]) -> dict[str, tuple[list[str], int]]:
        """Which of these nodes may be cleared, by removing whom: victims (by uid in the answer) and broken budgets for each."""
        if self.raw.get("nodeCacheCapable"):
            key, listed = "NodeNameToMetaVictims", {n: [{"UID": p.uid} for p in pods] for n, (pods, _) in victims.items()}
        else:
            key, listed = "NodeNameToVictims", {n: [p.obj for p in pods] for n, (pods, _) in victims.items()}
        asked = {n: {"Pods": pods, "NumPDBViolations": victims[n][1]} for n, pods in listed.items()}
        answer = _lowered(await self._send("preempt", {"Pod": pod.obj, key: asked}))
        out = {}
        for node, entry in (answer.get("nodenametometavictims") or {}).items():
            entry = _lowered(entry)
            uids = [str(_lowered(p).get("uid") or "") for p in entry.get("pods") or ()]
            out[node] = uids, int(entry.get("numpdbviolations") or 0)
        return out

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Bind the pod in the scheduler's place."""
        body = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        answer = _lowered(await self._send("bind", body))
        if answer.get("error"):
            raise ExtenderError(answer["error"])

    def _arguments(self, pod: PodInfo, nodes: Sequence[Obj]) -> Obj:
        if self.raw.get("nodeCacheCapable"):
            return {"Pod": pod.obj, "Nodes": None, "NodeNames": [n["metadata"]["name"] for n in nodes]}
        return {"Pod": pod.obj, "Nodes": {"metadata": {}, "items": list(nodes)}, "NodeNames": None}

    # --- HTTP ----------------------------------------------------------------------------------------------------------------------

    async def _send(self, verb: str, body: Obj) -> Any:
        import aiohttp

        url = f"{self.name.rstrip('/')}/{self.raw[verb + 'Verb']}"
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.timeout))
        tls = _tls(self.raw) if url.startswith("https:") else None
        options = {} if tls is None else {"ssl": tls}
        try:
            async with self._session.post(
                url, data=orjson.dumps(body), headers={"Content-Type": "application/json"}, **options
            ) as answer:
                if answer.status != 200:
                    raise ExtenderError(f"failed {self.raw[verb + 'Verb']} with extender at URL {url}, code {answer.status}")
                return orjson.loads(await answer.read())
        except (TimeoutError, aiohttp.ClientError, orjson.JSONDecodeError) as error:
            raise ExtenderError(f'Post "{url}": {error or type(error).__name__}') from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _lowered(answer: Any) -> Obj:
    """An answer whose fields may be written in any case, as Go's JSON decoder takes them."""
    return {str(k).lower(): v for k, v in answer.items()} if isinstance(answer, dict) else {}


def _tls(raw: Obj) -> ssl.SSLContext:
    """The TLS settings of an https extender; without an authority nothing is verified."""
    config = raw.get("tlsConfig") or {}
    authority = config.get("caFile")
    context = ssl.create_default_context(cafile=authority, cadata=_text(config.get("caData")))
    if config.get("certFile"):
        context.load_cert_chain(config["certFile"], config.get("keyFile"))
    if config.get("insecure") or not (authority or config.get("caData")):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _text(data: str | None) -> str | None:
    import base64

    return base64.b64decode(data).decode() if data else None


def _seconds(text: Any) -> float:
    if not text:
        return 0.0
    from pilothouse.api.cel.lib.times import parse_duration

    return parse_duration(str(text)) / 1e9

"""Scenarios of controllers, recorded with a real control plane 1.36, played against this one in one process and in virtual time.

`converge.jsonl.xz` holds one scenario a line, {"scenario": name, "steps": [...]}, with what the recorded cluster had converged to. Neither a
scheduler nor nodes ran there; `converge_nodes` plays them. `$ns` is the scenario's own namespace. Steps:

    {"m": method, "p": path, "q": query, "h": headers, "b": body, "code": recorded, "want": Status, "save": {variable: path}, "retry": true}
    {"bind": [nodes], "run": "ready" or [rules], "finish": ...}         how pods fare from here on
    {"until": {"p": path, "at": place, "is": value, ...}, "reached": recorded}
    {"settle": seconds}     until nothing has changed for so long
    {"sleep": seconds}
    {"dump": [resources], "want": {resource: [{"n": how many, "object": {...}}]}}
"""

from __future__ import annotations

import asyncio
import functools
import json
import lzma
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pilothouse.apiserver.assembly import Settings
from pilothouse.client.interface import Response, Transport
from pilothouse.clock import VirtualClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore

from .converge_nodes import JSON, Nodes
from .converge_normal import NOISE, Normal, Obj, counted, differences, dump_differences
from .replay import RECORDED

_FILE = Path(__file__).with_name("converge.jsonl.xz")
_GROUPS = {
    "/api/v1": "pods services endpoints replicationcontrollers configmaps secrets serviceaccounts resourcequotas limitranges "
    "persistentvolumeclaims events nodes namespaces persistentvolumes",
    "/apis/apps/v1": "deployments replicasets statefulsets daemonsets controllerrevisions",
    "/apis/batch/v1": "jobs cronjobs",
    "/apis/autoscaling/v2": "horizontalpodautoscalers",
    "/apis/policy/v1": "poddisruptionbudgets",
    "/apis/discovery.k8s.io/v1": "endpointslices",
    "/apis/resource.k8s.io/v1": "resourceclaims resourceclaimtemplates",
    "/apis/coordination.k8s.io/v1": "leases",
    "/apis/rbac.authorization.k8s.io/v1": "roles rolebindings clusterroles clusterrolebindings",
    "/apis/certificates.k8s.io/v1": "certificatesigningrequests",
    "/apis/admissionregistration.k8s.io/v1": "validatingadmissionpolicies",
    "/apis/storage.k8s.io/v1": "storageclasses volumeattachments csinodes",
}
_BASE = {resource: base for base, resources in _GROUPS.items() for resource in resources.split()}
#: Kinds whose objects lend their names to others.
_NAMING = frozenset(
    ("services", "endpoints", "deployments", "replicasets", "jobs", "daemonsets", "statefulsets", "replicationcontrollers", "cronjobs")
)  # fmt: skip
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


@functools.cache
def scenarios() -> dict[str, list[Obj]]:
    """By area, such as `deployment`."""
    out: dict[str, list[Obj]] = {}
    with lzma.open(_FILE, "rt") as lines:
        for line in lines:
            scenario = json.loads(line)
            out.setdefault(scenario["scenario"].partition("/")[0], []).append(scenario)
    return out


def _fill(value: Any, env: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in env.items():
            value = value.replace("${" + name + "}", text)
        return value.replace("$ns", env["ns"])
    if isinstance(value, list):
        return [_fill(v, env) for v in value]
    return {_fill(k, env): _fill(v, env) for k, v in value.items()} if isinstance(value, dict) else value


def _look(obj: Any, at: str) -> Any:
    """The value at a dotted place; in a list, a part that is no number means the entry of that type or name."""
    for quoted, plain in re.findall(r"\[([^\]]*)\]|([^.\[\]]+)", at):
        part = quoted or plain
        if isinstance(obj, list):
            if part.isdigit():
                obj = obj[int(part)] if int(part) < len(obj) else None
            else:
                obj = next((o for o in obj if part in (o.get("type"), o.get("name"))), None)
        elif isinstance(obj, dict):
            obj = obj.get(part)
        else:
            return None
    return obj


class Play:
    """One scenario."""

    def __init__(self, transport: Transport, clock: VirtualClock, scenario: Obj, ns: str) -> None:
        self._transport = transport
        self._clock = clock
        self._scenario = scenario
        self._env = {"ns": ns}
        self._nodes = Nodes(transport, clock, ns)
        self.differences: list[str] = []

    async def run(self) -> None:
        ns = self._env["ns"]
        await self._ask("POST", "/api/v1/namespaces", {"metadata": {"name": ns, "labels": self._scenario.get("nsLabels") or {}}})
        base = f"/api/v1/namespaces/{ns}"
        for path in (f"{base}/serviceaccounts/default", f"{base}/configmaps/kube-root-ca.crt"):
            await self._until({"p": path, "code": 200, "within": 15})
        self._nodes.names |= set(
            re.findall(r'"name": "([a-z0-9.-]+)"', json.dumps([s.get("b") for s in self._scenario["steps"]]))
        )
        for step in self._scenario["steps"]:
            if isinstance(step.get("b"), dict) and (name := (step["b"].get("metadata") or {}).get("name")):
                self._nodes.names.add(_fill(name, self._env))
        playing = asyncio.create_task(self._nodes.run())
        try:
            for number, step in enumerate(self._scenario["steps"]):
                found = await self._step(step)
                self.differences += [f"{self._scenario['scenario']} step {number}: {d}" for d in found]
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _ask(self, method: str, path: str, body: Any = None, headers: Obj | None = None, query: Any = None) -> Response:
        path, _, text = path.partition("?")
        media = (headers or {}).get("Content-Type", "application/json")
        return await self._transport.request(method, path, {**dict(parse_qsl(text)), **(query or {})}, body, media, JSON)

    def _normal(self) -> Normal:
        nodes = self._nodes
        return Normal(self._env["ns"], self._clock.now(), nodes.names, nodes.hashes, nodes.pool)

    async def _step(self, step: Obj) -> list[str]:
        """Play a step; what differs from the recording."""
        if "m" in step:
            return await self._request(step)
        if "run" in step:
            self._set_rules(step)
        elif "until" in step:
            reached = await self._until(_fill(step["until"], self._env))
            return [] if reached == step.get("reached") else [f"reached {reached}: {json.dumps(step['until'])}"]
        elif "sleep" in step:
            await self._clock.sleep(step["sleep"])
        elif "settle" in step:
            await self._settle(step["settle"])
        elif "dump" in step:
            return dump_differences(step["want"], await self._dump(step))
        return []

    async def _request(self, step: Obj) -> list[str]:
        deadline = self._clock.now() + 10
        while True:
            filled = _fill({k: step.get(k) for k in ("p", "b", "h", "q")}, self._env)
            answer = await self._ask(step["m"], filled["p"], filled["b"], filled["h"], filled["q"])
            if answer.status != 409 or not step.get("retry") or self._clock.now() >= deadline:
                break
            await self._clock.sleep(0.2)
        for name, at in (step.get("save") or {}).items():
            self._env[name] = str(_look(answer.body, at))
        if answer.status != step["code"]:
            return [f"{step['m']} {step['p']}: code {answer.status} instead of {step['code']}: {str(answer.body)[:300]}"]
        if answer.status < 300 or not isinstance(answer.body, dict):
            return []
        await self._nodes.look_at_hashes()
        told = {k: v for k, v in answer.body.items() if k in ("reason", "message", "details")}
        return differences(step.get("want"), self._normal().value(told))

    def _set_rules(self, step: Obj) -> None:
        nodes, rules = self._nodes, _fill(step["run"], self._env)
        nodes.bind = _fill(step.get("bind") or [], self._env)
        nodes.pool |= set(nodes.bind)
        nodes.finish = step.get("finish", True)
        nodes.rules = [{"do": rules}] if isinstance(rules, str) else rules

    async def _until(self, wanted: Obj) -> bool:
        deadline = self._clock.now() + wanted.get("within", 20)
        while True:
            answer = await self._ask("GET", wanted["p"])
            if _holds(wanted, answer):
                return True
            if self._clock.now() > deadline:
                return False
            await self._clock.sleep(0.2)

    async def _settle(self, seconds: float) -> None:
        watched = self._watched()
        begin = quiet = self._clock.now()
        last = None
        while self._clock.now() - quiet < seconds and self._clock.now() - begin < 40:
            state = []
            for path, query in watched:
                answer = await self._transport.request("GET", path, query, accept=_METADATA)
                if answer.status == 200:
                    items = answer.body.get("items") or []
                    state += [(path, i["metadata"]["name"], i["metadata"]["resourceVersion"]) for i in items]
            if state != last:
                last, quiet = state, self._clock.now()
            await self._clock.sleep(0.25)

    def _watched(self) -> list[tuple[str, dict[str, str]]]:
        """The collections that the scenario touches or dumps."""
        steps = self._scenario["steps"]
        places = [self._where(r) for s in steps for r in s.get("dump") or () if r != "nothing"] + [self._where("pods")]
        for step in steps:
            if found := re.match(r"(/apis?(?:/[^/]+)?/v\d\w*/namespaces/\$ns/\w+)", step.get("p", "")):
                places.append((_fill(found[1], self._env), {}))
        return sorted({path: (path, query) for path, query in places}.values(), key=lambda place: place[0])

    def _where(self, name: str) -> tuple[str, dict[str, str]]:
        name, _, other = name.partition("/")
        if not name.startswith("@"):
            return f"{_BASE[name]}/namespaces/{_fill(other, self._env) or self._env['ns']}/{name}", {}
        mine = {} if name == "@volumeattachments" else {"labelSelector": f"converge={self._env['ns']}"}
        return f"{_BASE[name[1:]]}/{name[1:]}", mine

    async def _dump(self, step: Obj) -> dict[str, list[Obj]]:
        await self._nodes.look_at_hashes()
        raw: dict[str, list[Obj]] = {}
        for resource in step["dump"]:
            path, query = self._where(resource)
            answer = await self._ask("GET", path, query=query)
            found = answer.body["items"] if answer.status == 200 else [{"metadata": {"name": f"<code {answer.status}>"}}]
            if resource == "@volumeattachments":  # they bear no label of ours
                found = [o for o in found if self._env["ns"] in json.dumps(o)]
            raw[resource] = [o for o in found if o["metadata"]["name"] != "openshift-service-ca.crt"]
            if resource.lstrip("@").partition("/")[0] in _NAMING:
                self._nodes.names |= {o["metadata"]["name"] for o in found}
        normal, out = self._normal(), {}
        for resource, found in raw.items():
            if resource.partition("/")[0] == "events" and all("reason" in o for o in found):
                shown = [o for o in found if _is_shown(o["reason"], step)]
                out[resource] = counted(shown, normal.event, once=True)
            else:
                out[resource] = counted(found, normal.object)
        return out


def _is_shown(reason: str, step: Obj) -> bool:
    return reason not in NOISE and reason not in (step.get("not") or ()) and reason in (step.get("only") or (reason,))


def _holds(wanted: Obj, answer: Response) -> bool:
    if "code" in wanted:
        return bool(answer.status == wanted["code"])
    if answer.status != 200:
        return False
    if "count" in wanted:
        return len(answer.body.get("items") or []) == wanted["count"]
    value = _look(answer.body, wanted["at"])
    if "is" in wanted:
        return bool(value == wanted["is"])
    return bool(value != wanted["not"]) if "not" in wanted else wanted["has"] in json.dumps(value)


@asynccontextmanager
async def a_cluster() -> AsyncIterator[tuple[Cluster, VirtualClock]]:
    """An API server with all controllers and nothing else, in virtual time."""
    clock = VirtualClock(start=RECORDED, grace=0.0)
    with tempfile.TemporaryDirectory() as folder:
        hub = ApiHub(Settings(Path(folder), listen=False), clock=clock, store=MemoryStore(clock))
        cluster = Cluster(hub, Spokes(scheduler=False, nodes=0))
        async with cluster.running():
            yield cluster, clock


async def play(area: str) -> list[str]:
    """Play all scenarios of an area side by side; what differs from the recording."""
    async with a_cluster() as (cluster, clock):
        transport = cluster.hub.transport("admin", "system:masters", agent="pytest")
        plays = [Play(transport, clock, scenario, f"c{n}") for n, scenario in enumerate(scenarios()[area])]
        tasks = [asyncio.create_task(p.run()) for p in plays]
        await clock.run_until(lambda: all(t.done() for t in tasks), 3600)
        await asyncio.gather(*tasks)
        return [d for p in plays for d in p.differences]

"""The scheduler's and the nodes' part of a recorded scenario: pods are bound, run and end as its rules say."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from pilothouse.client.interface import Transport
from pilothouse.clock import Clock, rfc3339

from .converge_normal import SUFFIX, Obj

#: An accept header that asks for plain JSON even where the hub could hand out its own objects.
JSON = "application/json,application/json;as=Table;v=v1;g=meta.k8s.io"
TICK = 0.2
_MERGE, _STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
_ENDED = ("Succeeded", "Failed")


class Nodes:
    """Those of one namespace; and what was seen there of generated names and hashes."""

    def __init__(self, transport: Transport, clock: Clock, ns: str) -> None:
        self._transport = transport
        self._clock = clock
        self._ns = ns
        self._turn = self._count = 0
        self._done: dict[str, str] = {}
        self._ips: dict[str, str] = {}
        self._seen: dict[tuple[str, str], list[str]] = {}
        self.bind: list[str] = []
        self.pool: set[str] = set()
        self.rules: list[Obj] = [{"do": "pending"}]
        self.finish: Any = True
        self.names: set[str] = set()
        self.hashes: dict[str, str] = {}

    async def _items(self, path: str) -> list[Obj]:
        answer = await self._transport.request("GET", path, accept=JSON)
        return (answer.body.get("items") or []) if answer.status == 200 else []

    async def run(self) -> None:
        tick = 0
        while True:
            if tick % 2 == 0:
                await self.look_at_hashes()
            pods = await self._items(f"/api/v1/namespaces/{self._ns}/pods")
            pods.sort(key=lambda p: (p["metadata"]["creationTimestamp"], len(p["metadata"]["name"]), p["metadata"]["name"]))
            for pod in pods:
                await self._play(pod)
            tick += 1
            await self._clock.sleep(TICK)

    # Names ------------------------------------------------------------------------------------------------------------

    async def look_at_hashes(self) -> None:
        base = f"/apis/apps/v1/namespaces/{self._ns}"
        sets = await self._items(f"{base}/replicasets")
        sets.sort(key=lambda o: int((o["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", "0")))
        revisions = sorted(await self._items(f"{base}/controllerrevisions"), key=lambda o: o["revision"])
        for each in sets:
            self._note(each, "hash", (each["metadata"].get("labels") or {}).get("pod-template-hash", ""))
        for each in revisions:
            labels = each["metadata"].get("labels") or {}
            mark = labels.get("controller.kubernetes.io/hash") or labels.get("controller-revision-hash") or ""
            self._note(each, "rev", mark)

    def _note(self, obj: Obj, kind: str, mark: str) -> None:
        meta = obj["metadata"]
        self.names.add(meta["name"])
        if len(mark) < 5 or mark in self.hashes or not meta["name"].endswith(mark):
            return
        owner = next((r["name"] for r in meta.get("ownerReferences") or ()), "") or meta["name"][: -len(mark) - 1]
        known = self._seen.setdefault((kind, owner), [])
        known.append(mark)
        self.hashes[mark] = f"<{kind}:{len(known)}>"

    # Pods -------------------------------------------------------------------------------------------------------------

    def _rule(self, pod: Obj) -> Obj:
        labels = pod["metadata"].get("labels") or {}
        for rule in self.rules:
            wanted = rule.get("if") or {}
            if "name" in wanted and not re.search(wanted["name"], pod["metadata"]["name"]):
                continue
            if "image" in wanted and not any(re.search(wanted["image"], c["image"]) for c in pod["spec"]["containers"]):
                continue
            if (wanted.get("labels") or {}).items() <= labels.items():
                return rule
        return {"do": "pending"}

    async def _play(self, pod: Obj) -> None:
        meta, status = pod["metadata"], pod["status"]
        path = f"/api/v1/namespaces/{self._ns}/pods/{meta['name']}"
        rule = self._rule(pod)
        if meta.get("deletionTimestamp"):
            await self._end(path, pod)
            return
        if not pod["spec"].get("nodeName") and not await self._bound(path, pod, rule):
            return
        state = json.dumps(rule, sort_keys=True)
        waits = rule["do"] in ("pending", "unbound") or self._done.get(meta["uid"]) == state or status.get("phase") in _ENDED
        if waits:
            return
        answer = await self._transport.request(
            "PATCH", f"{path}/status", body={"status": self._status(pod, rule)}, content_type=_STRATEGIC
        )
        if answer.status == 200:
            self._done[meta["uid"]] = state

    async def _end(self, path: str, pod: Obj) -> None:
        if not self.finish or not pod["spec"].get("nodeName"):
            return
        if isinstance(self.finish, str) and pod["status"].get("phase") not in _ENDED:
            await self._transport.request("PATCH", f"{path}/status", body={"status": {"phase": self.finish}}, content_type=_MERGE)
        if pod["metadata"].get("deletionGracePeriodSeconds"):
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
            await self._transport.request("DELETE", path, body=options)

    async def _bound(self, path: str, pod: Obj, rule: Obj) -> bool:
        if rule["do"] == "unbound" or pod["status"].get("phase") in _ENDED or pod["spec"].get("schedulingGates"):
            return False
        node = rule.get("node") or self._pick(pod)
        if not node:
            return False
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod["metadata"]["name"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        return (await self._transport.request("POST", f"{path}/binding", body=body)).status in (200, 201)

    def _pick(self, pod: Obj) -> str:
        affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        for term in required.get("nodeSelectorTerms") or ():
            for field in term.get("matchFields") or ():
                if field["key"] == "metadata.name":
                    return str(field["values"][0])
        if not self.bind:
            return ""
        ordinal = re.search(r"-(\d+)$", pod["metadata"]["name"])
        if ordinal and not pod["metadata"].get("generateName", "").endswith(ordinal[0][1:]):
            return self.bind[int(ordinal[1]) % len(self.bind)]
        self._turn += 1
        return self.bind[(self._turn - 1) % len(self.bind)]

    def _ip(self, pod: Obj) -> str:
        meta = pod["metadata"]
        if meta["uid"] not in self._ips:
            prefix = meta.get("generateName")
            if prefix and re.fullmatch(re.escape(prefix) + SUFFIX, meta["name"]):
                self._count += 1
                self._ips[meta["uid"]] = f"10.250.{self._count // 250}.{self._count % 250 + 1}"
            else:
                n = zlib.crc32(meta["name"].encode())
                self._ips[meta["uid"]] = f"10.251.{n % 250}.{n // 250 % 250 + 1}"
        return self._ips[meta["uid"]]

    def _status(self, pod: Obj, rule: Obj) -> Obj:
        do, at = rule["do"], rfc3339(self._clock.now())
        ready, phase = do == "ready", {"succeed": "Succeeded", "fail": "Failed"}.get(do, "Running")
        code = 0 if do == "succeed" else rule.get("exit", 1)
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "startedAt": at, "finishedAt": at}
        state: Obj = {"running": {"startedAt": at}} if phase == "Running" else {"terminated": ended}
        reason = {"succeed": "PodCompleted", "fail": "PodFailed"}.get(do, "ContainersNotReady")
        why = {} if ready else {"reason": reason}
        conditions: list[Obj] = [{"type": "Initialized", "status": "True", "lastTransitionTime": at}]
        value = "True" if ready else "False"
        conditions += [{"type": t, "status": value, "lastTransitionTime": at, **why} for t in ("Ready", "ContainersReady")]
        conditions += [{"lastTransitionTime": at, **c} for c in rule.get("conditions") or ()]
        containers = [
            {"name": c["name"], "image": c["image"], "imageID": "", "ready": ready, "started": phase == "Running",
             "restartCount": rule.get("restarts", 0), "state": state}
            for c in pod["spec"]["containers"]
        ]  # fmt: skip
        ip = self._ip(pod)
        out = {
            "phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "10.252.0.1", "hostIPs": [{"ip": "10.252.0.1"}],
            "startTime": at, "conditions": conditions, "containerStatuses": containers,
        }  # fmt: skip
        return {**out, "reason": rule["reason"]} if "reason" in rule else out

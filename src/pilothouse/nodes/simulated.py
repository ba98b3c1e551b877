"""Simulated nodes, honest about it: they register as `...+pilothouse.sim`, renew their Leases, and walk pods through their phases.

One manager plays any number of nodes with one informer on pods and one timer wheel, so that a thousand nodes at rest cost a Lease
renewal each ten seconds and nothing else. What happens to a pod is decided by `lifecycle.advance`, a pure function. With `serve`, pods that
declare ports answer on sockets (`serve/`), and take a moment to stop, so that load balancers have left them before.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pilothouse import KUBERNETES_VERSION
from pilothouse.client.events import EventRecorder, reference
from pilothouse.client.informer import InformerFactory
from pilothouse.client.interface import Transport
from pilothouse.clock import Clock, rfc3339, rfc3339_micro
from pilothouse.nodes import usage
from pilothouse.nodes.lifecycle import Happening, PodRun, advance, pre_stop

if TYPE_CHECKING:
    from pilothouse.nodes.serve.listeners import Listeners

log = logging.getLogger("pilothouse.nodes")

Obj = dict[str, Any]

VERSION = f"{KUBERNETES_VERSION}+pilothouse.sim"
LEASE_SECONDS, RENEW_SECONDS, STATUS_SECONDS = 40, 10.0, 300.0
WORKERS = 16
#: Seconds that a pod that serves takes to stop: what it takes at most until EndpointSlices and load balancers have followed its deletion.
SERVED_STOP_DELAY = 1.0
#: Where that takes longer, clients still come: so many seconds after the last one, and at most so many in all.
QUIET, LONGEST_STOP_DELAY = 1.0, 10.0
#: Where the hub says whether it wants to know what pods use, and when to ask again one that does not know what that is.
USAGE_PATH, USAGE_RETRY_SECONDS = "/pilothouse/node-usage", 300.0
_SMP = "application/strategic-merge-patch+json"
#: What a kubelet of this version declares with the features that are on by default (KEP-5328); a simulated pod does not miss any of them.
DECLARED_FEATURES = ("ExtendWebSocketsToKubelet", "GuaranteedQoSPodCPUResize", "RestartAllContainersOnContainerExits")

#: Borne by a node that no cloud has looked at yet.
UNINITIALIZED = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What the simulated nodes are like. `startup_delay` in seconds is what starting a container takes.

    `serve`: pods answer on sockets, which needs real time.
    """

    count: int = 1
    prefix: str = "node-"
    capacity: Mapping[str, str] = field(
        default_factory=lambda: {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    )
    labels: Mapping[str, str] = field(default_factory=dict)
    zones: int = 3
    startup_delay: float = 0.0
    #: Wait for a cloud-controller-manager to say what the nodes are, as a kubelet with --cloud-provider=external does.
    external: bool = False
    serve: bool = False


class SimulatedNodes:
    """Plays `options.count` nodes. `run` works until cancelled."""

    def __init__(self, transport: Transport, clock: Clock, options: NodeOptions | None = None) -> None:
        self._transport = transport
        self._clock = clock
        self._options = options or NodeOptions()
        width = max(1, len(str(self._options.count)))
        self.names = [f"{self._options.prefix}{n:0{width}d}" for n in range(1, self._options.count + 1)]
        self._index = {name: n for n, name in enumerate(self.names)}
        self._runs: dict[str, PodRun] = {}  # pod uid
        self._pods: dict[str, Obj] = {}
        self._due: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._ips = itertools.count(2)
        self._work: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._timer: Any = None
        self._taken: set[str] = set()  # addresses of pods, also of those that others run
        self._events = EventRecorder(transport, clock, "kubelet")
        self._listeners = self._listen() if self._options.serve else None
        self._block = 0

    def _listen(self) -> Listeners:
        from pilothouse.nodes.serve.listeners import Listeners

        return Listeners(self._clock, self._secret)

    async def _secret(self, namespace: str, name: str) -> Obj | None:
        answer = await self._transport.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return answer.body if answer.status == 200 else None

    async def run(self) -> None:
        if self._listeners is None:
            return await self._run()
        self._listeners.start()
        self._block = self._listeners.block
        try:
            await self._run()
        finally:
            self._listeners.stop()

    async def _run(self) -> None:
        informers = InformerFactory(self._transport, self._clock)
        pods = informers.informer("/api/v1/pods")
        await self._each(self._register)
        pods.add_handler(self._on_pod)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(self._renew_forever())
            group.create_task(self._tell_usage_forever())
            group.create_task(self._events.run())
            for _ in range(WORKERS):
                group.create_task(self._work_forever())

    async def _each(self, action: Any) -> None:
        """Do something for all nodes, a few at a time."""
        todo = iter(self.names)

        async def worker() -> None:
            for name in todo:
                await action(name)

        await asyncio.gather(*(worker() for _ in range(WORKERS)))

    # --- the node --------------------------------------------------------------------------------------------------------------------

    def _host_ip(self, name: str) -> str:
        n = self._index[name]
        return f"10.{192 + (self._block + n // 65536) % 64}.{n // 256 % 256}.{n % 256}"

    async def _register(self, name: str) -> None:
        labels = {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "pilothouse.dev/simulated": "true",
            "topology.kubernetes.io/zone": f"zone-{'abcdefghijklmnopqrstuvwxyz'[self._index[name] % max(1, self._options.zones) % 26]}",
            **self._options.labels,
        }  # fmt: skip
        if self._options.external:  # where it is, the cloud knows
            labels = {k: v for k, v in labels.items() if k != "topology.kubernetes.io/zone" or k in self._options.labels}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
        if self._options.external:
            node["spec"] = {"taints": [UNINITIALIZED]}
        answer = await self._transport.request("POST", "/api/v1/nodes", body=node)
        if answer.status not in (201, 409):
            raise RuntimeError(f"cannot register node {name}: {answer.body}")
        await self._report(name)
        await self._renew(name)

    async def _report(self, name: str) -> None:
        now = rfc3339(self._clock.now())
        told = {
            "MemoryPressure": "KubeletHasSufficientMemory",
            "DiskPressure": "KubeletHasNoDiskPressure",
            "PIDPressure": "KubeletHasSufficientPID",
        }
        conditions = [
            {"type": t, "status": "False", "reason": r, "message": "simulated", "lastHeartbeatTime": now} for t, r in told.items()
        ]
        conditions.append(
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "simulated node is ready",
                "lastHeartbeatTime": now,
            }
        )
        known = await self._transport.request("GET", f"/api/v1/nodes/{name}")
        before = {c["type"]: c for c in (known.body.get("status") or {}).get("conditions") or ()} if known.status == 200 else {}
        for c in conditions:
            old = before.get(c["type"]) or {}
            kept: str = old.get("lastTransitionTime") or now
            c["lastTransitionTime"] = kept if old.get("status") == c["status"] else now
        status = {
            "capacity": dict(self._options.capacity), "allocatable": dict(self._options.capacity), "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": self._host_ip(name)}, {"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": VERSION, "osImage": "simulated", "kernelVersion": "simulated", "operatingSystem": "linux",
                         "architecture": "amd64", "containerRuntimeVersion": "simulated://1.0", "machineID": name, "systemUUID": name,
                         "bootID": name, "kubeProxyVersion": ""},
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "declaredFeatures": list(DECLARED_FEATURES),
        }  # fmt: skip
        if self._options.external and known.status == 200 and (known.body.get("status") or {}).get("addresses"):
            del status["addresses"]  # the cloud's word counts, once it has been heard
        await self._transport.request("PATCH", f"/api/v1/nodes/{name}/status", body={"status": status}, content_type=_SMP)

    async def _renew_forever(self) -> None:
        last_report = self._clock.monotonic()
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            try:
                await self._each(self._renew)
                if self._clock.monotonic() - last_report >= STATUS_SECONDS:
                    last_report = self._clock.monotonic()
                    await self._each(self._report)
            except OSError as error:
                log.warning("nodes could not report: %s", error)

    async def _renew(self, name: str) -> None:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": rfc3339_micro(self._clock.now())}
        merge = "application/merge-patch+json"
        answer = await self._transport.request("PATCH", f"{path}/{name}", body={"spec": spec}, content_type=merge)
        if answer.status == 404:
            await self._transport.request("POST", path, body={"metadata": {"name": name}, "spec": spec})

    async def _tell_usage_forever(self) -> None:
        """Report what pods use, whenever the hub wants to know; other API servers do not, and are asked again only rarely."""
        wanted = False
        while True:
            body: Obj = {"reporter": self.names[0] if self.names else ""}
            if wanted:
                requests = self._listeners.loads() if self._listeners is not None else None
                body["report"] = usage.report(self.names, self._pods.values(), self._clock.now(), requests)
            pause = 0.0
            try:
                answer = await self._transport.request("POST", USAGE_PATH, body=body)
                wanted = answer.status == 200 and bool(answer.body.get("wanted"))
                pause = 0.0 if answer.status == 200 else USAGE_RETRY_SECONDS
            except OSError as error:
                log.info("usage could not be reported: %s", error)
                pause = RENEW_SECONDS
            if pause:
                await self._clock.sleep(pause)

    # --- the pods --------------------------------------------------------------------------------------------------------------------

    def _on_pod(self, old: Obj | None, new: Obj | None) -> None:
        ip = ((new or old or {}).get("status") or {}).get("podIP")
        if ip:
            (self._taken.add if new is not None else self._taken.discard)(ip)
        if new is None:
            assert old is not None
            uid = old["metadata"]["uid"]
            self._runs.pop(uid, None)
            self._pods.pop(uid, None)
            if self._listeners is not None:
                self._listeners.close(uid)
        elif new["spec"].get("nodeName") in self._index:
            uid = new["metadata"]["uid"]
            known = self._pods.get(uid)
            self._pods[uid] = new
            if known is None or known["metadata"] != new["metadata"]:
                self._touch(uid)

    def _touch(self, uid: str) -> None:
        if uid not in self._queued:
            self._queued.add(uid)
            self._work.put_nowait(uid)

    def _later(self, uid: str, when: float) -> None:
        heapq.heappush(self._due, (when, next(self._order), uid))
        if self._due[0][2] == uid:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(self._due[0][0] - self._clock.now(), self._fire) if self._due else None

    def _fire(self) -> None:
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            self._touch(heapq.heappop(self._due)[2])
        self._arm()

    async def _work_forever(self) -> None:
        while True:
            uid = await self._work.get()
            self._queued.discard(uid)
            pod = self._pods.get(uid)
            if pod is None:
                continue
            try:
                await self._sync(uid, pod)
            except OSError as error:
                log.warning("pod %s: %s", pod["metadata"]["name"], error)
                self._later(uid, self._clock.now() + 1)

    async def _sync(self, uid: str, pod: Obj) -> None:
        status = pod.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]:
            return
        now = self._clock.now()
        run = self._runs.get(uid)
        host_ip = self._host_ip(pod["spec"]["nodeName"])
        if run is None:
            run = self._runs[uid] = PodRun(accepted=now, ip=self._ip_of(pod, host_ip))
        stop_delay = self._stop_delay(uid, pod, run) if self._listeners is not None and _has_ports(pod) else 0.0
        step = advance(pod, run, now, self._options.startup_delay, host_ip, stop_delay)
        if self._listeners is not None and _has_ports(pod):
            await self._listeners.follow(uid, pod, _running(run), run.ip, host_ip)
        for happening in step.events:
            self._record(pod, happening)
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if step.gone:
            if _is_awaited(pod) and not _told(status, step.status):
                await self._tell_pod(path, uid, step.status)
            await self._transport.request("DELETE", path, body={"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
            return
        if step.next_at != float("inf"):
            self._later(uid, step.next_at)
        if _told(status, step.status):
            return  # as it is after every report: the hub's own event of it brings the pod back here
        await self._tell_pod(path, uid, step.status)

    async def _tell_pod(self, path: str, uid: str, status: Obj) -> None:
        body = {"metadata": {"uid": uid}, "status": status}
        await self._transport.request("PATCH", f"{path}/status", body=body, content_type=_SMP)

    def _stop_delay(self, uid: str, pod: Obj, run: PodRun) -> float:
        """Seconds that a pod that serves goes on doing so after its sleep before the end."""
        last = self._listeners.last_arrival(uid) if self._listeners is not None else None
        if last is None or run.killed_at is None:
            return SERVED_STOP_DELAY
        return min(max(SERVED_STOP_DELAY, last + QUIET - run.killed_at - pre_stop(pod)), LONGEST_STOP_DELAY)

    def _record(self, pod: Obj, what: Happening) -> None:
        about = {**reference(pod, "v1", "Pod"), "fieldPath": f"spec.containers{{{what.container}}}"}
        self._events.record(about, what.type, what.reason, what.message, host=pod["spec"]["nodeName"])

    def _ip_of(self, pod: Obj, host_ip: str) -> str:
        """Its node's address, that which it had before these nodes were started anew, or the next free one."""
        if pod["spec"].get("hostNetwork"):
            return host_ip
        known: str = (pod.get("status") or {}).get("podIP") or ""
        return known or next(ip for ip in self._free_ips() if ip not in self._taken)

    def _free_ips(self) -> Iterator[str]:
        for n in self._ips:
            yield f"10.{64 + (self._block + n // 65536) % 64}.{n // 256 % 256}.{n % 256}"


def _has_ports(pod: Obj) -> bool:
    """Whether a container declares a port."""
    spec = pod["spec"]
    return any(c.get("ports") for c in spec["containers"]) or any(c.get("ports") for c in spec.get("initContainers") or ())


def _running(run: PodRun) -> Iterator[str]:
    """The containers that run, sidecars among them."""
    return (name for states in (run.main, run.init) for name, state in states.items() if state.running)


def _is_awaited(pod: Obj) -> bool:
    """Whether somebody wants to know how a deleted pod ended. A kubelet tells it of all; for servers that only costs a write more."""
    return bool(pod["metadata"].get("finalizers")) or pod["spec"].get("restartPolicy") in ("Never", "OnFailure")


def _told(known: Obj, status: Obj) -> bool:
    """Whether a pod's status, as the hub has it, says everything that this one says."""
    return all(_same(known.get(key), value) for key, value in status.items())


def _same(known: Any, value: Any) -> bool:
    """The hub writes zero values that nobody sent and may keep lists by key in another order: only what is said here counts."""
    if isinstance(value, dict):
        return isinstance(known, dict) and all(_same(known.get(key), item) for key, item in value.items())
    if isinstance(value, list):
        return isinstance(known, list) and len(known) == len(value) and all(map(_same, known, value))
    return bool(known == value)

"""The controller manager killed again and again in the middle of its work: what is asked for comes about, and nothing beside it.

The hub, the scheduler and simulated nodes run here; the manager is a process of its own that gets SIGKILL fifty times while Deployments are rolled, Jobs
run and namespaces are deleted.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from killed_manager import Manager

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.assembly import Settings
from pilothouse.client.client import DEPLOYMENTS, NAMESPACES, PODS, Client, Resource
from pilothouse.clock import SystemClock
from pilothouse.cluster import ApiHub, Cluster, Spokes
from pilothouse.store.memory import MemoryStore

Obj = dict[str, Any]
JOBS = Resource("batch", "v1", "jobs")
CONFIG_MAPS = Resource("", "v1", "configmaps")
CLOCK = SystemClock()
KILLS = 50
REPLICAS, SURGE = 4, 1
COMPLETIONS = 6


class Readiness:
    """Follows the pods, and remembers how many of each Deployment were ready at most."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self._ready: dict[str, set[str]] = {}

    async def follow(self, client: Client) -> None:
        async for batch in client.watch(PODS, "crash"):
            for event in batch:
                meta, app = event.object["metadata"], (event.object["metadata"].get("labels") or {}).get("app", "")
                conditions = (event.object.get("status") or {}).get("conditions") or ()
                ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
                members = self._ready.setdefault(app, set())
                (members.add if ready and event.type != "DELETED" and not meta.get("deletionTimestamp") else members.discard)(
                    meta["uid"]
                )
                self.most[app] = max(self.most[app], len(members))


def deployment(name: str, image: str) -> Obj:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": SURGE, "maxUnavailable": 0}}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": name}}, "strategy": rolling, "template": template}
    return {"metadata": {"name": name, "namespace": "crash"}, "spec": spec}


def job(name: str) -> Obj:
    notes = {"pilothouse.dev/run-for": "0.2"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "work:1"}]}
    spec = {"completions": COMPLETIONS, "parallelism": 3, "template": {"metadata": {"annotations": notes}, "spec": pod}}
    return {"metadata": {"name": name, "namespace": "crash"}, "spec": spec}


async def until(condition: Any, seconds: float = 90.0) -> None:
    end = CLOCK.monotonic() + seconds
    while not await condition():
        assert CLOCK.monotonic() < end, condition.__name__
        await asyncio.sleep(0.1)


async def stir(client: Client, dice: random.Random, turn: int, images: dict[str, str]) -> None:
    """One more thing to do for whoever is just being killed."""
    name = dice.choice(sorted(images))
    images[name] = f"app:{turn}"
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": images[name]}]}}}}
    await client.patch(DEPLOYMENTS, name, patch, "crash")
    if turn % 5 == 0:
        await client.create(JOBS, job(f"job-{turn}"))
    if turn % 10 == 0:
        await client.create(NAMESPACES, {"metadata": {"name": f"doomed-{turn}"}})
        for n in range(20):
            await client.create(CONFIG_MAPS, {"metadata": {"name": f"m-{n}", "namespace": f"doomed-{turn}"}})
        await client.delete(NAMESPACES, f"doomed-{turn}")


@pytest.mark.xdist_group("manager-crashes")
async def test_fifty_kills_leave_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    hub = ApiHub(Settings(cert_dir=tmp_path / "pki", port=0), clock=CLOCK, store=MemoryStore(CLOCK))
    dice = random.Random(7)
    async with Cluster(hub, Spokes(controllers=False, nodes=3)).running():
        kubeconfig = tmp_path / "kubeconfig"
        hub.write_kubeconfig(kubeconfig)
        client = Client(hub.transport("admin", "system:masters"), CLOCK)
        manager, readiness = Manager("controller-manager", kubeconfig), Readiness()
        await manager.start()
        await client.create(NAMESPACES, {"metadata": {"name": "crash"}})
        following = asyncio.create_task(readiness.follow(client))
        images = {"a": "app:0", "b": "app:0"}
        for name in images:
            await client.create(DEPLOYMENTS, deployment(name, images[name]))
        for turn in range(KILLS):
            await asyncio.sleep(dice.uniform(0.3, 1.2))  # any moment: from its start to the middle of its work
            await manager.kill()
            await manager.start()
            await stir(client, dice, turn, images)

        async def rolled_out() -> bool:
            found = {d["metadata"]["name"]: d for d in await client.list(DEPLOYMENTS, "crash")}
            return all(
                (d.get("status") or {}).get("observedGeneration") == d["metadata"]["generation"]
                and [d["status"].get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")] == [REPLICAS] * 3
                for d in found.values()
            )

        async def worked_off() -> bool:
            return all((j.get("status") or {}).get("succeeded") == COMPLETIONS for j in await client.list(JOBS, "crash"))

        async def emptied() -> bool:
            return not [n for n in await client.list(NAMESPACES) if n["metadata"]["name"].startswith("doomed")]

        for condition in (rolled_out, worked_off, emptied):
            await until(condition)

        assert all(readiness.most[name] <= REPLICAS + SURGE for name in images), "no pod too many was ever ready"
        pods = [p for p in await client.list(PODS, "crash") if not p["metadata"].get("deletionTimestamp")]
        assert Counter(
            p["spec"]["containers"][0]["image"] for p in pods if p["metadata"]["labels"].get("app") in images
        ) == Counter(dict.fromkeys(images.values(), REPLICAS) if len(set(images.values())) > 1 else {images["a"]: 2 * REPLICAS})
        for each in await client.list(JOBS, "crash"):
            assert [c["type"] for c in each["status"]["conditions"] if c["status"] == "True"] == [
                "SuccessCriteriaMet",
                "Complete",
            ]
            assert not each["status"].get("failed") and not each["status"].get("uncountedTerminatedPods", {}).get("succeeded")
            mine = [p for p in pods if p["metadata"]["labels"].get("batch.kubernetes.io/job-name") == each["metadata"]["name"]]
            assert len(mine) == COMPLETIONS, "no Job counted wrong, and no pod of it too many"
        await no_orphans(client)
        await manager.kill()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def no_orphans(client: Client) -> None:
    """Every object of the namespace whose owner is named has that owner."""
    replica_sets = Resource("apps", "v1", "replicasets")
    owners = {o["metadata"]["uid"] for kind in (DEPLOYMENTS, replica_sets, JOBS) for o in await client.list(kind, "crash")}
    for kind in (replica_sets, PODS):
        for each in await client.list(kind, "crash"):
            try:
                references = (await client.get(kind, each["metadata"]["name"], "crash"))["metadata"].get("ownerReferences") or ()
            except StatusError as error:
                assert error.code == 404
                continue
            assert references and all(r["uid"] in owners for r in references), each["metadata"]["name"]

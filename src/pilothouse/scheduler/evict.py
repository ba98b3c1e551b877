"""Preemption carried out: victims are told why (condition DisruptionTarget, KEP-3329) and deleted, the newcomer's node is noted.

Works beside the decisions: the next pod does not wait for it. The freed room is seen when the victims' deletions come back as events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pilothouse.client.interface import Transport
from pilothouse.clock import Clock, rfc3339
from pilothouse.scheduler.framework import Preemption
from pilothouse.scheduler.podinfo import PodInfo, observed_generation

log = logging.getLogger("pilothouse.scheduler")

Obj = dict[str, Any]
#: Tells an event: in the name of whose profile, about whom, type, reason, message and action.
Record = Callable[[PodInfo, PodInfo, str, str, str, str], None]

#: So many preemptions are carried out at once.
WORKERS = 8


class Evictor:
    """Carries out preemptions, a few at a time."""

    def __init__(self, transport: Transport, clock: Clock, record: Record) -> None:
        self._transport = transport
        self._clock = clock
        self._record = record
        self._work: asyncio.Queue[tuple[PodInfo, Preemption | None, Callable[[], None]]] = asyncio.Queue()

    def make_room(self, pod: PodInfo, preemption: Preemption, done: Callable[[], None]) -> None:
        """Victims leave soon; `done` is called when all have been told."""
        self._work.put_nowait((pod, preemption, done))

    def forget_nomination(self, pod: PodInfo) -> None:
        """The pod is no longer expected on a node."""
        self._work.put_nowait((pod, None, lambda: None))

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._run())

    async def _run(self) -> None:
        while True:
            pod, preemption, done = await self._work.get()
            try:
                await self._nominate(pod, None if preemption is None else preemption.node)
                for victim in preemption.victims if preemption is not None else ():
                    if not victim.terminating:
                        await self._evict(victim, pod, preemption.node if preemption is not None else "")
            except OSError as error:
                log.warning("preemption for %s not finished: %s", pod.key, error)
            finally:
                done()

    async def _nominate(self, pod: PodInfo, node: str | None) -> None:
        await self._patch_status(pod, {"nominatedNodeName": node})

    async def _evict(self, victim: PodInfo, pod: PodInfo, node: str) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{pod.spec.get('schedulerName', '')}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": rfc3339(self._clock.now()),
            **observed_generation(victim),
        }
        await self._patch_status(victim, {"conditions": [condition]})
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": victim.uid}}
        answer = await self._transport.request("DELETE", _path(victim), body=body)
        if answer.status < 300:
            message = f"Preempted by pod {pod.uid} on node {node}"
            self._record(pod, victim, "Normal", "Preempted", message, "Preempting")
        elif answer.status not in (404, 409):
            log.warning("%s not preempted: %s", victim.key, answer.body)

    async def _patch_status(self, pod: PodInfo, status: Obj) -> None:
        answer = await self._transport.request(
            "PATCH",
            _path(pod) + "/status",
            body={"metadata": {"uid": pod.uid}, "status": status},
            content_type="application/strategic-merge-patch+json",
        )
        if answer.status not in (200, 404, 409):
            log.warning("status of %s not written: %s", pod.key, answer.body)


def _path(pod: PodInfo) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"

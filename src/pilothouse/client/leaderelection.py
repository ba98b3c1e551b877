"""Leader election on a Lease (coordination.k8s.io/v1): one holder at a time, 15 s lease, renewed every 2 s, given up after 10 s.

Whether another one's lease has run out is judged by our own clock, from the moment at which its record was last seen to change, so that
clocks need not agree. The leader stops in time even when a request hangs: a renewal that is not through 10 s after the last one is a loss.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from pilothouse.client.client import error_of
from pilothouse.client.interface import Obj, Response, Transport
from pilothouse.clock import Clock, rfc3339_micro

log = logging.getLogger("pilothouse.client")

LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15, 10.0, 2.0
#: Candidates wait up to this part longer, so that they do not ask at the same moment.
JITTER = 1.2


class LeaderElector:
    """Runs something only while the Lease `namespace/name` is held by `identity`."""

    def __init__(self, transport: Transport, clock: Clock, namespace: str, name: str, identity: str) -> None:
        self._transport = transport
        self._clock = clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self.identity = identity
        self._seen: tuple[str, float] = ("", 0.0)  # the holder's record, and when it last changed, by our own clock
        self._held: Obj | None = None  # the Lease as we wrote it last
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then `lead()` until it returns or the lease is lost. The lease is released at the end."""
        while not await self._try():
            await self._clock.sleep(RETRY_SECONDS * (1 + JITTER * self._clock.random.random()))
        log.info("leading: %s as %s", self._name, self.identity)
        self.leading = True
        work = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait((work, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading = False
            for task in (work, renewing):
                task.cancel()
            results = await asyncio.gather(work, renewing, return_exceptions=True)
            await self._within(RENEW_SECONDS, self._release())
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _renew(self) -> None:
        """Renew until that fails for too long."""
        last = self._clock.monotonic()
        while True:
            await self._clock.sleep(RETRY_SECONDS)
            now = self._clock.monotonic()
            if await self._within(last + RENEW_SECONDS - now, self._try()):
                last = now
            elif self._clock.monotonic() - last >= RENEW_SECONDS:
                log.error("leader election lost: %s", self._name)
                return

    async def _within(self, seconds: float, work: Coroutine[Any, Any, bool]) -> bool:
        """The work's result, or False when it takes longer than this."""
        task = asyncio.ensure_future(work)
        timer = self._clock.call_later(seconds, partial(_cancel, task))
        try:
            await asyncio.wait((task,))
        finally:
            timer.cancel()
            task.cancel()
        return not task.cancelled() and task.result()

    async def _try(self) -> bool:
        try:
            return await self._again() or await self._acquire()
        except OSError as error:
            log.info("leader election %s: %s", self._name, error)
            return False

    async def _again(self) -> bool:
        """Renew what we hold, if nobody else wrote meanwhile."""
        if self._held is None:
            return False
        held, self._held = self._held, None
        return await self._put({**held, "spec": self._spec(held["spec"], self._clock.now())})

    async def _acquire(self) -> bool:
        answer = await self._transport.request("GET", self._path)
        if answer.status == 404:
            return await self._create()
        if answer.status != 200:
            log.warning("leader election %s: %s", self._name, error_of(answer.body, answer.status).message)
            return False
        lease, spec = answer.body, answer.body.get("spec") or {}
        record = f"{spec.get('holderIdentity')}/{spec.get('renewTime')}"
        if record != self._seen[0]:
            self._seen = (record, self._clock.monotonic())
        holder = spec.get("holderIdentity") or ""
        duration = spec.get("leaseDurationSeconds") or LEASE_SECONDS
        if holder not in ("", self.identity) and self._clock.monotonic() < self._seen[1] + duration:
            return False
        return await self._put({**lease, "spec": self._spec(spec, self._clock.now())})

    async def _create(self) -> bool:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._name}}
        spec = self._spec({}, self._clock.now())
        return self._holds(await self._transport.request("POST", self._collection, body={**lease, "spec": spec}), 201)

    def _holds(self, answer: Response, success: int) -> bool:
        self._held = answer.body if answer.status == success else None
        return answer.status == success

    def _spec(self, old: Obj, now: float) -> Obj:
        same = old.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": old.get("acquireTime") if same and old.get("acquireTime") else rfc3339_micro(now),
            "renewTime": rfc3339_micro(now),
            "leaseTransitions": (old.get("leaseTransitions") or 0) + (0 if same or not old else 1),
        }

    async def _put(self, lease: Obj) -> bool:
        return self._holds(await self._transport.request("PUT", self._path, body=lease), 200)

    async def _release(self) -> bool:
        """Let the next one have it at once."""
        try:
            answer = await self._transport.request("GET", self._path)
            spec = answer.body.get("spec") or {} if answer.status == 200 else {}
            if spec.get("holderIdentity") != self.identity:
                return False
            now = rfc3339_micro(self._clock.now())
            free = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
            return await self._put({**answer.body, "spec": free})
        except OSError as error:
            log.info("releasing %s: %s", self._name, error)
            return False
        finally:
            self._held = None


def _cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()

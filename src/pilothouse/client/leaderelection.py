"""Leader election on a Lease (coordination.k8s.io/v1): one holder at a time, 15 s lease, renewed every 2 s, given up after 10 s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pilothouse.client.informer import error_of
from pilothouse.client.interface import Obj, Transport
from pilothouse.clock import Clock, rfc3339_micro

log = logging.getLogger("pilothouse.client")

LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15, 10.0, 2.0


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
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then `lead()` until it returns or the lease is lost. The lease is released at the end."""
        while not await self._try():
            await self._clock.sleep(RETRY_SECONDS)
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
            await self._release()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _renew(self) -> None:
        last = self._clock.monotonic()
        while True:
            await self._clock.sleep(RETRY_SECONDS)
            if await self._try():
                last = self._clock.monotonic()
            elif self._clock.monotonic() - last > RENEW_SECONDS:
                log.error("leader election lost: %s", self._name)
                return

    async def _try(self) -> bool:
        try:
            return await self._acquire()
        except OSError as error:
            log.info("leader election %s: %s", self._name, error)
            return False

    async def _acquire(self) -> bool:
        now = self._clock.now()
        answer = await self._transport.request("GET", self._path)
        if answer.status == 404:
            made = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name},
                "spec": self._spec({}, now),
            }
            return (await self._transport.request("POST", self._collection, body=made)).status == 201
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
        return await self._put({**lease, "spec": self._spec(spec, now)})

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
        return (await self._transport.request("PUT", self._path, body=lease)).status == 200

    async def _release(self) -> None:
        """Let the next one have it at once."""
        try:
            answer = await self._transport.request("GET", self._path)
            spec = answer.body.get("spec") or {} if answer.status == 200 else {}
            if spec.get("holderIdentity") == self.identity:
                now = rfc3339_micro(self._clock.now())
                await self._put(
                    {
                        **answer.body,
                        "spec": {**spec, "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now},
                    }
                )
        except OSError as error:
            log.info("releasing %s: %s", self._name, error)

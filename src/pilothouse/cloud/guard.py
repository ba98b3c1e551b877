"""Between controllers and a cloud: a provider whose calls keep to a rate, wait out throttling, end in time and are measured.

Each part has a token bucket of its own (20 calls a second, 30 at once, as Kubernetes' cloud-controller-manager has towards its API
server), so that a burst of nodes does not hold up load balancers. Questions are asked again after a failure, with growing, jittered pauses.
Calls that change something are made once: their controllers tell the user of the failure and try again in their own time. A cloud that
throttles was not asked at all, so everything is asked again after the pause that it wants, in which the whole part is quiet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pilothouse.client.metrics import Counter, Gauge, Histogram
from pilothouse.clock import Clock
from pilothouse.cloud.provider import (
    AddressNotUsable,
    CloudError,
    GatewayPlan,
    Gateways,
    GatewayState,
    ImplementedElsewhere,
    InstanceMetadata,
    InstanceNotFound,
    Instances,
    LoadBalancers,
    Obj,
    Provider,
    RetryAfter,
    Route,
    Routes,
    Surroundings,
    Throttled,
    Zone,
    Zones,
)

T = TypeVar("T")

#: The parts of a provider, which are settings of the controllers under these names.
PARTS = ("instances", "zones", "load_balancers", "routes", "gateways")
#: What is told by an error and is none.
_ANSWERS = (InstanceNotFound, RetryAfter, ImplementedElsewhere, AddressNotUsable)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class TimedOut(CloudError):
    """No answer in time; the call may have had its effect."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a provider is called. Seconds."""

    rate: float = 20.0
    burst: int = 30
    timeout: float = 120.0
    #: How often a question is asked, and a call that was throttled is made.
    attempts: int = 3
    throttled_attempts: int = 8
    first_pause: float = 0.5
    longest_pause: float = 30.0


class Bucket:
    """Tokens that come at a rate; whoever finds none waits for the next one that nobody else waits for."""

    def __init__(self, clock: Clock, rate: float, burst: int) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._spent_until = -burst / rate

    async def take(self) -> None:
        now = self._clock.monotonic()
        self._spent_until = max(self._spent_until, now - self._burst / self._rate) + 1 / self._rate
        if self._spent_until > now:
            await self._clock.sleep(self._spent_until - now)


class Measures:
    """What calls of a provider took, and which failed, under the names that providers give these metrics."""

    def __init__(self, provider: str) -> None:
        name = f"cloudprovider_{provider.replace('-', '_')}_api"
        self.seconds = Histogram(f"{name}_request_duration_seconds", "Seconds that a call took.", ("request",), _BUCKETS)
        self.errors = Counter(f"{name}_request_errors", "Calls that failed.", ("request",))
        self.throttled = Counter(f"{name}_throttled_requests_total", "Calls that the cloud did not want to have.", ("request",))

    def all(self) -> Sequence[Counter | Gauge | Histogram]:
        return (self.seconds, self.errors, self.throttled)


class Caller:
    """Calls of one part."""

    def __init__(self, part: str, clock: Clock, limits: Limits, measures: Measures) -> None:
        self._part = part
        self._clock = clock
        self._limits = limits
        self._measures = measures
        self._bucket = Bucket(clock, limits.rate, limits.burst)
        self._quiet_until = 0.0

    async def ask(self, name: str, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What changes nothing, and so may be asked again."""
        return await self._repeated(name, question, self._limits.attempts)

    async def do(self, name: str, action: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What changes something."""
        return await self._repeated(name, action, 1)

    async def _repeated(self, name: str, make: Callable[[], Coroutine[Any, Any, T]], attempts: int) -> T:
        failed = throttled = 0
        while True:
            await self._bucket.take()
            await self._wait_while_quiet()
            try:
                return await self._measured(f"{self._part}_{name}", make)
            except _ANSWERS:
                raise
            except Throttled as error:
                throttled += 1
                if throttled >= self._limits.throttled_attempts:
                    raise
                pause = error.seconds or self._pause(throttled)
                self._quiet_until = max(self._quiet_until, self._clock.monotonic() + pause)
            except CloudError:
                failed += 1
                if failed >= attempts:
                    raise
                await self._clock.sleep(self._pause(failed))

    async def _wait_while_quiet(self) -> None:
        while (left := self._quiet_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left * (1 + self._clock.random.random() / 10))

    def _pause(self, failures: int) -> float:
        pause = min(self._limits.longest_pause, self._limits.first_pause * 2.0 ** (failures - 1))
        return pause * (0.5 + self._clock.random.random() / 2)

    async def _measured(self, request: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        began = self._clock.monotonic()
        try:
            return await within(self._clock, self._limits.timeout, make())
        except Throttled:
            self._measures.throttled.add(request)
            raise
        except _ANSWERS:
            raise
        except CloudError:
            self._measures.errors.add(request)
            raise
        except OSError as error:
            self._measures.errors.add(request)
            raise CloudError(str(error) or type(error).__name__) from error
        finally:
            self._measures.seconds.observe(self._clock.monotonic() - began, request)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The work's result. TimedOut when it takes longer; it is cancelled then."""
    task = asyncio.ensure_future(work)
    late = False

    def stop() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = clock.call_later(seconds, stop)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:  # what was begun must not go on behind everybody's back
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    finally:
        timer.cancel()
    if late and task.cancelled():
        raise TimedOut(f"no answer within {seconds:g} s")
    return task.result()


class GuardedInstances:
    def __init__(self, inner: Instances, caller: Caller) -> None:
        self._inner, self._caller = inner, caller

    async def exists(self, node: Obj) -> bool:
        return await self._caller.ask("exists", lambda: self._inner.exists(node))

    async def shut_down(self, node: Obj) -> bool:
        return await self._caller.ask("shut_down", lambda: self._inner.shut_down(node))

    async def metadata(self, node: Obj) -> InstanceMetadata:
        return await self._caller.ask("metadata", lambda: self._inner.metadata(node))


class GuardedZones:
    def __init__(self, inner: Zones, caller: Caller) -> None:
        self._inner, self._caller = inner, caller

    async def zone(self, node: Obj) -> Zone:
        return await self._caller.ask("zone", lambda: self._inner.zone(node))


class GuardedLoadBalancers:
    def __init__(self, inner: LoadBalancers, caller: Caller) -> None:
        self._inner, self._caller = inner, caller

    def name(self, cluster: str, service: Obj) -> str:
        return self._inner.name(cluster, service)

    async def get(self, cluster: str, service: Obj) -> Obj | None:
        return await self._caller.ask("get", lambda: self._inner.get(cluster, service))

    async def ensure(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> Obj:
        return await self._caller.do("ensure", lambda: self._inner.ensure(cluster, service, nodes))

    async def update(self, cluster: str, service: Obj, nodes: Sequence[Obj]) -> None:
        await self._caller.do("update", lambda: self._inner.update(cluster, service, nodes))

    async def ensure_deleted(self, cluster: str, service: Obj) -> None:
        await self._caller.do("ensure_deleted", lambda: self._inner.ensure_deleted(cluster, service))


class GuardedRoutes:
    def __init__(self, inner: Routes, caller: Caller) -> None:
        self._inner, self._caller = inner, caller

    async def list(self, cluster: str) -> Sequence[Route]:
        return await self._caller.ask("list", lambda: self._inner.list(cluster))

    async def create(self, cluster: str, route: Route, node: Obj) -> None:
        await self._caller.do("create", lambda: self._inner.create(cluster, route, node))

    async def delete(self, cluster: str, route: Route) -> None:
        await self._caller.do("delete", lambda: self._inner.delete(cluster, route))


class GuardedGateways:
    def __init__(self, inner: Gateways, caller: Caller) -> None:
        self._inner, self._caller = inner, caller

    async def ensure(self, plan: GatewayPlan) -> GatewayState:
        return await self._caller.do("ensure", lambda: self._inner.ensure(plan))

    async def ensure_deleted(self, key: str) -> None:
        await self._caller.do("ensure_deleted", lambda: self._inner.ensure_deleted(key))


class Guarded:
    """A `Provider` over another one. `measures` are the metrics of its calls."""

    def __init__(self, inner: Provider, clock: Clock, limits: Limits | None = None) -> None:
        self.name = inner.name
        self.measures = Measures(inner.name)
        self._inner = inner
        self._clock = clock
        self._limits = limits or Limits()

    async def start(self, around: Surroundings) -> None:
        await self._inner.start(around)

    async def close(self) -> None:
        await self._inner.close()

    def instances(self) -> Instances | None:
        part = self._inner.instances()
        return None if part is None else GuardedInstances(part, self._caller("instances"))

    def zones(self) -> Zones | None:
        part = self._inner.zones()
        return None if part is None else GuardedZones(part, self._caller("zones"))

    def load_balancers(self) -> LoadBalancers | None:
        part = self._inner.load_balancers()
        return None if part is None else GuardedLoadBalancers(part, self._caller("load_balancers"))

    def routes(self) -> Routes | None:
        part = self._inner.routes()
        return None if part is None else GuardedRoutes(part, self._caller("routes"))

    def gateways(self) -> Gateways | None:
        part = self._inner.gateways()
        return None if part is None else GuardedGateways(part, self._caller("gateways"))

    def _caller(self, part: str) -> Caller:
        return Caller(part, self._clock, self._limits, self.measures)

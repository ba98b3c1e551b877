"""What the cloud has been told: a plan is told again only where it has changed, or where it has been carried out in part, or after a while."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pilothouse.clock import Clock
from pilothouse.cloud.provider import GatewayPlan, Gateways, GatewayState

#: Seconds after which the cloud is told a plan again that has not changed, in case that something happened there.
REPEAT = 600.0
#: The same where an address or a port is missing.
RECHECK = 30.0


@dataclass(frozen=True, slots=True)
class _Done:
    plan: GatewayPlan
    state: GatewayState
    at: float


class Carrier:
    """Plans by their keys. All methods raise CloudError as the provider does."""

    def __init__(self, gateways: Gateways, clock: Clock) -> None:
        self._gateways = gateways
        self._clock = clock
        #: None: nothing of it is there. What is not known here may be there from an earlier process.
        self._done: dict[str, _Done | None] = {}

    async def ensure(self, plan: GatewayPlan) -> GatewayState:
        """Addresses that were given before are no reason to tell a plan again."""
        told, now = replace(plan, given=()), self._clock.monotonic()
        done = self._done.get(plan.key)
        if done is not None and done.plan == told and now - done.at < (REPEAT if is_whole(done.state) else RECHECK):
            return done.state
        state = await self._gateways.ensure(plan)
        self._done[plan.key] = _Done(told, state, now)
        return state

    def may_be_there(self, key: str, otherwise: bool = True) -> bool:
        """Whether the cloud has something of a plan; `otherwise` where nothing is known of it."""
        return self._done[key] is not None if key in self._done else otherwise

    async def delete(self, key: str) -> None:
        await self._gateways.ensure_deleted(key)
        self._done[key] = None

    def forget(self, key: str) -> None:
        self._done.pop(key, None)


def is_whole(state: GatewayState) -> bool:
    return bool(state.addresses) and not state.problems

"""How many pods a controller wants, whatever kind it is: from a cache where we follow its kind, else from its scale subresource."""

from __future__ import annotations

from dataclasses import dataclass

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS, Kind
from pilothouse.client.reconcile.kit import Api, Cache, is_not_found
from pilothouse.client.reconcile.objects import Obj, controller_of, uid
from pilothouse.controllers.discovery import resource_of

_FOLLOWED = (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)


class NoScale(Exception):
    """A kind of controller without the scale subresource, or an unknown one; the message says which."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A controller, by uid, and its size."""

    uid: str
    replicas: int


class Scales:
    """`caches`: the kinds that are followed anyway, by kind."""

    def __init__(self, api: Api, caches: dict[Kind, Cache]) -> None:
        self._api = api
        self._caches = caches

    async def of(self, reference: Obj, namespace: str) -> Scale | None:
        """The size of what a pod's owner reference names (for a Deployment's set: the Deployment's). None if it is gone."""
        kind = _followed(reference)
        if kind is None:
            return await self._ask(reference, namespace)
        found = self._caches[kind].get(namespace, reference["name"])
        if found is None or uid(found) != reference["uid"]:
            return None
        boss = controller_of(found) if kind == REPLICA_SETS else None
        if boss is not None:
            return await self.of(boss, namespace)
        replicas = found["spec"].get("replicas")
        return Scale(uid(found), 1 if replicas is None else replicas)

    async def _ask(self, reference: Obj, namespace: str) -> Scale | None:
        """Ask the server. NoScale where there is none."""
        group = reference["apiVersion"].rpartition("/")[0]
        served = await resource_of(self._api, group, reference["kind"])
        if served is None:
            raise NoScale(f'no matches for kind "{reference["kind"]}" in group "{group}"')
        if not served.has_scale:
            name = f"{served.kind.plural}.{group}" if group else served.kind.plural
            raise NoScale(f"{name} does not implement the scale subresource")
        try:
            scale = await self._api.read(served.kind.path(namespace, reference["name"], "scale"))
        except StatusError as error:
            if is_not_found(error):
                return None
            raise
        if scale["metadata"].get("uid") != reference["uid"]:
            return None
        return Scale(reference["uid"], scale.get("spec", {}).get("replicas", 0))


def _followed(reference: Obj) -> Kind | None:
    group = reference["apiVersion"].rpartition("/")[0]
    return next((k for k in _FOLLOWED if k.kind == reference["kind"] and k.group == group), None)

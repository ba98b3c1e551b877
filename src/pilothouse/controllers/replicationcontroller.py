"""replicationcontroller-controller: the ancestor of ReplicaSet; the same work with a simpler selector. Reference: v1."""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import REPLICATION_CONTROLLERS
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers.replicaset import ReplicaSetController
from pilothouse.controllers.selection import Selectors


def _selector(owner: Obj) -> Obj | None:
    """A ReplicationController's selector is a plain map; without one it selects its template's labels."""
    pairs = owner["spec"].get("selector") or (owner["spec"]["template"].get("metadata") or {}).get("labels")
    return {"matchLabels": pairs} if pairs else None


class ReplicationControllerController(ReplicaSetController):
    name = "replicationcontroller-controller"
    kind = REPLICATION_CONTROLLERS
    tells_terminating = False

    def make_selectors(self) -> Selectors:
        return Selectors(_selector)

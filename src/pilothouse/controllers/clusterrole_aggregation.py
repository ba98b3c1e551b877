"""clusterrole-aggregation-controller: an aggregated ClusterRole has the rules of all roles that its selectors match.

Reference: "Using RBAC authorization: aggregated ClusterRoles". The rules are applied on the server's side, so the controller owns
them as a field manager and whoever else writes them is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import CLUSTER_ROLES
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, labels_of
from pilothouse.controllers.selection import compile_selector


def aggregate(role: Obj, roles: Iterable[Obj]) -> list[Obj]:
    """The rules that an aggregated role should have: those of matching roles, in the order of their names, each once."""
    rules: list[Obj] = []
    others = sorted((r for r in roles if r["metadata"]["name"] != role["metadata"]["name"]), key=lambda r: r["metadata"]["name"])
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        matches = compile_selector(selector)
        for other in others:
            if matches(labels_of(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


class ClusterRoleAggregationController(Controller):
    name = "clusterrole-aggregation-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.roles = self.cache(CLUSTER_ROLES)
        self.roles.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        """Any role may belong to any aggregated one; there are few of either."""
        for role in self.roles.list():
            if role.get("aggregationRule"):
                self.enqueue(role)

    async def sync(self, key: str) -> None:
        role = self.roles.get("", key)
        if role is None or not role.get("aggregationRule"):
            return
        rules = aggregate(role, self.roles.list())
        if rules != (role.get("rules") or []):
            body = {
                "apiVersion": CLUSTER_ROLES.api_version,
                "kind": CLUSTER_ROLES.kind,
                "metadata": {"name": key},
                "rules": rules,
            }
            await self.api.patch(CLUSTER_ROLES, "", key, body, "apply")

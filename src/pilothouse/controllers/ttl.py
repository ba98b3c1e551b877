"""ttl-controller: tells each node for how long it may believe its cached Secrets and ConfigMaps, by the size of the cluster.

Reference: annotation `node.alpha.kubernetes.io/ttl`.
"""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, annotations_of

TTL = "node.alpha.kubernetes.io/ttl"
#: Fewest and most nodes of a class of clusters, and its seconds. Classes overlap, so that a cluster at a border does not waver.
_CLASSES = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**63, 300))


def class_for(nodes: int, current: int) -> int:
    """The class (an index) of a cluster of so many nodes that is in class `current` now."""
    while nodes > _CLASSES[current][1]:
        current += 1
    while nodes < _CLASSES[current][0]:
        current -= 1
    return current


class TTLController(Controller):
    name = "ttl-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.nodes = self.cache(NODES)
        self._count = self._class = 0
        self.nodes.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        self._count += (new is not None) - (old is not None)
        before, self._class = self._class, class_for(self._count, self._class)
        if before != self._class:
            for node in self.nodes.list():
                self.enqueue(node)
        if new is not None:
            self.enqueue(new)

    async def sync(self, key: str) -> None:
        node = self.nodes.get("", key)
        seconds = str(_CLASSES[self._class][2])
        if node is not None and annotations_of(node).get(TTL) != seconds:
            await self.api.patch(NODES, "", key, {"metadata": {"annotations": {TTL: seconds}}}, "strategic")

"""FlowSchemas that name a priority level which does not exist: condition Dangling (API Priority and Fairness reference, "FlowSchema").

The condition is applied by the field manager that Kubernetes uses for it.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.apiserver.bootstrap import flowcontrol
from pilothouse.apiserver.upkeep.follower import Follower
from pilothouse.clock import rfc3339

_TOLD = ("status", "reason", "message")


class FlowSchemas(Follower):
    """Keeps the condition of all flow schemas."""

    def follow(self) -> None:
        schemas = self.hub.cache(flowcontrol.GROUP, "flowschemas")
        schemas.subscribe(self._schema_changed)
        self.hub.cache(flowcontrol.GROUP, "prioritylevelconfigurations").subscribe(self._level_changed)
        for entry in schemas.list():
            self.note(entry.obj["metadata"]["name"])

    def _schema_changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        self.note(obj["metadata"]["name"])

    def _level_changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        """Levels that come or go concern the schemas that lead there."""
        if event == "MODIFIED":
            return
        for entry in self.hub.cache(flowcontrol.GROUP, "flowschemas").list():
            if flowcontrol.level_of(entry.obj) == obj["metadata"]["name"]:
                self.note(entry.obj["metadata"]["name"])

    async def look(self, name: str) -> None:
        entry = self.hub.cache(flowcontrol.GROUP, "flowschemas").get("", name)
        if entry is None:
            return
        schema = entry.obj
        exists = (
            self.hub.cache(flowcontrol.GROUP, "prioritylevelconfigurations").get("", flowcontrol.level_of(schema)) is not None
        )
        status = flowcontrol.dangling(schema, exists, rfc3339(self.hub.clock.now()))
        wanted = status["status"]["conditions"][0]
        found: Obj = next((c for c in (schema.get("status") or {}).get("conditions") or () if c.get("type") == "Dangling"), {})
        if all(found.get(key) == wanted[key] for key in _TOLD):
            return
        await self.hub.apply(flowcontrol.GROUP, "flowschemas", status, manager=flowcontrol.CONSUMER, subresource="status")

"""An APIService for each group and version of custom resources, as long as a definition has them (kube-aggregator's autoregistration).

Those with the label automanaged=true are kept as they must be: made anew when somebody deletes them, put right when somebody changes them,
gone with the last definition. Whoever takes the label away takes the object over.
"""

from __future__ import annotations

from pilothouse.api.crd import definition
from pilothouse.api.errors import Obj, StatusError
from pilothouse.apiserver.bootstrap.objects import AUTOMANAGED
from pilothouse.apiserver.interface import Hub
from pilothouse.apiserver.upkeep.apiservices import GROUP, PLURAL
from pilothouse.apiserver.upkeep.follower import Follower

#: Custom resources come after everything that is built in.
_GROUP_PRIORITY, _VERSION_PRIORITY = 1000, 100


class Registrations(Follower):
    """Follows definitions; names are those of API services: version.group."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        #: What each definition has, and how many definitions have it.
        self._by_definition: dict[str, frozenset[str]] = {}
        self._counts: dict[str, int] = {}

    def follow(self) -> None:
        definitions = self.hub.cache(definition.GROUP, definition.PLURAL)
        definitions.subscribe(self._definition_changed)
        services = self.hub.cache(GROUP, PLURAL)
        services.subscribe(self._service_changed)
        for entry in definitions.list():
            self._definition_changed("ADDED", entry.obj, None)
        for entry in services.list():
            if _managed(entry.obj):
                self.note(entry.obj["metadata"]["name"])

    def _definition_changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        name = obj["metadata"]["name"]
        before = self._by_definition.pop(name, frozenset())
        after = frozenset() if event == "DELETED" else _names(obj)
        if after:
            self._by_definition[name] = after
        for changed in before ^ after:
            self._counts[changed] = self._counts.get(changed, 0) + (1 if changed in after else -1)
            if not self._counts[changed]:
                del self._counts[changed]
            self.note(changed)

    def _service_changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        name = obj["metadata"]["name"]
        if name in self._counts and (event == "DELETED" or _managed(obj)):
            self.note(name)

    async def look(self, name: str) -> None:
        entry = self.hub.cache(GROUP, PLURAL).get("", name)
        if name in self._counts:
            if entry is None:
                await self._create(name)
            elif _managed(entry.obj) and entry.obj["spec"] != _spec(name):
                await self.hub.update(GROUP, PLURAL, {**entry.obj, "spec": _spec(name)})
        elif entry is not None and _managed(entry.obj):
            await self.hub.delete(GROUP, PLURAL, name)

    async def _create(self, name: str) -> None:
        metadata = {"name": name, "labels": {AUTOMANAGED: "true"}}
        made = {"kind": "APIService", "apiVersion": f"{GROUP}/v1", "metadata": metadata, "spec": _spec(name)}
        try:
            await self.hub.create(GROUP, PLURAL, made)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise


def _names(crd: Obj) -> frozenset[str]:
    spec = crd["spec"]
    return frozenset(f"{v['name']}.{spec['group']}" for v in spec.get("versions") or () if v.get("served"))


def _spec(name: str) -> Obj:
    version, _, group = name.partition(".")
    return {
        "group": group,
        "version": version,
        "groupPriorityMinimum": _GROUP_PRIORITY,
        "versionPriority": _VERSION_PRIORITY,
    }


def _managed(obj: Obj) -> bool:
    return (obj["metadata"].get("labels") or {}).get(AUTOMANAGED) == "true"

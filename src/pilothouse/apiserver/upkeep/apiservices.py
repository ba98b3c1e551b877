"""APIServices: condition Available, and what requests for a group that another server answers are told.

What this server answers itself is available (reason Local). For others the service, its port and its endpoints are looked at, in the
order and words of kube-aggregator ("Kubernetes API Aggregation Layer"). Left out: requests are not passed on to other servers, so that
even one that could be reached is not available (FailedDiscoveryCheck), and its group answers 503.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pilothouse.api.errors import Obj
from pilothouse.apiserver.interface import Hub
from pilothouse.apiserver.upkeep.follower import Follower
from pilothouse.clock import rfc3339

GROUP, PLURAL = "apiregistration.k8s.io", "apiservices"
_SERVICE_NAME = "kubernetes.io/service-name"
#: status, reason, message
Finding = tuple[str, str, str]
LOCAL: Finding = ("True", "Local", "Local APIServices are always available")


class APIServices(Follower):
    """Keeps the condition of all API services, and knows which groups are not answered here."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        #: (group, version) of what another server answers, by the object's name.
        self._remote: dict[str, tuple[str, str]] = {}
        #: Which API services a service is behind.
        self._behind: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._watching_services = False

    def follow(self) -> None:
        cache = self.hub.cache(GROUP, PLURAL)
        cache.subscribe(self._changed)
        for entry in cache.list():
            self._changed("ADDED", entry.obj, None)

    def is_remote(self, path: str) -> bool:
        """Whether a request's path is another server's to answer."""
        if not self._remote or not path.startswith("/apis/"):
            return False
        group, _, rest = path.removeprefix("/apis/").partition("/")
        return (group, rest.partition("/")[0]) in self._remote.values()

    # --- following ------------------------------------------------------------------------------------------------------------

    def _changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        name = obj["metadata"]["name"]
        for behind in _services((previous, obj)):
            self._behind[behind].discard(name)
            if not self._behind[behind]:
                del self._behind[behind]
        self._remote.pop(name, None)
        if event == "DELETED":
            return
        spec = obj["spec"]
        for behind in _services((obj,)):
            self._behind[behind].add(name)
            self._remote[name] = (spec.get("group", ""), spec.get("version", ""))
            self._watch_services()
        self.note(name)

    def _watch_services(self) -> None:
        """Only from the first API service on that needs it: there are many endpoints in a cluster."""
        if self._watching_services:
            return
        self._watching_services = True
        self.hub.cache("", "services").subscribe(self._service_changed)
        self.hub.cache("discovery.k8s.io", "endpointslices").subscribe(self._endpoints_changed)

    def _service_changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        self._note_behind(obj["metadata"]["namespace"], obj["metadata"]["name"])

    def _endpoints_changed(self, event: str, obj: Obj, previous: Obj | None) -> None:
        self._note_behind(obj["metadata"]["namespace"], (obj["metadata"].get("labels") or {}).get(_SERVICE_NAME, ""))

    def _note_behind(self, namespace: str, name: str) -> None:
        for found in self._behind.get((namespace, name), ()):
            self.note(found)

    # --- judging --------------------------------------------------------------------------------------------------------------

    async def look(self, name: str) -> None:
        entry = self.hub.cache(GROUP, PLURAL).get("", name)
        if entry is None:
            return
        service = entry.obj["spec"].get("service")
        finding = LOCAL if service is None else self._availability(service)
        conditions = with_available(entry.obj, finding, rfc3339(self.hub.clock.now()))
        if conditions is not None:
            status = {**(entry.obj.get("status") or {}), "conditions": conditions}
            await self.hub.update(GROUP, PLURAL, {**entry.obj, "status": status}, subresource="status")

    def _availability(self, ref: Obj) -> Finding:
        namespace, name, port = ref.get("namespace", ""), ref.get("name", ""), ref.get("port", 443)
        entry = self.hub.cache("", "services").get(namespace, name)
        if entry is None:
            return "False", "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
        spec = entry.obj["spec"]
        if spec.get("type") == "ClusterIP":
            ports = [p for p in spec.get("ports") or () if p.get("port") == port]
            if not ports:
                return "False", "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}'
            problem = self._endpoints_problem(namespace, name, ports[0].get("name", ""))
            if problem is not None:
                return problem
        return "False", "FailedDiscoveryCheck", f'service/{name} in "{namespace}" is not asked: requests are not passed on'

    def _endpoints_problem(self, namespace: str, name: str, port: str) -> Finding | None:
        slices = [
            entry.obj
            for entry in self.hub.cache("discovery.k8s.io", "endpointslices").list(namespace)
            if (entry.obj["metadata"].get("labels") or {}).get(_SERVICE_NAME) == name
        ]
        if not slices:
            return "False", "EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"'
        if any(_serves(found, port) for found in slices):
            return None
        return (
            "False",
            "MissingEndpoints",
            f'endpointslices for service/{name} in "{namespace}" have no addresses with port name "{port}"',
        )


def _services(objects: Iterable[Obj | None]) -> set[tuple[str, str]]:
    """The services that these API services name."""
    named = [obj["spec"].get("service") for obj in objects if obj is not None]
    return {(ref.get("namespace", ""), ref.get("name", "")) for ref in named if ref is not None}


def _serves(found: Obj, port: str) -> bool:
    """Whether an EndpointSlice has a ready address with a port of that name."""
    if not any((p.get("name") or "") == port for p in found.get("ports") or ()):
        return False
    return any((e.get("conditions") or {}).get("ready") is not False and e.get("addresses") for e in found.get("endpoints") or ())


def with_available(obj: Obj, finding: Finding, now: str) -> list[Obj] | None:
    """The conditions as they should be; None if they are. The time changes with the status only."""
    conditions = list((obj.get("status") or {}).get("conditions") or ())
    at = next((n for n, c in enumerate(conditions) if c.get("type") == "Available"), len(conditions))
    found = conditions[at] if at < len(conditions) else {}
    status, reason, message = finding
    if (found.get("status"), found.get("reason"), found.get("message")) == finding:
        return None
    since = found.get("lastTransitionTime", now) if found.get("status") == status else now
    conditions[at:] = [
        {"type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message},
        *conditions[at + 1 :],
    ]
    return conditions

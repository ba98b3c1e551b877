"""endpoints-controller: the legacy Endpoints object of each Service with a selector. Reference: Endpoints (v1)."""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import ENDPOINTS
from pilothouse.client.reconcile.kit import Context, is_not_found
from pilothouse.client.reconcile.objects import Obj, is_deleting, key, labels_of, split_key
from pilothouse.controllers import endpoints_plan, service_pods
from pilothouse.controllers.endpointslice import ServicePodsController


class EndpointsController(ServicePodsController):
    name = "endpoints-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.endpoints = self.cache(ENDPOINTS)
        #: Services that were seen to go: their Endpoints go with them, whoever made them.
        self._gone: set[str] = set()
        self.services.add_handler(self._service_changed)
        self.endpoints.add_handler(self._endpoints_changed)

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self._gone.add(key(old))

    def _endpoints_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Put back what somebody removed; and clean up, at start, after Services that went while nobody looked."""
        if new is None and old is not None:
            self.enqueue(old)
        elif old is None and new is not None and self.services.get(*split_key(key(new))) is None:
            self.enqueue(new)

    async def sync(self, key: str) -> None:
        namespace, name = split_key(key)
        service, current = self.services.get(namespace, name), self.endpoints.get(namespace, name)
        if service is None:
            self.forget(key)
            mine = current is not None and labels_of(current).get(endpoints_plan.MANAGED_BY) == endpoints_plan.MANAGER
            if current is not None and (mine or key in self._gone):
                await self._delete(current)
            self._gone.discard(key)
            return
        if not service_pods.selects(service) or is_deleting(service):
            return
        pods = self.selected(service)
        wanted = endpoints_plan.plan(service, pods, current, self.triggers.of(service, pods))
        if wanted is None:
            return
        if current is None:
            await self.api.create(ENDPOINTS, wanted)
        else:
            await self.api.update(ENDPOINTS, wanted)

    async def _delete(self, current: Obj) -> None:
        meta = current["metadata"]
        try:
            await self.api.delete(ENDPOINTS, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})
        except StatusError as error:
            if not is_not_found(error):
                raise

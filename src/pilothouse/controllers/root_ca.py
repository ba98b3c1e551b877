"""root-ca-certificate-publisher-controller: each active namespace has the cluster's CA in ConfigMap `kube-root-ca.crt`.

Pods mount it beside their token to verify the API server. Reference: "Bound service account tokens", KEP-1205.
"""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import CONFIG_MAPS, NAMESPACES
from pilothouse.client.reconcile.kit import Context, Controller, namespace_is_terminating
from pilothouse.client.reconcile.objects import Obj, annotations_of
from pilothouse.controllers.serviceaccount import is_active

NAME = "kube-root-ca.crt"
_DESCRIPTION = "kubernetes.io/description"
_TEXT = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal "
    "service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class RootCAPublisher(Controller):
    name = "root-ca-certificate-publisher-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.certificate = str(context.options["root_ca"])
        self.namespaces = self.cache(NAMESPACES)
        self.maps = self.cache(CONFIG_MAPS)
        self.follow(self.namespaces)
        self.maps.add_handler(self._map_changed)

    def _map_changed(self, old: Obj | None, new: Obj | None) -> None:
        each = new or old or {}
        if each["metadata"]["name"] == NAME:
            self.queue.add(each["metadata"]["namespace"])

    async def sync(self, key: str) -> None:
        namespace = self.namespaces.get("", key)
        if namespace is None or not is_active(namespace):
            return
        current = self.maps.get(key, NAME)
        data = {"ca.crt": self.certificate}
        if current is None:
            await self._create(key, data)
        elif current.get("data") != data or annotations_of(current).get(_DESCRIPTION) != _TEXT:
            notes = {**annotations_of(current), _DESCRIPTION: _TEXT}
            await self.api.update(
                CONFIG_MAPS, {**current, "metadata": {**current["metadata"], "annotations": notes}, "data": data}
            )

    async def _create(self, namespace: str, data: Obj) -> None:
        meta = {"name": NAME, "namespace": namespace, "annotations": {_DESCRIPTION: _TEXT}}
        try:
            await self.api.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
        except StatusError as error:
            if error.reason != "AlreadyExists" and error.code != 404 and not namespace_is_terminating(error):
                raise

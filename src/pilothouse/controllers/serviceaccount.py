"""serviceaccount-controller: each active namespace has a ServiceAccount named `default`. Reference: "Managing service accounts"."""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import NAMESPACES, SERVICE_ACCOUNTS
from pilothouse.client.reconcile.kit import Context, Controller, namespace_is_terminating
from pilothouse.client.reconcile.objects import Obj, is_deleting

DEFAULT = "default"


class ServiceAccountController(Controller):
    name = "serviceaccount-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.cache(NAMESPACES)
        self.accounts = self.cache(SERVICE_ACCOUNTS)
        self.follow(self.namespaces)
        self.accounts.add_handler(self._account_changed)

    def _account_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None and old["metadata"]["name"] == DEFAULT:
            self.queue.add(old["metadata"]["namespace"])

    async def sync(self, key: str) -> None:
        namespace = self.namespaces.get("", key)
        if namespace is None or not is_active(namespace) or self.accounts.get(key, DEFAULT) is not None:
            return
        await create_in(
            self, key, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": key}}
        )


def is_active(namespace: Obj) -> bool:
    """Whether new content may be made in it."""
    return not is_deleting(namespace) and (namespace.get("status") or {}).get("phase", "Active") == "Active"


async def create_in(controller: Controller, namespace: str, account: Obj) -> None:
    """Create unless somebody was faster or the namespace is going."""
    try:
        await controller.api.create(SERVICE_ACCOUNTS, account)
    except StatusError as error:
        if error.reason != "AlreadyExists" and error.code != 404 and not namespace_is_terminating(error):
            raise

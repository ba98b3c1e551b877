"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration: admission decided by others over HTTPS."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.kinds.admissionpolicy import default_rules
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class WebhookConfigurationStrategy(Strategy):
    """Both kinds: they differ in what their webhooks may do, not in shape."""

    allow_unconditional_update = False
    has_generation = True
    metadata_checked_again = frozenset(("common",))
    mutating = False
    columns = (NAME_COLUMN, Column("Webhooks", "integer"), AGE_COLUMN)

    def default(self, obj: Obj) -> None:
        for webhook in obj.get("webhooks") or ():
            _default(webhook)

    def validate(self, obj: Obj) -> list[FieldError]:
        from pilothouse.api.kinds import webhook_checks

        return list(webhook_checks.webhooks(obj.get("webhooks") or [], self.mutating))

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.count(obj.get("webhooks")), table.age(obj, now)]


class MutatingWebhookConfigurationStrategy(WebhookConfigurationStrategy):
    mutating = True

    def default(self, obj: Obj) -> None:
        super().default(obj)
        for webhook in obj.get("webhooks") or ():
            webhook.setdefault("reinvocationPolicy", "Never")


class ValidatingWebhookConfigurationStrategy(WebhookConfigurationStrategy):
    pass


def _default(webhook: Obj) -> None:
    webhook.setdefault("failurePolicy", "Fail")
    webhook.setdefault("matchPolicy", "Equivalent")
    webhook.setdefault("namespaceSelector", {})
    webhook.setdefault("objectSelector", {})
    webhook.setdefault("timeoutSeconds", 10)
    default_rules(webhook.get("rules"))
    service = (webhook.get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)

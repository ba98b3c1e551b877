"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration: admission decided by others over HTTPS."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy


class WebhookConfigurationStrategy(Strategy):
    """Both kinds: they differ in what their webhooks may do, not in shape."""

    allow_unconditional_update = False
    has_generation = True
    columns = (NAME_COLUMN, Column("Webhooks", "integer"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [table.name_of(obj), table.count(obj.get("webhooks")), table.age(obj, now)]


class MutatingWebhookConfigurationStrategy(WebhookConfigurationStrategy):
    pass


class ValidatingWebhookConfigurationStrategy(WebhookConfigurationStrategy):
    pass

"""CustomResourceDefinition: a kind of the users' own."""

from __future__ import annotations

from pilothouse.api.strategy import Strategy


class CustomResourceDefinitionStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",), ("metadata", "annotations"))}  # noqa: RUF012

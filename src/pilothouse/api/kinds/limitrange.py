"""LimitRange: bounds and defaults for what containers, pods and claims of a namespace may ask for."""

from __future__ import annotations

from pilothouse.api.strategy import Strategy


class LimitRangeStrategy(Strategy):
    allow_create_on_update = True

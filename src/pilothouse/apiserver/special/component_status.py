"""componentstatuses: deprecated since 1.19, and there is nothing to tell here: an empty list."""

from __future__ import annotations

from pilothouse.api.errors import not_found_error
from pilothouse.apiserver.interface import SpecialRequest, SpecialResult


async def component_statuses(request: SpecialRequest) -> SpecialResult:
    if request.name:
        raise not_found_error("", "componentstatuses", request.name)
    request.warnings.append("v1 ComponentStatus is deprecated in v1.19+")
    return SpecialResult(200, {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": []})

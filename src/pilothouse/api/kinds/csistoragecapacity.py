"""CSIStorageCapacity: how much of a storage class is left in a part of the cluster (API reference: CSIStorageCapacity)."""

from __future__ import annotations

from pilothouse.api import names, quantity
from pilothouse.api.checks import NOT_NEGATIVE, named
from pilothouse.api.errors import FieldError, Obj, invalid
from pilothouse.api.selectors import validate_label_selector
from pilothouse.api.strategy import Strategy


class CSIStorageCapacityStrategy(Strategy):
    allow_unconditional_update = False

    def validate(self, obj: Obj) -> list[FieldError]:
        out: list[FieldError] = []
        if obj.get("nodeTopology") is not None:
            out += validate_label_selector(obj["nodeTopology"], "nodeTopology")
        name = obj.get("storageClassName") or ""
        out += named("storageClassName", name, names.dns1123_subdomain(name))
        for key in ("capacity", "maximumVolumeSize"):
            value = obj.get(key)
            if value is not None and quantity.sign(value) < 0:
                out.append(invalid(key, value, NOT_NEGATIVE))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        if obj.get("nodeTopology") != old.get("nodeTopology"):
            out.append(invalid("nodeTopology", _shown(obj.get("nodeTopology")), "field is immutable"))
        name = obj.get("storageClassName") or ""
        if name != old.get("storageClassName"):
            out.append(invalid("storageClassName", name, "field is immutable"))
        return out


def _shown(selector: Obj | None) -> Obj | None:
    """The selector as messages show it."""
    if selector is None:
        return None
    out: Obj = {"matchLabels": selector["matchLabels"]} if selector.get("matchLabels") else {}
    if selector.get("matchExpressions"):
        out["matchExpressions"] = [{"key": "", "operator": "", **e} for e in selector["matchExpressions"]]
    return out

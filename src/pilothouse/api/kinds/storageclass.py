"""StorageClass: a kind of storage, and who makes it (API reference: StorageClass)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, table
from pilothouse.api.checks import immutable, named, some_of
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required, too_long
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

DEFAULT_ANNOTATIONS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
MOST_PARAMETERS, LARGEST_PARAMETERS = 512, 256 * 1024


class StorageClassStrategy(Strategy):
    delete_returns_object = True
    columns = (
        NAME_COLUMN, Column("Provisioner"), Column("ReclaimPolicy"), Column("VolumeBindingMode"), Column("AllowVolumeExpansion"), AGE_COLUMN,
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")

    def validate(self, obj: Obj) -> list[FieldError]:
        out = validate_driver(obj.get("provisioner") or "", "provisioner")
        out += validate_parameters(obj.get("parameters") or {}, "parameters")
        out += some_of("reclaimPolicy", obj["reclaimPolicy"] or "Delete", ("Delete", "Retain"))
        out += some_of("volumeBindingMode", obj["volumeBindingMode"], ("Immediate", "WaitForFirstConsumer"))
        return out + _validate_topologies(obj.get("allowedTopologies") or [])

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        out = self.validate(obj)
        out += immutable("parameters", obj.get("parameters"), old.get("parameters"))
        if (obj.get("provisioner") or "") != old.get("provisioner"):
            out.append(invalid("provisioner", obj.get("provisioner") or "", "field is immutable"))
        for key in ("reclaimPolicy", "volumeBindingMode"):
            out += immutable(key, obj[key], old.get(key))
        return out

    def cells(self, obj: Obj, now: float) -> list[Any]:
        return [
            table.marked_default(obj, *DEFAULT_ANNOTATIONS),
            obj.get("provisioner", ""),
            obj.get("reclaimPolicy") or "Delete",
            obj.get("volumeBindingMode") or "Immediate",
            bool(obj.get("allowVolumeExpansion")),
            table.age(obj, now),
        ]


def validate_driver(name: str, path: str) -> list[FieldError]:
    """Errors of a driver's name, which is a qualified one whatever its case."""
    if not name:
        return [required(path)]
    return named(path, name.lower(), names.qualified_name(name.lower()))


def validate_parameters(parameters: dict[str, str], path: str) -> list[FieldError]:
    """Errors of what a driver is told: not too many, not too large, each with a name."""
    if len(parameters) > MOST_PARAMETERS:
        return [too_long(path, MOST_PARAMETERS)]
    out = [invalid(path, key, "field can not be empty.") for key in parameters if not key]
    if sum(names.size(k) + names.size(v) for k, v in parameters.items()) > LARGEST_PARAMETERS:
        out.append(too_long(path, LARGEST_PARAMETERS))
    return out


def _validate_topologies(terms: list[Obj]) -> list[FieldError]:
    """Each term says something, and something else than those before it."""
    out: list[FieldError] = []
    seen: list[dict[str, frozenset[str]]] = [{}]
    for n, term in enumerate(terms):
        path, found = f"allowedTopologies[{n}].matchLabelExpressions", dict[str, frozenset[str]]()
        for m, e in enumerate(term.get("matchLabelExpressions") or ()):
            key, values = e.get("key") or "", e.get("values") or []
            out += _validate_expression(key, values, f"{path}[{m}]")
            if key in found:
                out.append(duplicate(f"{path}[{m}].key", key))
            found[key] = frozenset(values)
        if found in seen:
            out.append(duplicate(path, ""))
        seen.append(found)
    return out


def _validate_expression(key: str, values: list[str], path: str) -> list[FieldError]:
    out = [] if values else [required(f"{path}.values")]
    out += [duplicate(f"{path}.values[{n}]", value) for n, value in enumerate(values) if value in values[:n]]
    return out + named(f"{path}.key", key, names.qualified_name(key))

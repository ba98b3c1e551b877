"""Ingress and IngressClass: HTTP from outside, by host and path."""

from __future__ import annotations

from typing import Any

from pilothouse.api import table
from pilothouse.api.errors import Obj
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_SHOWN = 3


class IngressStrategy(Strategy):
    has_generation = True
    reset_fields = {"": (("status",),), "status": (("spec",),)}  # noqa: RUF012
    columns = (NAME_COLUMN, Column("Class"), Column("Hosts"), Column("Address"), Column("Ports"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        annotated = (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
        named = spec.get("ingressClassName")
        return [
            table.name_of(obj),
            table.or_word(annotated) if named is None else named,
            _hosts(spec.get("rules") or []),
            table.load_balancer(obj.get("status") or {}),
            "80, 443" if spec.get("tls") else "80",
            table.age(obj, now),
        ]


def _hosts(rules: list[Obj]) -> str:
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    return table.more(hosts[:_SHOWN], len(hosts)) if hosts else "*"


class IngressClassStrategy(Strategy):
    has_generation = True
    columns = (NAME_COLUMN, Column("Controller"), Column("Parameters"), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        name = table.marked_default(obj, DEFAULT_CLASS_ANNOTATION)
        return [name, spec.get("controller", ""), _parameters(spec.get("parameters")), table.age(obj, now)]


def _parameters(ref: Obj | None) -> str:
    if not ref:
        return table.NONE
    kind = f"{ref.get('kind', '')}.{ref['apiGroup']}" if ref.get("apiGroup") else ref.get("kind", "")
    return f"{kind}/{ref.get('name', '')}"

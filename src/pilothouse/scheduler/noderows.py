"""Node selector terms evaluated for all rows at once: each expression is compared with interned label values, once per distinct value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pilothouse.api.nodeselectors import matches_expression
from pilothouse.scheduler.table import Mask, NodeTable

Obj = dict[str, Any]


def rows_matching_terms(table: NodeTable, terms: Iterable[Obj]) -> Mask:
    """The rows that satisfy any NodeSelectorTerm (an empty term matches nothing)."""
    out: Mask = np.zeros(table.capacity, dtype=np.bool_)
    for term in terms:
        out |= _rows_of_term(table, term)
    return out


def rows_matching_expressions(table: NodeTable, expressions: Iterable[Obj]) -> Mask:
    """The rows whose labels satisfy all expressions."""
    out: Mask = table.present.copy()
    for expression in expressions:
        out &= _rows_of_expression(table, expression)
    return out


def _rows_of_term(table: NodeTable, term: Obj) -> Mask:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return np.zeros(table.capacity, dtype=np.bool_)
    out = rows_matching_expressions(table, expressions)
    for f in fields:
        out &= _rows_of_field(table, f)
    return out


def _rows_of_expression(table: NodeTable, expression: Obj) -> Mask:
    key, operator = expression["key"], expression["operator"]
    column = table.label_column(key)
    if operator == "Exists":
        return column >= 0
    if operator == "DoesNotExist":
        return column < 0
    if operator in ("In", "NotIn"):
        ids = [table.label_id(key, value) for value in expression.get("values") or ()]
        found: Mask = column == ids[0] if len(ids) == 1 else np.isin(column, ids)
        return found if operator == "In" else ~found
    ids = [i for value, i in table.label_values(key).items() if matches_expression(expression, True, value)]
    return np.isin(column, ids)


def _rows_of_field(table: NodeTable, f: Obj) -> Mask:
    out: Mask = np.zeros(table.capacity, dtype=np.bool_)
    if f["key"] != "metadata.name":
        return out
    for name in f.get("values") or ():
        row = table.by_name.get(name)
        if row is not None:
            out[row.index] = True
    return out if f["operator"] == "In" else ~out

"""Which volumes a pod's unbound claims would get on each node: the smallest that fits, or one that the class can make there.

Pure: the answer is a `Choice`, rows at a time. Rules: Kubernetes documentation, "Volume Binding Mode", "Allowed Topologies",
"Storage Capacity" (KEP-1472).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilothouse.api import quantity
from pilothouse.api.claims import SELECTED_NODE, class_name, requested
from pilothouse.scheduler.claims import CLASSES, NO_PROVISIONER, affinity_terms, annotations_of, candidates
from pilothouse.scheduler.noderows import rows_matching_expressions, rows_matching_terms
from pilothouse.scheduler.stock import CLASS, Stock
from pilothouse.scheduler.table import Ints, Mask, NodeTable
from pilothouse.scheduler.volume_shelf import shelf_of

Obj = dict[str, Any]

DRIVERS, CAPACITIES = "csidrivers", "csistoragecapacities"


@dataclass(slots=True)
class Choice:
    """Per row: whether there is a volume for every claim (`found`) and room for those to be made (`room`)."""

    found: Mask
    room: Mask
    #: For each claim the volumes considered, and per row the index of the one that it would get (-1: one is made).
    matches: list[tuple[Obj, list[Obj], Ints]] = field(default_factory=list)

    def at(self, row: int) -> tuple[list[tuple[Obj, Obj]], list[Obj]]:
        """(claim, volume) pairs to bind on a row, and claims to make volumes for."""
        bind = [(claim, volumes[chosen[row]]) for claim, volumes, chosen in self.matches if chosen[row] >= 0]
        return bind, [claim for claim, _, chosen in self.matches if chosen[row] < 0]


def choose_volumes(claims: Sequence[Obj], table: NodeTable, stock: Stock) -> Choice:
    """Volumes for claims that wait for their consumer; the smallest claim chooses first."""
    choice = Choice(table.present.copy(), table.present.copy())
    for claim in sorted((c for c in claims if not annotations_of(c).get(SELECTED_NODE)), key=requested):
        _match(claim, choice, table, stock)
    for claim in (c for c in claims if annotations_of(c).get(SELECTED_NODE)):
        there = rows_matching_terms(table, [_only(annotations_of(claim)[SELECTED_NODE])])
        choice.found &= there
        choice.matches.append((claim, [], np.full(table.capacity, -1, dtype=np.int64)))
    for claim, _, chosen in choice.matches:
        to_make = (chosen < 0) & table.present
        if to_make.any():
            possible, room = _provisioning(claim, table, stock)
            choice.found &= possible | ~to_make
            choice.room &= room | ~to_make | ~possible
    return choice


def _only(node: str) -> Obj:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}


def _match(claim: Obj, choice: Choice, table: NodeTable, stock: Stock) -> None:
    """The volume that a claim would get on each row, given what the claims before it would."""
    first = not any(class_name(other) == class_name(claim) for other, _, _ in choice.matches)
    if first and not claim["spec"].get("selector"):
        choice.matches.append((claim, *shelf_of(stock, table, class_name(claim)).choose(claim)))
        return
    volumes = candidates(claim, stock)
    chosen = np.full(table.capacity, -1, dtype=np.int64)
    open_rows = table.present.copy()
    earlier = [({v["metadata"]["name"]: i for i, v in enumerate(others)}, taken) for _, others, taken in choice.matches]
    for n, volume in enumerate(volumes):
        terms = affinity_terms(volume)
        rows = open_rows if terms is None else rows_matching_terms(table, terms) & open_rows
        for places, taken in earlier:
            place = places.get(volume["metadata"]["name"])
            if place is not None:
                rows = rows & (taken != place)
        chosen[rows] = n
        open_rows = open_rows & ~rows
        if not open_rows.any():
            break
    choice.matches.append((claim, volumes, chosen))


def _provisioning(claim: Obj, table: NodeTable, stock: Stock) -> tuple[Mask, Mask]:
    """The rows for which the claim's class can make a volume, and those for which there is storage left as far as is known."""
    nowhere: Mask = np.zeros(table.capacity, dtype=np.bool_)
    storage_class = stock.get(CLASSES, "", class_name(claim))
    if storage_class is None or storage_class.get("provisioner") in (None, "", NO_PROVISIONER):
        return nowhere, table.present
    topologies = storage_class.get("allowedTopologies")
    possible = rows_in_topologies(table, topologies) if topologies else table.present.copy()
    return possible, _room(claim, storage_class, table, stock)


def rows_in_topologies(table: NodeTable, terms: Sequence[Obj]) -> Mask:
    """The rows that satisfy any TopologySelectorTerm (an empty term matches every node)."""
    out: Mask = np.zeros(table.capacity, dtype=np.bool_)
    for term in terms:
        listed = [{**e, "operator": "In"} for e in term.get("matchLabelExpressions") or ()]
        out |= rows_matching_expressions(table, listed)
    return out


def _room(claim: Obj, storage_class: Obj, table: NodeTable, stock: Stock) -> Mask:
    wanted = requested(claim)
    driver = stock.get(DRIVERS, "", storage_class["provisioner"])
    if not wanted or driver is None or not (driver.get("spec") or {}).get("storageCapacity"):
        return table.present
    out: Mask = np.zeros(table.capacity, dtype=np.bool_)
    for known in stock.indexed(CAPACITIES, CLASS, storage_class["metadata"]["name"]):
        limit = known.get("maximumVolumeSize") or known.get("capacity")
        if limit is not None and quantity.value(limit) >= wanted and known.get("nodeTopology") is not None:
            out |= rows_matching_expressions(table, _as_expressions(known["nodeTopology"]))
    return out


def _as_expressions(selector: Obj) -> list[Obj]:
    """A label selector as node selector expressions."""
    equal = [{"key": k, "operator": "In", "values": [v]} for k, v in (selector.get("matchLabels") or {}).items()]
    return equal + list(selector.get("matchExpressions") or ())

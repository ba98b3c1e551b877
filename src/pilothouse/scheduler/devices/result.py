"""What a claim was given, as its status carries it (API reference: AllocationResult)."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Any

from pilothouse.scheduler.devices import DEVICE_CLASSES
from pilothouse.scheduler.devices.capacity import shown
from pilothouse.scheduler.devices.requests import Wish
from pilothouse.scheduler.devices.search import Given
from pilothouse.scheduler.stock import Stock

Obj = dict[str, Any]


def allocation_result(wish: Wish, given: Sequence[Given], node: str, stock: Stock, chance: random.Random, now: str) -> Obj:
    """The allocation of one claim."""
    devices: Obj = {"results": [_result(g, chance) for g in given]}
    config = _config(wish, given, stock)
    if config:
        devices["config"] = config
    out: Obj = {"devices": devices, "allocationTimestamp": now}
    selector = node_selector(given, node)
    if selector is not None:
        out["nodeSelector"] = selector
    return out


def _result(given: Given, chance: random.Random) -> Obj:
    driver, pool, device = given.device.id
    out: Obj = {"request": given.option.name, "driver": driver, "pool": pool, "device": device}
    if given.option.admin:
        out["adminAccess"] = True
    if given.option.tolerations:
        out["tolerations"] = list(given.option.tolerations)
    for key in ("bindingConditions", "bindingFailureConditions"):
        if given.device.raw.get(key):
            out[key] = given.device.raw[key]
    if given.consumed is not None:
        out["shareID"] = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        out["consumedCapacity"] = shown(given.device.raw, given.consumed)
    return out


def _config(wish: Wish, given: Sequence[Given], stock: Stock) -> list[Obj]:
    """Configuration of the classes used, then that of the claim as far as it is for requests that were satisfied."""
    out: list[Obj] = []
    options = {g.option.name: g.option for g in given}
    for option in options.values():
        device_class = stock.get(DEVICE_CLASSES, "", option.device_class) or {}
        for entry in (device_class.get("spec") or {}).get("config") or ():
            out.append({"source": "FromClass", "requests": [option.name], **entry})
    names = options.keys() | {name.partition("/")[0] for name in options}
    for entry in wish.config:
        if not entry.get("requests") or not names.isdisjoint(entry["requests"]):
            out.append({"source": "FromClaim", **entry})
    return out


def node_selector(given: Sequence[Given], node: str) -> Obj | None:
    """The nodes from which all devices can be used; None for any node."""
    expressions: list[Obj] = []
    fields: list[Obj] = []
    if any(g.device.place.get("nodeName") or g.device.raw.get("bindsToNode") for g in given):
        return {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}
    for place in (g.device.place for g in given):
        for term in ((place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ())[:1]:
            expressions += [e for e in term.get("matchExpressions") or () if e not in expressions]
            fields += [f for f in term.get("matchFields") or () if f not in fields]
    if not expressions and not fields:
        return None
    parts = {"matchExpressions": expressions, "matchFields": fields}
    return {"nodeSelectorTerms": [{k: v for k, v in parts.items() if v}]}

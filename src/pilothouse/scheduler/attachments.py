"""Which CSI volumes take up an attachment on which node, and how many a node may have (CSINode, VolumeAttachment).

A volume counts once a node however many pods share it. Counts are kept per driver and row, and made anew only for rows whose pods
changed and rows that a changed claim, attachment or CSINode concerns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.api.claims import class_name
from pilothouse.scheduler.claims import CLAIMS, CLASSES, VOLUMES
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import NODE, VOLUME, Stock
from pilothouse.scheduler.table import Ints, NodeTable, Row, RowCache
from pilothouse.scheduler.volumes import MIGRATABLE

Obj = dict[str, Any]

CSI_NODES, ATTACHMENTS = "csinodes", "volumeattachments"
MIGRATED = "storage.alpha.kubernetes.io/migrated-plugins"
_BY_PROVISIONER = {plugin: driver for driver, _, plugin in MIGRATABLE.values()}


@dataclass(frozen=True, slots=True)
class Attachable:
    """A volume that takes up an attachment: `plugin` is the in-tree one in whose name it was made, if it was."""

    driver: str
    handle: str
    plugin: str = ""


def attachables(pod: PodInfo, stock: Stock) -> set[Attachable]:
    """The volumes of a pod that count; claims of which nothing is known count for nothing."""
    if pod.volumes is None:
        return set()
    found = {_in_tree(source, fields) for source, fields in pod.volumes.inline}
    for claim in pod.volumes.claims:
        obj = stock.get(CLAIMS, pod.namespace, claim.name)
        volume = None if obj is None else of_claim(obj, stock)
        if volume is not None:
            found.add(volume)
    return found


def of_claim(claim: Obj, stock: Stock) -> Attachable | None:
    name = (claim.get("spec") or {}).get("volumeName")
    volume = stock.get(VOLUMES, "", name) if name else None
    if volume is not None:
        return of_volume(volume)
    storage_class = stock.get(CLASSES, "", class_name(claim))
    if storage_class is None:
        return None
    provisioner = storage_class["provisioner"]
    handle = f"{claim['metadata'].get('namespace')}/{claim['metadata']['name']}"  # as good as the handle that it will get
    if provisioner in _BY_PROVISIONER:
        return Attachable(_BY_PROVISIONER[provisioner], handle, provisioner)
    return Attachable(provisioner, handle)


def of_volume(volume: Obj) -> Attachable | None:
    csi = volume["spec"].get("csi")
    if csi is not None:
        return Attachable(csi["driver"], csi["volumeHandle"])
    return next((_in_tree(source, volume["spec"][source]) for source in MIGRATABLE if source in volume["spec"]), None)


def _in_tree(source: str, fields: Obj) -> Attachable:
    driver, field, plugin = MIGRATABLE[source]
    return Attachable(driver, str(fields.get(field) or ""), plugin)


def migrated(csi_node: Obj | None) -> frozenset[str]:
    """The in-tree plugins whose volumes the node leaves to CSI drivers."""
    text = ((csi_node or {"metadata": {}})["metadata"].get("annotations") or {}).get(MIGRATED) or ""
    return frozenset(text.split(","))


def limit_of(csi_node: Obj | None, driver: str) -> int:
    """How many volumes of a driver the node may have; -1 for any number."""
    for known in ((csi_node or {}).get("spec") or {}).get("drivers") or ():
        if known["name"] == driver:
            count = (known.get("allocatable") or {}).get("count")
            return -1 if count is None else int(count)
    return -1


class DriverRows:
    """For one driver, per row: the limit (-1: none) and the volumes attached."""

    def __init__(self, table: NodeTable, stock: Stock, driver: str) -> None:
        self.table, self._stock, self._driver = table, stock, driver
        self._seen: dict[str, int] = {}
        self._limits = RowCache(table, "static", np.int64, self._limits_of)
        self._counts = RowCache(table, "usage", np.int64, self._counts_of)

    def refresh(self) -> tuple[Ints, Ints]:
        concerned = self._concerned()
        return self._limits.refresh(self.table, concerned), self._counts.refresh(self.table, concerned)

    def _concerned(self) -> set[int] | None:
        out: set[int] | None = set()
        for plural in (CSI_NODES, ATTACHMENTS, CLAIMS, VOLUMES):
            version = self._stock.version(plural)
            seen = self._seen.get(plural, -1)
            if version != seen and seen >= 0:
                keys = self._stock.changed_since(plural, seen)
                # An attachment that is gone no longer says on which node it was.
                if keys is None or (plural == ATTACHMENTS and any(self._stock.get(plural, *k) is None for k in keys)):
                    out = None
                elif out is not None:
                    out.update(i for key in keys for i in self._rows_of(plural, key))
            self._seen[plural] = version
        return out

    def _rows_of(self, plural: str, key: tuple[str, str]) -> Iterable[int]:
        if plural == CLAIMS:
            return self.table.claim_rows.get(key, ())
        obj = self._stock.get(plural, *key)
        if plural == VOLUMES:
            ref = ((obj or {}).get("spec") or {}).get("claimRef") or {}
            return self.table.claim_rows.get((ref.get("namespace", ""), ref.get("name", "")), ())
        name = key[1] if plural == CSI_NODES or obj is None else obj["spec"]["nodeName"]
        row = self.table.by_name.get(name)
        return () if row is None else (row.index,)

    def _limits_of(self, rows: Ints) -> Ints:
        return np.array([self._limit(self.table.rows[i]) for i in rows], dtype=np.int64)

    def _limit(self, row: Row | None) -> int:
        return -1 if row is None else limit_of(self._stock.get(CSI_NODES, "", row.name), self._driver)

    def _counts_of(self, rows: Ints) -> Ints:
        return np.array([len(attached(self.table.rows[i], self._stock, self._driver)) for i in rows], dtype=np.int64)


def attached(row: Row | None, stock: Stock, driver: str, without: Iterable[str] = ()) -> set[str]:
    """The handles of a driver's volumes that a node's pods and attachments take up. `without`: pods thought away, by key."""
    if row is None:
        return set()
    found: set[str] = set()
    attachments = stock.indexed(ATTACHMENTS, NODE, row.name)
    if not row.with_volumes and not attachments:
        return found
    plugins = migrated(stock.get(CSI_NODES, "", row.name))
    for pod in row.with_volumes.values():
        if pod.key not in without:
            found |= {a.handle for a in attachables(pod, stock) if a.driver == driver and (not a.plugin or a.plugin in plugins)}
    for attachment in attachments:
        name = (attachment["spec"].get("source") or {}).get("persistentVolumeName")
        volume = stock.get(VOLUMES, "", name) if name else None
        known = None if volume is None else of_volume(volume)
        if known is not None and known.driver == driver and not known.plugin:
            found.add(known.handle)
    return found


def attached_already(claim: tuple[str, str], table: NodeTable, stock: Stock) -> set[int]:
    """The rows where a claim's volume is attached already."""
    rows = set(table.claim_rows.get(claim, ()))
    obj = stock.get(CLAIMS, *claim)
    name = ((obj or {}).get("spec") or {}).get("volumeName")
    for attachment in stock.indexed(ATTACHMENTS, VOLUME, name) if name else ():
        row = table.by_name.get(attachment["spec"]["nodeName"])
        if row is not None:
            rows.add(row.index)
    return rows

"""A world as the scheduler has it, and its plugins one at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.config import default_config
from pilothouse.scheduler.framework import ClusterView, Code, Cycle, Plugin, PreFilterResult
from pilothouse.scheduler.owners import owner_selectors
from pilothouse.scheduler.podinfo import PodInfo, pod_info
from pilothouse.scheduler.schedule import Snapshot, refused
from pilothouse.scheduler.table import NodeTable

from .worlds import NAMESPACES, Obj, World

PROFILE = default_config().profiles["default-scheduler"]
PLUGINS = {plugin.name: plugin for plugin in PROFILE.plugins}


def view(services: list[Obj]) -> ClusterView:
    def mine(pod: PodInfo) -> list[Obj]:
        here = [s for s in services if s["metadata"]["namespace"] == pod.namespace]
        return owner_selectors(pod, here, lambda kind, namespace, name: None)

    return ClusterView(owner_selectors=mine, namespace_labels=lambda name: NAMESPACES[name])


def snapshot(world: World) -> Snapshot:
    table = NodeTable(capacity=2)
    for node in world.nodes.values():
        table.set_node(node)
    for where, pod in world.bound:
        table.add_pod(pod_info(pod), where)
    return Snapshot(table, view(world.services))


def cycle(base: Snapshot, pod: Obj) -> Cycle:
    info = pod_info(pod)
    made = Cycle(info, base.table, base.view, base.class_of(PROFILE.name, info))
    made.feasible = base.table.present.copy()
    return made


def refusals(plugin: Plugin, made: Cycle) -> set[str]:
    """The nodes that one plugin alone refuses."""
    names = {row.name: row.index for row in made.table.nodes()}
    prepared = plugin.pre_filter(made)
    if isinstance(prepared, PreFilterResult):
        narrowed = names.keys() - prepared.node_names
    elif prepared is not None and prepared.code is Code.SKIP:
        return set()
    elif prepared is not None and prepared.code is not Code.SUCCESS:
        return set(names)
    else:
        narrowed = set()
    gone = np.zeros_like(made.feasible)
    for r in refused(plugin, made):
        gone |= r.rows
    return {name for name, index in names.items() if gone[index]} | narrowed


def scores(plugin: Plugin, made: Cycle, finalists: Iterable[str]) -> dict[str, int] | None:
    """One plugin's normalised scores; None where it skips."""
    made.feasible = np.zeros_like(made.table.present)
    for name in finalists:
        made.feasible[made.table.by_name[name].index] = True
    prepared = plugin.pre_score(made)
    if prepared is not None and prepared.code is Code.SKIP:
        return None
    rows = np.flatnonzero(made.feasible)
    values = plugin.normalize(made, plugin.score_all(made)[rows])
    return {made.table.names()[i]: int(v) for i, v in zip(rows, values, strict=True)}

"""The plugins that ship with the scheduler, by the names that configuration files use: one file each."""

from __future__ import annotations

from typing import Any

from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from pilothouse.scheduler.plugins.default_binder import DefaultBinder
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.plugins.dynamic_resources import DynamicResources
from pilothouse.scheduler.plugins.image_locality import ImageLocality
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.node_affinity import NodeAffinity
from pilothouse.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from pilothouse.scheduler.plugins.node_name import NodeName
from pilothouse.scheduler.plugins.node_ports import NodePorts
from pilothouse.scheduler.plugins.node_resources_fit import NodeResourcesFit
from pilothouse.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pilothouse.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from pilothouse.scheduler.plugins.priority_sort import PrioritySort
from pilothouse.scheduler.plugins.scheduling_gates import SchedulingGates
from pilothouse.scheduler.plugins.taint_toleration import TaintToleration
from pilothouse.scheduler.plugins.topology_spread import PodTopologySpread
from pilothouse.scheduler.plugins.volume_binding import VolumeBinding
from pilothouse.scheduler.plugins.volume_restrictions import VolumeRestrictions
from pilothouse.scheduler.plugins.volume_zone import VolumeZone

#: In the order in which the default profile runs them, with the default score weight.
DEFAULT_PLUGINS: tuple[tuple[type[Plugin], int], ...] = (
    (SchedulingGates, 0),
    (PrioritySort, 0),
    (NodeUnschedulable, 0),
    (NodeName, 0),
    (TaintToleration, 3),
    (NodeAffinity, 2),
    (NodePorts, 0),
    (NodeResourcesFit, 1),
    (VolumeRestrictions, 0),
    (NodeVolumeLimits, 0),
    (VolumeBinding, 0),
    (VolumeZone, 0),
    (PodTopologySpread, 2),
    (InterPodAffinity, 2),
    (DynamicResources, 2),
    (DefaultPreemption, 0),
    (NodeResourcesBalancedAllocation, 1),
    (ImageLocality, 1),
    (DefaultBinder, 0),
    (NodeDeclaredFeatures, 0),
)

BY_NAME: dict[str, type[Plugin]] = {plugin.name: plugin for plugin, _ in DEFAULT_PLUGINS}


def make_defaults(args: dict[str, dict[str, Any]] | None = None) -> tuple[list[Plugin], dict[str, int]]:
    """Fresh instances of the default plugins, and their weights."""
    plugins = [plugin((args or {}).get(plugin.name)) for plugin, _ in DEFAULT_PLUGINS]
    return plugins, {plugin.name: weight for plugin, weight in DEFAULT_PLUGINS if weight}

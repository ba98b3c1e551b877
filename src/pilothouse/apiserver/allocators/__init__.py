"""Numbers that the hub hands out: cluster IPs and node ports. `service_hooks` is what the hub runs around writes of services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pilothouse.apiserver.allocators.addresses import Addresses
from pilothouse.apiserver.allocators.nodeports import NodePortRange, NodePorts
from pilothouse.apiserver.allocators.service import ServiceHook
from pilothouse.apiserver.interface import Hub, WriteHook

__all__ = ["Addresses", "NodePortRange", "NodePorts", "ServiceHook", "service_hooks"]


def service_hooks(hub: Hub, ranges: Sequence[str], ports: NodePortRange) -> Mapping[tuple[str, str], WriteHook]:
    """The hooks by (group, plural). `ranges` are the service ranges, at most one for each IP family."""
    return {("", "services"): ServiceHook(hub, Addresses(hub, ranges), NodePorts(hub, ports))}

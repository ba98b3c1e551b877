"""What a cloud's word about an instance makes of its Node: labels, addresses, taints. Pure functions; nodes are never changed.

Reference: "Cloud Controller Manager: node controller", "Well-known labels, annotations and taints".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from pilothouse.client.reconcile.objects import Obj, annotations_of, labels_of, with_metadata
from pilothouse.cloud.provider import InstanceMetadata

#: Borne by a node that no cloud has looked at yet, as a kubelet with --cloud-provider=external registers it.
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
SHUTDOWN = "node.cloudprovider.kubernetes.io/shutdown"
#: The addresses that the kubelet was told to have (`--node-ip`).
PROVIDED_IP = "alpha.kubernetes.io/provided-node-ip"

_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
#: Labels that are Kubernetes' own to give.
_RESERVED = re.compile(r"(^|\.)(kubernetes|k8s)\.io/")


def taint(node: Obj, name: str) -> Obj | None:
    return next((t for t in taints(node) if t["key"] == name), None)


def taints(node: Obj) -> Sequence[Obj]:
    return node["spec"].get("taints") or ()


def without_taint(node: Obj, name: str) -> list[Obj]:
    return [t for t in taints(node) if t["key"] != name]


def initialized(node: Obj, instance: InstanceMetadata) -> Obj:
    """The node with its provider's id and labels, and without the taint; all of it one write."""
    labels = {**labels_of(node), **_labels(instance)}
    for name, value in instance.labels.items():
        if not _RESERVED.search(name):
            labels.setdefault(name, value)
    spec = {**node["spec"], "taints": without_taint(node, UNINITIALIZED)}
    if not spec.get("providerID") and instance.provider_id:
        spec["providerID"] = instance.provider_id
    if not spec["taints"]:
        del spec["taints"]
    return {**with_metadata(node, labels=labels), "spec": spec}


def _labels(instance: InstanceMetadata) -> dict[str, str]:
    told = ((_TYPE, instance.instance_type), (_ZONE, instance.zone), (_REGION, instance.region))
    return {name: value for names, value in told if value for name in names}


def reconciled_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that are to say what those under former names say, which are Kubernetes' source of truth here still."""
    pairs = (_TYPE, _ZONE, _REGION)
    return {new: labels[old] for new, old in pairs if old in labels and labels.get(new) != labels[old]}


def addresses(node: Obj, instance: InstanceMetadata) -> list[Obj]:
    """The node's addresses by the cloud's word. ValueError where the kubelet was told to have one that the cloud does not know.

    A hostname is kept where the cloud names none. An address that the kubelet was told to have comes first, and is the only one of its type.
    """
    out = [{"type": a["type"], "address": a["address"]} for a in instance.addresses]
    if not any(a["type"] == "Hostname" for a in out):
        out += [a for a in (node.get("status") or {}).get("addresses") or () if a["type"] == "Hostname"]
    provided = annotations_of(node).get(PROVIDED_IP)
    return out if provided is None else preferred(out, provided)


def preferred(known: Sequence[Obj], provided: str) -> list[Obj]:
    """These addresses with the provided ones (separated by commas) first. ValueError if one is no address, or not among them."""
    first: list[Obj] = []
    for text in provided.split(","):
        wanted = _parsed(text)
        if wanted is None:
            raise ValueError(f"failed to parse node IP {provided!r}")
        matching = [a for a in known if _parsed(a["address"]) == wanted]
        if not matching:
            raise ValueError(f"failed to get node address from cloud provider that matches ip: {wanted}")
        first += [a for a in matching if a not in first]
    types = {a["type"] for a in first}
    return first + [a for a in known if a["type"] not in types]


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        return None


def same_addresses(one: Iterable[Obj], other: Iterable[Obj]) -> bool:
    """Whether two lists name the same addresses, in whichever order."""
    return sorted((a["type"], a["address"]) for a in one) == sorted((a["type"], a["address"]) for a in other)

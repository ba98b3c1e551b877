"""Extended resources that device classes stand for (KEP-5004): a pod asks for `example.com/gpu: 2` and gets devices.

A class names the resource (`extendedResourceName`), and every class is a resource by its own name too. On a node that has the resource from
a device plugin nothing changes; on others the scheduler makes a claim for the pod, one request a container and resource.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import quantity
from pilothouse.scheduler.devices import DEVICE_CLASSES
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import Stock

Obj = dict[str, Any]

BY_CLASS = "deviceclass.resource.kubernetes.io/"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"


def is_extended(resource: str) -> bool:
    """Whether a resource may be one of devices."""
    if resource.startswith(BY_CLASS):
        return True
    return "/" in resource and "kubernetes.io/" not in resource and not resource.startswith("requests.")


def extended_resources(pod: PodInfo) -> list[str]:
    return sorted(r for r, amount in pod.requests.items() if amount > 0 and is_extended(r))


def classes_by_resource(stock: Stock) -> dict[str, str]:
    """Extended resource -> the device class that stands for it; of several the newest, then the first by name."""
    version, known = stock.memo.get("extended resources") or (-1, {})
    if version != stock.version(DEVICE_CLASSES):
        known = {}
        for device_class in sorted(stock.all(DEVICE_CLASSES), key=_older_first):
            name = device_class["metadata"]["name"]
            resource = (device_class.get("spec") or {}).get("extendedResourceName")
            known.update({BY_CLASS + name: name} | ({resource: name} if resource else {}))
        stock.memo["extended resources"] = stock.version(DEVICE_CLASSES), known
    found: dict[str, str] = known
    return found


def _older_first(device_class: Obj) -> tuple[str, list[int]]:
    """Sorts what takes precedence to the end."""
    meta = device_class["metadata"]
    return meta.get("creationTimestamp") or "", [-ord(letter) for letter in meta["name"]]


@dataclass(slots=True)
class Asked:
    """What a pod's containers ask of devices: raw requests of a claim, and which container's resource each satisfies."""

    requests: list[Obj] = field(default_factory=list)
    mappings: list[Obj] = field(default_factory=list)


def asked_of_devices(pod: PodInfo, resources: Collection[str], classes: dict[str, str]) -> Asked:
    """Requests for these resources. What an init container had is there again for containers that start after it has ended."""
    out = Asked()
    free: dict[str, list[Obj]] = {}  # resource -> requests of init containers that have ended
    inits = pod.spec.get("initContainers") or ()
    for n, container in enumerate((*inits, *pod.spec.get("containers", ()))):
        passing = n < len(inits) and container.get("restartPolicy") != "Always"
        wanted = (container.get("resources") or {}).get("requests") or {}
        for m, resource in enumerate(sorted(wanted)):
            count = quantity.value(wanted[resource]) if resource in resources else 0
            if count > 0:
                name = f"container-{n}-request-{m}"
                reused = _reused(free.get(resource, []), count, keep=passing)
                used = [*reused, *_missing(out, name, classes[resource], count - _sum(reused))]
                if passing:
                    free.setdefault(resource, []).extend(r for r in used if r not in reused)
                out.mappings += [
                    {"containerName": container["name"], "resourceName": resource, "requestName": r["name"]} for r in used
                ]
    return out


def _sum(requests: Iterable[Obj]) -> int:
    return sum(r["exactly"]["count"] for r in requests)


def _reused(free: list[Obj], count: int, keep: bool) -> list[Obj]:
    """Requests that are free again, as many as are needed; they stay free for the next one only if they are kept."""
    taken: list[Obj] = []
    for request in free:
        if _sum(taken) < count:
            taken.append(request)
    if not keep:
        free[:] = [r for r in free if r not in taken]
    return taken


def _missing(asked: Asked, name: str, device_class: str, count: int) -> list[Obj]:
    if count <= 0:
        return []
    request = {"name": name, "exactly": {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": count}}
    asked.requests.append(request)
    return [request]


def claim_for(pod: PodInfo, requests: list[Obj]) -> Obj:
    """The claim that is made for a pod, before it has a name."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True, "blockOwnerDeletion": True}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "namespace": pod.namespace,
            "generateName": f"{pod.name}-extended-resources-",
            "annotations": {ANNOTATION: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": requests}},
    }

"""Which pods belong together: the selectors of a pod's services and of its controller, which default spreading goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pilothouse.api.selectors import label_predicate
from pilothouse.scheduler.podinfo import PodInfo

Obj = dict[str, Any]

#: Controllers that count, with the collection they are in.
OWNERS = {
    "ReplicaSet": "/apis/apps/v1/replicasets",
    "StatefulSet": "/apis/apps/v1/statefulsets",
    "ReplicationController": "/api/v1/replicationcontrollers",
}


def owner_selectors(pod: PodInfo, services: Iterable[Obj], owner: Callable[[str, str, str], Obj | None]) -> list[Obj]:
    """Label selectors of those of a namespace's services that select the pod, and of its controller.

    `owner(kind, namespace, name)` looks up a controller; None if it is not there or of a kind that does not count.
    """
    out = []
    for service in services:
        selector = service["spec"].get("selector")
        if selector and label_predicate({"matchLabels": selector})(pod.labels):
            out.append({"matchLabels": selector})
    for ref in pod.obj["metadata"].get("ownerReferences") or ():
        found = owner(ref["kind"], pod.namespace, ref["name"]) if ref.get("controller") else None
        if found is not None:
            selector = found["spec"].get("selector") or {}
            out.append({"matchLabels": selector} if ref["kind"] == "ReplicationController" else selector)
    return out

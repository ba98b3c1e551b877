"""The indexes that controllers ask of caches. Each name means one thing, so that several controllers can share a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.objects import Obj, annotations_of, controller_uid, labels_of, uid


def _uid(obj: Obj) -> Iterable[str]:
    return (uid(obj),)


def _namespace(obj: Obj) -> Iterable[str]:
    return (obj["metadata"].get("namespace") or "",)


def _controller(obj: Obj) -> Iterable[str]:
    found = controller_uid(obj)
    return (found,) if found else ()


def _orphans(obj: Obj) -> Iterable[str]:
    return () if controller_uid(obj) else (obj["metadata"].get("namespace") or "",)


def _node(pod: Obj) -> Iterable[str]:
    name = pod["spec"].get("nodeName")
    return (name,) if name else ()


def _labels(obj: Obj) -> Iterable[str]:
    namespace = obj["metadata"].get("namespace") or ""
    return [f"{namespace}/{k}={v}" for k, v in labels_of(obj).items()]


def _service_name(obj: Obj) -> Iterable[str]:
    name = labels_of(obj).get("kubernetes.io/service-name")
    return (f"{obj['metadata'].get('namespace')}/{name}",) if name else ()


def _selector(service: Obj) -> Iterable[str]:
    """One pair of the selector stands for the Service: a pod that has all pairs has this one."""
    selector = service["spec"].get("selector")
    if not selector:
        return ()
    name = min(selector)
    return (f"{service['metadata'].get('namespace')}/{name}={selector[name]}",)


def _account(secret: Obj) -> Iterable[str]:
    name = annotations_of(secret).get("kubernetes.io/service-account.name")
    return (f"{secret['metadata'].get('namespace')}/{name}",) if name else ()


#: By name: the object's uid; its namespace; the uid of its controller; the namespace of those without one; a pod's node; each
#: of its labels as `namespace/key=value`; the Service of a slice as `namespace/name`; a Service's first selector pair; the
#: ServiceAccount that a Secret names.
INDEXES: dict[str, Callable[[Obj], Iterable[str]]] = {
    "uid": _uid,
    "namespace": _namespace,
    "controller": _controller,
    "orphans": _orphans,
    "node": _node,
    "labels": _labels,
    "service": _service_name,
    "selector": _selector,
    "account": _account,
}


def add(cache: Cache, *names: str) -> None:
    for name in names:
        cache.add_index(name, INDEXES[name])

"""Whether a request is one that a policy's rules are for ("Match rules" of the API reference of admissionregistration.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pilothouse.api.errors import Obj
from pilothouse.api.selectors import label_predicate
from pilothouse.apiserver.interface import AdmissionRequest, Hub


def matches(hub: Hub, constraints: Obj | None, request: AdmissionRequest) -> bool:
    """Rules, exclusions and selectors together; nothing said matches everything."""
    if constraints is None:
        return True
    rules = constraints.get("resourceRules")
    if rules and not any(_rule(r, request) for r in rules):
        return False
    if any(_rule(r, request) for r in constraints.get("excludeResourceRules") or ()):
        return False
    return _namespace(hub, constraints.get("namespaceSelector"), request) and _object(constraints.get("objectSelector"), request)


def _rule(rule: Obj, request: AdmissionRequest) -> bool:
    resource = request.resource
    scope = rule.get("scope") or "*"
    names = rule.get("resourceNames") or ()
    return (
        _one_of(rule.get("operations"), request.operation)
        and _one_of(rule.get("apiGroups"), resource.group)
        and _one_of(rule.get("apiVersions"), resource.version)
        and (scope == "*" or (scope == "Namespaced") == bool(request.namespace and resource.namespaced))
        and (not names or request.name in names)
        and _resource(rule.get("resources") or (), resource.plural, request.subresource)
    )


def _one_of(wanted: Iterable[str] | None, value: str) -> bool:
    return any(w in ("*", value) for w in wanted or ())


def _resource(wanted: Sequence[str], plural: str, subresource: str) -> bool:
    """`pods`, `pods/status`, `pods/*`, `*`, `*/*`, `*/scale`."""
    for one in wanted:
        name, slash, sub = one.partition("/")
        if name in ("*", plural) and ((sub in ("*", subresource)) if slash else not subresource):
            return True
    return False


def _namespace(hub: Hub, selector: Obj | None, request: AdmissionRequest) -> bool:
    """By the labels of the object's namespace; a namespace is selected by its own, other cluster-wide objects always are."""
    if not selector or selector == {}:
        return True
    if request.resource.group_resource == ("", "namespaces"):
        return label_predicate(selector)(_labels(request.obj or request.old))
    if not request.namespace:
        return True
    entry = hub.cache("", "namespaces").get("", request.namespace)
    return entry is not None and label_predicate(selector)(_labels(entry.obj))


def _object(selector: Obj | None, request: AdmissionRequest) -> bool:
    if not selector:
        return True
    predicate = label_predicate(selector)
    return any(predicate(_labels(o)) for o in (request.obj, request.old) if o is not None)


def _labels(obj: Obj | None) -> Any:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}

"""Whether a request is one that rules and selectors of a policy or a webhook are for ("Match rules" of the API reference of
admissionregistration.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.api.selectors import label_predicate
from pilothouse.apiserver.interface import AdmissionRequest, Hub

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

GROUP = "admissionregistration.k8s.io"


def matches(hub: ApiServer, constraints: Obj | None, request: AdmissionRequest) -> Resource | None:
    """The resource as which rules, exclusions and selectors want the request; None if they do not want it. Nothing said is everything."""
    if constraints is None:
        return request.resource
    if not selected(hub, constraints, request):
        return None
    policy, excluded = constraints.get("matchPolicy"), constraints.get("excludeResourceRules")
    if excluded and ruled(hub, excluded, policy, request) is not None:
        return None
    rules = constraints.get("resourceRules")
    return ruled(hub, rules, policy, request) if rules else request.resource


def selected(hub: Hub, given: Obj, request: AdmissionRequest) -> bool:
    """Whether the selectors of namespaces and objects want the request."""
    return _namespace(hub, given.get("namespaceSelector"), request) and _object(given.get("objectSelector"), request)


def ruled(hub: ApiServer, rules: Sequence[Obj], policy: str | None, request: AdmissionRequest) -> Resource | None:
    """The resource as which one of the rules names the request's: itself, or (unless `Exact` is asked for) an equivalent one."""
    if any(_rule(r, request, request.resource) for r in rules):
        return request.resource
    if policy == "Exact":
        return None
    others = hub.registry.equivalents(request.resource)
    return next((other for r in rules for other in others if _rule(r, request, other)), None)


def _rule(rule: Obj, request: AdmissionRequest, resource: Resource) -> bool:
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
    if not selector:
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

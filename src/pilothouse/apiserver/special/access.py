"""May somebody do something? SubjectAccessReview in its three forms, and the list of one's own rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, bad_request, invalid, invalid_object, required
from pilothouse.apiserver.authz import selfrules
from pilothouse.apiserver.interface import Attributes, Hub, SpecialRequest, SpecialResult, User, Verdict
from pilothouse.apiserver.special.body import body_of, in_namespace
from pilothouse.apiserver.special.parts import Parts

Handler = Callable[[SpecialRequest], Awaitable[SpecialResult]]
_GROUP = "authorization.k8s.io"


def review(hub: Hub) -> Handler:
    """Anybody, anywhere: for those who may ask about others."""

    async def handle(request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        spec = body.get("spec") or {}
        _refuse(_check_attributes(spec) + _check_subject(spec) + _check_selectors(spec) + _check_metadata(body, ()))
        return _answer(hub, body, _subject(spec), spec)

    return handle


def local_review(hub: Hub) -> Handler:
    """Anybody, in one namespace."""

    async def handle(request: SpecialRequest) -> SpecialResult:
        metadata, body = in_namespace(request), body_of(request)
        spec = body.get("spec") or {}
        errors = _check_attributes(spec) + _check_subject(spec) + _check_selectors(spec) + _check_metadata(body, ("namespace",))
        _refuse(errors + _check_local(spec, metadata["namespace"]))
        return _answer(hub, body, _subject(spec), spec)

    return handle


def self_review(hub: Hub) -> Handler:
    """Oneself."""

    async def handle(request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        spec = body.get("spec") or {}
        _refuse(_check_attributes(spec) + _check_selectors(spec) + _check_metadata(body, ()))
        return _answer(hub, body, request.user, spec)

    return handle


def self_rules(parts: Parts) -> Handler:
    """All that one may do in a namespace."""

    async def handle(request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        namespace = (body.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise bad_request("no namespace on request")
        status = selfrules.status(parts.authorizers, request.user, namespace)
        head = {k: body[k] for k in ("kind", "apiVersion")}
        return SpecialResult(201, {**head, "metadata": {}, "spec": {}, "status": status})

    return handle


# --- deciding ---------------------------------------------------------------------------------------------------------------------------


def _answer(hub: Hub, body: Obj, user: User, spec: Obj) -> SpecialResult:
    verdict, reason = hub.authorize(_attributes(user, spec))
    status: Obj = {"allowed": verdict is Verdict.ALLOW}
    if verdict is Verdict.DENY:
        status["denied"] = True
    if reason:
        status["reason"] = reason
    head = {k: body[k] for k in ("kind", "apiVersion")}
    return SpecialResult(201, {**head, "metadata": body.get("metadata") or {}, "spec": spec, "status": status})


def _subject(spec: Obj) -> User:
    extra = {k.lower(): tuple(v or ()) for k, v in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)


def _attributes(user: User, spec: Obj) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(user, path.get("verb", ""), path=path.get("path", ""))
    wanted = spec["resourceAttributes"]
    text = {k: wanted.get(k, "") for k in ("verb", "group", "version", "resource", "subresource", "namespace", "name")}
    return Attributes(user, **text, field_selector=(wanted.get("fieldSelector") or {}).get("rawSelector", ""))


# --- checking -----------------------------------------------------------------------------------------------------------------------------


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise invalid_object(_GROUP, "", "", errors)


def _shown(attributes: Obj) -> Obj:
    return {"Path": attributes.get("path", ""), "Verb": attributes.get("verb", "")}


def _check_attributes(spec: Obj) -> list[FieldError]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [invalid("spec.nonResourceAttributes", _shown(path), why)]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, why)]
    return []


def _check_subject(spec: Obj) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [invalid("spec.user", "", "at least one of user or group must be specified")]


def _check_local(spec: Obj, namespace: str) -> list[FieldError]:
    errors = []
    found = (spec.get("resourceAttributes") or {}).get("namespace", "")
    if spec.get("resourceAttributes") is not None and found != namespace:
        errors.append(invalid("spec.resourceAttributes.namespace", found, "must match metadata.namespace"))
    if spec.get("nonResourceAttributes") is not None:
        errors.append(
            invalid("spec.nonResourceAttributes", _shown(spec["nonResourceAttributes"]), "disallowed on this kind of request")
        )
    return errors


def _check_metadata(body: Obj, allowed: tuple[str, ...]) -> list[FieldError]:
    more = {k: v for k, v in (body.get("metadata") or {}).items() if k not in ("managedFields", "creationTimestamp", *allowed)}
    if not any(more.values()):
        return []
    return [invalid("metadata", more, "must be empty" + (" except for namespace" if allowed else ""))]


def _check_selectors(spec: Obj) -> list[FieldError]:
    wanted = spec.get("resourceAttributes") or {}
    errors: list[FieldError] = []
    for key in ("fieldSelector", "labelSelector"):
        if wanted.get(key) is not None:
            errors += _check_selector(f"spec.resourceAttributes.{key}", wanted[key], key == "labelSelector")
    return errors


def _check_selector(path: str, selector: Obj, labels: bool) -> list[FieldError]:
    raw, requirements = selector.get("rawSelector", ""), selector.get("requirements") or []
    if raw and requirements:
        return [invalid(f"{path}.rawSelector", raw, "may not specified at the same time as requirements")]
    if not raw and not requirements:
        return [required(f"{path}.requirements", f"when {path} is specified, requirements or rawSelector is required")]
    errors: list[FieldError] = []
    for index, requirement in enumerate(requirements):
        errors += _check_requirement(f"{path}.requirements[{index}]", requirement, labels)
    return errors


def _check_requirement(path: str, requirement: dict[str, Any], labels: bool) -> list[FieldError]:
    key, operator, values = requirement.get("key", ""), requirement.get("operator", ""), requirement.get("values")
    errors = []
    if operator in ("In", "NotIn") and not values:
        errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    if operator in ("Exists", "DoesNotExist") and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        errors.append(FieldError("FieldValueForbidden", f"{path}.values", detail=why))
    if labels:
        errors += [invalid(f"{path}.key", key, text) for text in names.qualified_name(key)]
    elif not key:
        errors.append(required(f"{path}.key", "must be specified"))
    return errors

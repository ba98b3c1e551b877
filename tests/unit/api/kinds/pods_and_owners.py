"""Small pods and owners of pods for the tests of their kinds, and what a server does with a write of them."""

from __future__ import annotations

import copy
from typing import Any

from pilothouse.api import tables
from pilothouse.api.errors import FieldError
from pilothouse.api.kinds import strategy_for
from pilothouse.api.strategy import Context, Strategy

Obj = dict[str, Any]
CONTEXT = Context(1_700_000_000.0, "v1")


def strategy(group: str, plural: str) -> Strategy:
    resource = tables.resource_for(group, "v1", plural)
    assert resource is not None
    return strategy_for(resource)


PODS = strategy("", "pods")


def container(**more: Any) -> Obj:
    return {"name": "c", "image": "nginx:1", **more}


def pod(*containers: Obj, metadata: Obj | None = None, **spec: Any) -> Obj:
    """A pod of these containers (or of one that is good), and of these other fields of the spec."""
    meta = {"name": "p", "namespace": "default", "uid": "u", **(metadata or {})}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {"containers": list(containers) or [container()], **spec},
    }


def template(**spec: Any) -> Obj:
    return {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container()], **spec}}


def owner(kind: str, **spec: Any) -> Obj:
    """A Deployment, say, whose template's labels are app=a."""
    body = {"selector": {"matchLabels": {"app": "a"}}, "template": template(), **spec}
    return {"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": "o", "namespace": "default", "uid": "u"}, "spec": body}


def created(kind: Strategy, obj: Obj) -> Obj:
    """The object as it is after defaults and preparation."""
    made = copy.deepcopy(obj)
    kind.default(made)
    kind.prepare_create(made, CONTEXT)
    if kind.defaulted_when_read:
        kind.default(made)
    return made


def errors(kind: Strategy, obj: Obj) -> list[str]:
    return told(kind.validate(created(kind, obj)))


def update_errors(kind: Strategy, old: Obj, new: Obj) -> list[str]:
    before, after = created(kind, old), copy.deepcopy(new)
    kind.default(after)
    kind.prepare_update(after, before, CONTEXT)
    return told(kind.validate_update(after, before))


def told(found: list[FieldError]) -> list[str]:
    """Errors as a client reads them."""
    return [str(e) for e in found]

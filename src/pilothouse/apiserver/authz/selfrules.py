"""What a SelfSubjectRulesReview answers: a user's rules in a namespace, as lists."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.errors import Obj
from pilothouse.apiserver.authz.alwaysallow import AlwaysAllow
from pilothouse.apiserver.authz.node import NodeAuthorizer
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.interface import Authorizer, User

_ANY_RESOURCE: Obj = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_ANY_PATH: Obj = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_RESOURCE_KEYS = ("verbs", "apiGroups", "resources", "resourceNames")


def status(authorizers: Sequence[Authorizer], user: User, namespace: str) -> Obj:
    """The review's status. Authorizers that cannot list what they permit make it incomplete."""
    resources: list[Obj] = []
    paths: list[Obj] = []
    problems: list[str] = []
    incomplete = False
    for authorizer in authorizers:
        if isinstance(authorizer, AlwaysAllow):
            found = [_ANY_RESOURCE, _ANY_PATH]
        elif isinstance(authorizer, Rbac):
            found = authorizer.rules_for(user, namespace, problems)
        else:
            found = []
            if isinstance(authorizer, NodeAuthorizer):
                problems.append("node authorizer does not support user rule resolution")
                incomplete = True
        resources += [{k: r[k] for k in _RESOURCE_KEYS if r.get(k)} for r in found if r.get("resources")]
        paths += [{k: r[k] for k in ("verbs", "nonResourceURLs") if r.get(k)} for r in found if r.get("nonResourceURLs")]
    out: Obj = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete or bool(problems)}
    if problems:
        out["evaluationError"] = problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]"
    return out

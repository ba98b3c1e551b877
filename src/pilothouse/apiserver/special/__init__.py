"""Endpoints that are not plain storage: reviews, tokens, bindings, evictions, connections to pods.

`handlers(hub, parts)` gives them by (group, plural, subresource); the hub calls `await handler(request)`. A handler may have a
method `default(body)`, which the hub calls before it writes down who owns the body's fields. The hub has run admission
for a body that is created.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from pilothouse.apiserver.interface import SpecialRequest, SpecialResult
from pilothouse.apiserver.special.access import local_review, review, self_review, self_rules
from pilothouse.apiserver.special.binding import Bind
from pilothouse.apiserver.special.component_status import ComponentStatuses
from pilothouse.apiserver.special.connect import NodeProxy, PodConnect, PodLog, ServiceProxy
from pilothouse.apiserver.special.eviction import Evict
from pilothouse.apiserver.special.identity import SelfReview, token_review
from pilothouse.apiserver.special.parts import Parts
from pilothouse.apiserver.special.token import IssueToken

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

__all__ = ["Parts", "handlers"]

Handler = Callable[[SpecialRequest], Awaitable[SpecialResult]]
_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"


def handlers(hub: ApiServer, parts: Parts) -> Mapping[tuple[str, str, str], Handler]:
    """All special endpoints of one server."""
    bind, connect = Bind(hub), PodConnect(hub)
    return {
        (_AUTHORIZATION, "subjectaccessreviews", ""): review(hub),
        (_AUTHORIZATION, "localsubjectaccessreviews", ""): local_review(hub),
        (_AUTHORIZATION, "selfsubjectaccessreviews", ""): self_review(hub),
        (_AUTHORIZATION, "selfsubjectrulesreviews", ""): self_rules(parts),
        (_AUTHENTICATION, "tokenreviews", ""): token_review(parts),
        (_AUTHENTICATION, "selfsubjectreviews", ""): SelfReview(hub),
        ("", "serviceaccounts", "token"): IssueToken(hub, parts),
        ("", "pods", "binding"): bind,
        ("", "bindings", ""): bind,
        ("", "pods", "eviction"): Evict(hub),
        ("", "pods", "log"): PodLog(hub),
        ("", "pods", "exec"): connect,
        ("", "pods", "attach"): connect,
        ("", "pods", "portforward"): connect,
        ("", "pods", "proxy"): connect,
        ("", "services", "proxy"): ServiceProxy(hub),
        ("", "nodes", "proxy"): NodeProxy(hub),
        ("", "componentstatuses", ""): ComponentStatuses(hub),
    }

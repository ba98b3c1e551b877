"""Impersonation: acting as somebody else, where that is allowed.

Either the caller may `impersonate` the user, the groups, the uid and the extras (facts 4.2); or, constrained, it may
`impersonate:<mode>` the user and `impersonate-on:<mode>:<verb>` the very resource that the request is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from pilothouse.api.errors import StatusError, bad_request, forbidden_error
from pilothouse.apiserver.interface import Attributes, User, Verdict
from pilothouse.apiserver.messages import Request

Authorize = Callable[[Attributes], tuple[Verdict, str]]
_SERVICE_ACCOUNT = "system:serviceaccount:"
_EXTRA = b"impersonate-extra-"


def impersonate(authorize: Authorize, user: User, request: Request, wanted: Attributes) -> User:
    """The user that a request with Impersonate headers acts as; 403 if it may not."""
    name = request.header(b"impersonate-user")
    groups = request.header_values(b"impersonate-group")
    uid = request.header(b"impersonate-uid")
    extra = _extra(request)
    if not name:
        if groups or uid or extra:
            raise bad_request("requested identity to impersonate without impersonating a user")
        return user
    checks = [*_user_checks(user, name), *(_check(user, "groups", g) for g in groups)]
    if uid:
        checks.append(Attributes(user, "impersonate", "authentication.k8s.io", "v1", "uids", name=uid))
    for key, values in extra.items():
        checks += [Attributes(user, "impersonate", "authentication.k8s.io", "v1", "userextras", key, name=v) for v in values]
    if not all(authorize(check)[0] is Verdict.ALLOW for check in checks):
        _constrained(authorize, user, name, bool(groups or uid or extra), wanted)
    return User(name, tuple(_groups(name, groups)), uid, extra)


def _check(user: User, resource: str, name: str) -> Attributes:
    return Attributes(user, "impersonate", "", "v1", resource, name=name)


def _user_checks(user: User, name: str) -> list[Attributes]:
    if not name.startswith(_SERVICE_ACCOUNT):
        return [_check(user, "users", name)]
    namespace, _, account = name[len(_SERVICE_ACCOUNT) :].partition(":")
    return [Attributes(user, "impersonate", "", "v1", "serviceaccounts", namespace=namespace, name=account)]


def _constrained(authorize: Authorize, user: User, name: str, more: bool, wanted: Attributes) -> None:
    from pilothouse.apiserver.chain import forbidden_request

    mode = "serviceaccount" if name.startswith(_SERVICE_ACCOUNT) else "user-info"
    on = replace(wanted, user=user, verb=f"impersonate-on:{mode}:{wanted.verb}")
    verdict, reason = authorize(on)
    if verdict is not Verdict.ALLOW or more:
        raise forbidden_request(on, reason)
    for check in _user_checks(user, name):
        narrow = replace(check, verb=f"impersonate:{mode}", group="authentication.k8s.io")
        verdict, reason = authorize(narrow)
        if verdict is not Verdict.ALLOW:
            raise forbidden_error(narrow.group, narrow.resource, name, _why(narrow, reason))


def _why(check: Attributes, reason: str) -> str:
    text = f'User "{check.user.name}" cannot {check.verb} resource "{check.resource}" in API group "{check.group}" at the cluster scope'
    return f"{text}: {reason}" if reason else text


def _extra(request: Request) -> dict[str, tuple[str, ...]]:
    out: dict[str, tuple[str, ...]] = {}
    for key, value in (*request.headers.items(), *request.more):
        if key.startswith(_EXTRA):
            name = unquote(key[len(_EXTRA) :].decode("latin-1")).lower()
            out[name] = (*out.get(name, ()), value.decode("latin-1"))
    return out


def _groups(name: str, groups: list[str]) -> list[str]:
    """The groups that go without saying: authenticated (or not), and those of a service account."""
    out = list(groups)
    if name.startswith(_SERVICE_ACCOUNT) and not groups:
        namespace = name[len(_SERVICE_ACCOUNT) :].partition(":")[0]
        out += ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    default = "system:unauthenticated" if name == "system:anonymous" else "system:authenticated"
    if default not in out and "system:unauthenticated" not in out:
        out.append(default)
    return out


__all__ = ["StatusError", "impersonate"]

"""Groups that go without saying."""

from __future__ import annotations

from dataclasses import replace

from pilothouse.apiserver.interface import User

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"

ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


def authenticated(user: User) -> User:
    """The user as a member of system:authenticated, once."""
    return user if AUTHENTICATED in user.groups else replace(user, groups=(*user.groups, AUTHENTICATED))

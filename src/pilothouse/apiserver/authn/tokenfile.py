"""The static token file (--token-auth-file): a CSV line is token,user,uid and optionally "group1,group2"."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from pilothouse.apiserver.authn.groups import authenticated
from pilothouse.apiserver.interface import Credentials, User


class TokenFile:
    """Looks tokens up in a table that is read once, at start."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = dict(users)

    @classmethod
    def load(cls, path: Path) -> TokenFile:
        """Read a file. ValueError with the file and line for a malformed one."""
        with path.open(newline="", encoding="utf-8") as file:
            return cls(_parse(path, csv.reader(file)))

    def authenticate(self, credentials: Credentials) -> User | None:
        return self._users.get(credentials.bearer) if credentials.bearer else None


def _parse(path: Path, rows: Iterable[list[str]]) -> dict[str, User]:
    users: dict[str, User] = {}
    for number, row in enumerate(rows, 1):
        if not row or not any(row):
            continue
        if len(row) < 3:
            raise ValueError(f"{path}: line {number} has {len(row)} columns; expected at least token,user,uid")
        token, name, uid = (column.strip() for column in row[:3])
        if not token:
            raise ValueError(f"{path}: line {number} has an empty token")
        groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
        users.setdefault(token, authenticated(User(name, groups, uid)))
    return users

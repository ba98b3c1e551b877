"""What can go wrong with an expression: when it is read (issues, with their places) and when it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass


class CelError(Exception):
    """An evaluation that has no value: a missing key, a division by zero, a text that is no address."""


class CostExceeded(CelError):
    """An evaluation that took more than it may."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong with the text of an expression. `offset` counts characters from 0."""

    offset: int
    message: str


class CompileError(Exception):
    """An expression that cannot be compiled; `str()` shows every issue with its line and a mark below it."""

    def __init__(self, source: str, issues: list[Issue]) -> None:
        self.source = source
        self.issues = issues
        super().__init__("\n".join(_show(source, issue) for issue in sorted(issues, key=lambda i: i.offset)))


def _show(source: str, issue: Issue) -> str:
    if not source:  # there is no place to point at
        return f"ERROR: <input>:1:0: {issue.message}"
    before = source[: issue.offset]
    line = before.count("\n")
    column = issue.offset - (before.rfind("\n") + 1)
    lines = source.split("\n")
    return f"ERROR: <input>:{line + 1}:{column + 1}: {issue.message}\n | {lines[line]}\n | {'.' * column}^"

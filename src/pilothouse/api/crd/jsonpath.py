"""The JSONPath of printer columns, replica counts and selectable fields: `.spec.a`, `.status.conditions[?(@.type=="Ready")].status`,
`.spec.list[0]`, `.spec['a.b']`, `.spec.list[*].x`.

What kubectl's reference page "JSONPath Support" describes, less ranges, recursion and unions of paths.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

Step = Callable[[Any], list[Any]]
_TOKEN = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\]\\])+)|\[['"](?P<quoted>[^'"]+)['"]\]|\[(?P<index>-?\d+)\]|(?P<every>\[\*\]|\.\*)|"""
    r"""\[\?\(\s*@(?P<path>[^=!<>\s]+)\s*(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^)\s]+)\s*\)\]"""
)


@functools.lru_cache(maxsize=4096)
def compile_path(text: str) -> Callable[[Any], list[Any]]:
    """The path as a function from a value to everything that it finds. ValueError for what is no path."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    steps = tuple(_steps(inner.removeprefix("$")))

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [out for item in found for out in step(item)]
            if not found:
                break
        return found

    return find


def first(text: str, value: Any) -> Any:
    """The first thing that a path finds; None for nothing."""
    found = compile_path(text)(value)
    return found[0] if found else None


def _steps(text: str) -> list[Step]:
    out: list[Step] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"unrecognized character in path: {text[at:]}")
        out.append(_step(match))
        at = match.end()
    return out


def _step(match: re.Match[str]) -> Step:
    if match["every"]:
        return lambda v: list(v.values()) if isinstance(v, dict) else list(v) if isinstance(v, list) else []
    if match["index"] is not None:
        index = int(match["index"])
        return lambda v: v[index : index + 1 or None] if isinstance(v, list) else []
    if match["op"]:
        return _filter(match["path"], match["op"], match["value"])
    name = match["quoted"] or re.sub(r"\\(.)", r"\1", match["name"])
    return lambda v: [v[name]] if isinstance(v, dict) and name in v else []


def _filter(path: str, operator: str, value: str) -> Step:
    find = compile_path(path)
    wanted = value[1:-1] if value[0] in "\"'" else value

    def fits(item: Any) -> bool:
        found = find(item)
        same = bool(found) and (found[0] if isinstance(found[0], str) else str(found[0]).lower()) == wanted
        return same if operator == "==" else bool(found) and not same

    return lambda v: [item for item in v if fits(item)] if isinstance(v, list) else []

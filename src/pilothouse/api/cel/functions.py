"""How functions are declared: `declare("string.charAt(int) -> string", implementation)`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilothouse.api.cel import types
from pilothouse.api.cel.types import Type
from pilothouse.api.cel.values import type_name

LIBRARIES = (
    "operators",
    "conversions",
    "strings",
    "lists",
    "sets",
    "regex",
    "url",
    "net",
    "quantity",
    "format",
    "semver",
    "optional",
    "times",
    "authz",
    "jsonpatch",
)
Implementation = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function. A method's first parameter is its target."""

    function: str
    method: bool
    params: tuple[Type, ...]
    result: Type
    run: Implementation

    def takes(self, args: list[Any]) -> bool:
        """Whether these values are of the types wanted."""
        return len(args) == len(self.params) and all(map(_is, args, self.params))


_RUNTIME = {"null": "null_type", "timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


def _is(value: Any, t: Type) -> bool:
    return t.kind == "dyn" or t.is_parameter or type_name(value) == _RUNTIME.get(t.kind, t.kind)


def declare(signature: str, run: Implementation) -> Overload:
    """`f(a, b) -> r` is a function, `T.f(a) -> r` a method, `ns::f(a)` a function with a qualified name (ns.f)."""
    head, _, result = signature.partition(" -> ")
    name, _, rest = _split(head)
    params = types.parse_type(f"x({rest})").args if rest else ()
    target, dot, function = name.rpartition(".") if "::" not in name else ("", "", name.replace("::", "."))
    if dot and target:
        return Overload(
            function,
            True,
            (types.parse_type(target.strip("()") if target[0] == "(" else target), *params),
            types.parse_type(result),
            run,
        )
    return Overload(function, False, params, types.parse_type(result), run)


def _split(head: str) -> tuple[str, str, str]:
    """Name and parameters: the last group of brackets."""
    depth = 0
    for n in range(len(head) - 1, -1, -1):
        depth += (head[n] == ")") - (head[n] == "(")
        if depth == 0:
            return head[:n], "(", head[n + 1 : -1]
    raise ValueError(head)


@functools.cache
def table() -> dict[str, list[Overload]]:
    """Every function of every library, by name; made on first use."""
    out: dict[str, list[Overload]] = {}
    for library in LIBRARIES:
        module = importlib.import_module(f"pilothouse.api.cel.lib.{library}")
        for signature, run in module.FUNCTIONS:
            overload = declare(signature, run)
            out.setdefault(overload.function, []).append(overload)
    return out

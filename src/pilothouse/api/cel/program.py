"""The door: an expression with its variables becomes a program that can be run many times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.cel.ast import Node
from pilothouse.api.cel.check import Checker, Messages
from pilothouse.api.cel.compile import Compiler, Frame
from pilothouse.api.cel.errors import CelError, CompileError, Issue
from pilothouse.api.cel.parser import parse
from pilothouse.api.cel.sizes import Bounds
from pilothouse.api.cel.types import Type

#: What one expression may cost (API reference: "Resource use by CEL functions").
CALL_LIMIT = 1_000_000
_TOO_DEEP = "expression recursion limit exceeded"


class Program:
    """A compiled expression. `type` is what it evaluates to, `uses` the variables that it names, `cost` (where it is asked for) the most
    that one evaluation can cost."""

    __slots__ = ("cost", "run", "source", "type", "uses")

    def __init__(
        self,
        source: str,
        variables: Mapping[str, Type],
        messages: Messages | None = None,
        bounds: Bounds | None = None,
        *,
        bindings: bool = False,
    ) -> None:
        self.source = source
        try:
            tree = parse(source, bindings=bindings)
            checker = Checker(variables, messages)
            self.type = checker.check(tree)
            if checker.issues:
                raise CompileError(source, checker.issues)
            self.uses = frozenset(checker.uses)
            self.run = Compiler(checker).compile(tree)
            self.cost = 0 if bounds is None else _most(tree, checker, bounds)
        except RecursionError:
            raise CompileError(source, [Issue(0, _TOO_DEEP)]) from None

    def evaluate(self, variables: Mapping[str, Any], limit: int = CALL_LIMIT) -> tuple[Any, int]:
        """The value and what it cost; CelError where there is none, CostExceeded where it would cost more than `limit`."""
        frame = Frame(dict(variables), limit)
        try:
            value = self.run(frame)
            frame.spend(0)
            return value, frame.cost
        except RecursionError:
            raise CelError(_TOO_DEEP) from None


def _most(tree: Node, checker: Checker, bounds: Bounds) -> int:
    from pilothouse.api.cel.estimate import estimate

    return estimate(tree, checker, bounds).high


def compile_expression(
    source: str,
    variables: Mapping[str, Type],
    messages: Messages | None = None,
    bounds: Bounds | None = None,
    *,
    bindings: bool = False,
) -> Program:
    """CompileError says what is wrong with the expression, as Kubernetes words it. `messages` has the types that may be written out;
    with `bounds` of what the variables hold, the cost is estimated; `bindings`: the expression may use `cel.bind`."""
    return Program(source, variables, messages, bounds, bindings=bindings)

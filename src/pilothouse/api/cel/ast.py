"""The syntax tree. `at` is the place that messages point at: an operator, an opening bracket, the dot of a selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Node:
    at: int


@dataclass(slots=True, eq=False)
class Literal(Node):
    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.field`; with `test` it is has(operand.field), with `optional` operand.?field."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function, an operator (`_+_`), or with `target` a method."""

    function: str
    target: Node | None
    args: list[Node]


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    """`optional` holds the places of elements written with `?`, which are left out when empty."""

    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    """With `type_name` it is a message: keys are then names of fields (Literal)."""

    entries: list[tuple[Node, Node]]
    type_name: str = ""
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Comprehension(Node):
    """A macro over a range: `range.macro(names..., args...)`."""

    macro: str
    range: Node
    names: tuple[str, ...]
    args: list[Node]


@dataclass(slots=True, eq=False)
class Bind(Node):
    """`cel.bind(name, value, body)`, and opt.optMap(name, body) as `value` of its own kind."""

    macro: str
    name: str
    value: Node
    body: Node

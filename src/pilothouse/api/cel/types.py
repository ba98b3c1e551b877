"""Types of expressions, and how one is made to fit another."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """`kind` is a name (int, string, net.IP, ...), list, map, optional_type, type, object, or a parameter (upper-case, with a number)."""

    kind: str
    args: tuple[Type, ...] = ()
    #: Of objects: name in messages, and fields by their escaped names with the real name and type of each.
    name: str = ""
    fields: Mapping[str, tuple[str, Type]] | None = None
    is_parameter: bool = field(init=False, compare=False, repr=False)
    #: Whether a parameter is in it.
    is_open: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        parameter = self.kind[0].isupper() and len(self.kind.rstrip("0123456789")) == 1
        object.__setattr__(self, "is_parameter", parameter)
        object.__setattr__(self, "is_open", parameter or any(a.is_open for a in self.args))

    def __str__(self) -> str:
        if self.kind == "object":
            return self.name
        if self.is_parameter:
            return "dyn"
        return f"{self.kind}({', '.join(map(str, self.args))})" if self.args else self.kind

    def __hash__(self) -> int:
        return hash((self.kind, self.args, self.name))


INT, UINT, DOUBLE, BOOL, STRING, BYTES, NULL, TIMESTAMP, DURATION, DYN = map(
    Type, ("int", "uint", "double", "bool", "string", "bytes", "null", "timestamp", "duration", "dyn")
)
_counter = itertools.count()


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(item: Type) -> Type:
    return Type("optional_type", (item,))


def fresh() -> Type:
    """A parameter that nothing is known of yet."""
    return Type(f"T{next(_counter)}")


def renamed(types: tuple[Type, ...]) -> tuple[Type, ...]:
    """The types with parameters of their own."""
    if not any(t.is_open for t in types):
        return types
    names: dict[str, Type] = {}

    def walk(t: Type) -> Type:
        if not t.is_open:
            return t
        if t.is_parameter:
            return names.setdefault(t.kind, fresh())
        return Type(t.kind, tuple(map(walk, t.args)))

    return tuple(map(walk, types))


def resolve(t: Type, known: Mapping[str, Type]) -> Type:
    """The type with what is known of its parameters."""
    if not t.is_open:
        return t
    while t.is_parameter and t.kind in known:
        t = known[t.kind]
    return Type(t.kind, tuple(resolve(a, known) for a in t.args)) if t.args else t


def fits(a: Type, b: Type, known: dict[str, Type]) -> bool:
    """Whether a value of type `a` may be where `b` is wanted; parameters learn what they are."""
    a, b = resolve(a, known), resolve(b, known)
    if a == b or a.kind == "dyn" or b.kind == "dyn":
        return True
    if a.is_parameter or b.is_parameter:
        parameter, other = (a, b) if a.is_parameter else (b, a)
        known[parameter.kind] = other
        return True
    if a.kind != b.kind or a.name != b.name or len(a.args) != len(b.args):
        return _nullable(a, b)
    return all(fits(x, y, known) for x, y in zip(a.args, b.args, strict=True))


def _nullable(a: Type, b: Type) -> bool:
    """null is also a value of what messages are: durations, timestamps, objects and opaque types."""
    other = b if a.kind == "null" else (a if b.kind == "null" else None)
    return other is not None and (other.kind in ("object", "timestamp", "duration", "optional_type") or "." in other.kind)


_PART = re.compile(r"\s*([A-Za-z_.][\w.]*|[(),])")


def parse_type(text: str) -> Type:
    """`map(string, list(T))`."""
    parts = _PART.findall(text)

    def one() -> Type:
        kind = parts.pop(0)
        args: list[Type] = []
        if parts and parts[0] == "(":
            parts.pop(0)
            while parts[0] != ")":
                args.append(one())
                if parts[0] == ",":
                    parts.pop(0)
            parts.pop(0)
        return Type("optional_type" if kind == "optional" else kind, tuple(args))

    return one()

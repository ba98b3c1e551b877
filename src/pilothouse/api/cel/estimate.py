"""What an expression will cost at least and at most, before there is a value: what definitions are refused by when it is too much.

Walks the checked tree with the sizes that the schema allows (`sizes`). Loops are taken as the folds that they stand for, so that the
estimate is in the same terms as the cost that is counted when the expression runs (`charges`, `compile`). Reference: "Resource use by CEL
functions" in the Kubernetes documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pilothouse.api.cel.ast import Bind, Call, Comprehension, Ident, ListLiteral, Literal, MapLiteral, Node, Select
from pilothouse.api.cel.charges import CHECK, PATTERN, WALK
from pilothouse.api.cel.check import Checker
from pilothouse.api.cel.compile import LIST_COST, LOOPS, MAP_COST, MESSAGE_COST, overload_name
from pilothouse.api.cel.sizes import Bounds

#: More than this is as much as this.
MOST = 2**64 - 1
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """From, to: of costs, and of sizes."""

    low: int
    high: int

    def __add__(self, other: Range) -> Range:
        return Range(min(self.low + other.low, MOST), min(self.high + other.high, MOST))

    def __mul__(self, other: Range) -> Range:
        return Range(min(self.low * other.low, MOST), min(self.high * other.high, MOST))

    def part(self, factor: float = WALK) -> Range:
        return Range(min(math.ceil(self.low * factor), MOST), min(math.ceil(self.high * factor), MOST))

    def union(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


def fixed(value: int) -> Range:
    return Range(value, value)


ZERO, ONE, UNKNOWN = fixed(0), fixed(1), Range(0, MOST)
_SCALARS = frozenset(("int", "uint", "double", "bool", "timestamp", "duration"))
#: Characters of a number, a time or a truth as text.
_WRITTEN = 32


def estimate(tree: Node, checker: Checker, bounds: Bounds) -> Range:
    """The cost of an expression whose variables have these bounds."""
    return _Estimator(checker, bounds).cost(tree)


class _Estimator:
    def __init__(self, checker: Checker, bounds: Bounds) -> None:
        self._checker = checker
        self._bounds = bounds
        self._paths: dict[Node, Path] = {}
        self._sizes: dict[Node, Range] = {}
        #: Names bound by loops and `cel.bind`: the path and size of what they stand for.
        self._scopes: list[dict[str, tuple[Path | None, Range | None]]] = []

    # --- sizes --------------------------------------------------------------------------------------------------------------------

    def size(self, node: Node) -> Range:
        """Characters or elements of a value."""
        found = self._sizes.get(node) or self._by_path(self._paths.get(node))
        if found is not None:
            return found
        kind = self._checker.type_of(node)
        while kind.kind == "optional_type":
            kind = kind.args[0]
        return ONE if kind.kind in _SCALARS or "." in kind.kind else UNKNOWN  # numbers and the like, quantities, addresses

    def _by_path(self, path: Path | None) -> Range | None:
        if not path:
            return None
        at: Bounds | None = self._bounds
        for step in path[1:]:
            at = at.below(step) if at is not None else None
        return Range(0, at.most) if at is not None else None

    def element_size(self, node: Node) -> Range:
        path = self._paths.get(node)
        return (self._by_path((*path, "@items")) if path else None) or UNKNOWN

    # --- costs --------------------------------------------------------------------------------------------------------------------

    def cost(self, node: Node) -> Range:
        match node:
            case Literal():
                self._sizes[node] = fixed(len(node.value) if isinstance(node.value, (str, bytes)) else 1)
                return ZERO
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                self._sizes[node] = fixed(len(node.items))
                return self._sum(node.items) + fixed(LIST_COST)
            case MapLiteral():
                self._sizes[node] = fixed(len(node.entries))
                parts = [part for entry in node.entries for part in (entry[1:] if node.type_name else entry)]
                return self._sum(parts) + fixed(MESSAGE_COST if node.type_name else MAP_COST)
            case Comprehension():
                return self._comprehension(node)
            case Bind():
                return self._bind(node)
        raise TypeError(node)

    def _sum(self, nodes: list[Node]) -> Range:
        total = ZERO
        for node in nodes:
            total += self.cost(node)
        return total

    def _ident(self, node: Ident) -> Range:
        for scope in reversed(self._scopes):
            if node.name in scope:
                path, size = scope[node.name]
                if path is not None:
                    self._paths[node] = path
                if size is not None:
                    self._sizes[node] = size
                return ONE
        self._paths[node] = (node.name,)
        return ONE

    def _select(self, node: Select) -> Range:
        if node in self._checker.named:
            return ONE
        operand = self.cost(node.operand)
        if node.test:
            return operand
        if node.optional:
            return operand + ONE
        path, kind = self._paths.get(node.operand), self._checker.type_of(node.operand)
        if path is not None:
            self._paths[node] = (*path, node.field)
        return operand + ONE if kind.kind in ("map", "object") or kind.is_parameter else operand

    def _call(self, node: Call) -> Range:
        if node.function in ("_&&_", "_||_"):
            left, right = map(self.cost, node.args)
            return Range(left.low, (left + right).high)
        if node.function == "_?_:_":
            test, yes, no = map(self.cost, node.args)
            self._sizes[node] = self.size(node.args[1]).union(self.size(node.args[2]))
            return test + yes.union(no)
        qualified = node in self._checker.qualified
        nodes = list(node.args) if node.target is None or qualified else [node.target, *node.args]
        spent = self._sum(nodes)
        if node.function == "_[_]" and (path := self._paths.get(nodes[0])) is not None:
            of = self._checker.type_of(nodes[0]).kind
            self._paths[node] = (*path, "@items" if of == "list" else "@values")
        return spent + self._function(node, overload_name(node, qualified), nodes)

    def _function(self, node: Call, name: str, args: list[Node]) -> Range:
        made = _FUNCTIONS.get(name)
        if made is None:
            return ONE
        kinds = {overload.params[0].kind for overload in self._checker.overloads.get(node, ()) if overload.params}
        cost, size = made(self, args, kinds)
        if size is not None:
            self._sizes[node] = size
        return cost

    # --- loops --------------------------------------------------------------------------------------------------------------------

    def _comprehension(self, node: Comprehension) -> Range:
        spent, path = self.cost(node.range), self._paths.get(node.range) or ()
        turns = self.size(node.range)
        mapped = self._checker.type_of(node.range).kind == "map"
        steps = ("@keys", "@values") if mapped else ("", "@items")
        single = (*path, "@keys" if mapped else "@items")
        if len(node.names) == 1:
            scope: dict[str, tuple[Path | None, Range | None]] = {node.names[0]: (single, None)}
        else:
            scope = {n: ((*path, s) if s else None, None) for n, s in zip(node.names, steps, strict=True)}
        self._scopes.append(scope)
        args = [self.cost(a) for a in node.args]
        self._scopes.pop()
        once, _ = LOOPS[node.macro]
        if node.macro not in ("all", "exists", "exists_one", "existsOne"):
            self._sizes[node] = turns
        return spent + fixed(once) + turns * _turn(node.macro, args)

    def _bind(self, node: Bind) -> Range:
        spent = self.cost(node.value) + fixed(LIST_COST)
        size = self._sizes.get(node.value) if node.macro == "bind" else None
        self._scopes.append({node.name: (self._paths.get(node.value), size)})
        body = self.cost(node.body)
        self._scopes.pop()
        if node.macro == "bind":
            self._sizes[node] = self.size(node.body)
        return spent + body


def _turn(macro: str, args: list[Range]) -> Range:
    """One turn of a loop: its condition, the step, and what is decided or added."""
    each = LOOPS[macro][1]
    if macro in ("all", "exists"):
        return Range(each, (fixed(each) + args[0]).high)
    if macro in ("exists_one", "existsOne"):
        return args[0] + Range(1, 2)
    if macro == "filter":
        return args[0] + Range(1, 3 + LIST_COST)
    added = args[-1] + fixed({"transformMap": 3, "transformMapEntry": 2}.get(macro, 2 + LIST_COST))
    return added if len(args) == 1 else args[0] + added.union(ONE)


# --- functions ----------------------------------------------------------------------------------------------------------------------

#: (estimator, arguments with the target first, kinds of the first argument) -> cost, size of the result if it is known.
_Function = Callable[[_Estimator, list[Node], set[str]], "tuple[Range, Range | None]"]


def _compared(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    most = min(e.size(args[0]).high, e.size(args[1]).high)
    return Range(1 if most else 0, most).part(), None


def _ordered(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    """Texts are compared character by character, everything else at once."""
    costs = [_compared(e, args, kinds)[0] if kind in ("string", "bytes") else ONE for kind in kinds or {"int"}]
    return _union(costs), None


def _union(ranges: list[Range]) -> Range:
    out = ranges[0]
    for one in ranges[1:]:
        out = out.union(one)
    return out


def _added(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    size = e.size(args[0]) + e.size(args[1])
    costs = [size.part() if kind in ("string", "bytes") else ONE for kind in kinds or {"int"}]
    return _union(costs), size if kinds & {"string", "bytes", "list"} else None


def _contained(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    return (e.size(args[1]), None) if e._checker.type_of(args[1]).kind != "map" else (ONE, None)


def _walked(times: float = 1, keeps: bool = False, which: int = 0) -> _Function:
    def run(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
        size = e.size(args[which])
        return size.part(WALK * times), size if keeps else None

    return run


def _converted(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    """Between texts and bytes; and what has no length, as text."""
    if not kinds & {"string", "bytes"}:
        return ONE, Range(0, _WRITTEN)
    size = e.size(args[0])
    most = size.high if "bytes" in kinds else min(size.high * 4, MOST)
    return _union([size.part(), ONE]) if kinds - {"string", "bytes"} else size.part(), Range(size.low // 4, most)


def _matched(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    return (e.size(args[0]) + ONE).part() * e.size(args[1]).part(PATTERN), Range(0, e.size(args[0]).high)


def _within(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    return e.size(args[0]).part() * e.size(args[1]).part(), None


def _visited(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    """Every element is looked at, and every character of one that is a text."""
    kind = e._checker.type_of(args[0])
    each = ONE
    if kind.kind == "string":
        return e.size(args[0]).part(), None
    if kind.kind == "list" and kind.args[0].kind in ("string", "bytes"):
        each += e.element_size(args[0]).part()
    return e.size(args[0]) * each, None


def _replaced(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    text, old, new = (e.size(a) for a in args[:3])
    if old.low == 0:
        high = (text.high + 1) * new.high + text.high
    elif new.high <= old.low:
        high = text.high
    else:
        high = math.ceil(text.high / old.low) * new.high
    return text.part(2 * WALK), Range(0, min(high, MOST))


def _split(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    size = e.size(args[0])
    limit = args[2].value if len(args) > 2 and isinstance(args[2], Literal) and args[2].value >= 0 else size.high
    return size.part(2 * WALK), Range(0, limit)


def _joined(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    count = e.size(args[0])
    size = count * e.element_size(args[0])
    if len(args) > 1:
        size += Range(max(count.low - 1, 0), max(count.high - 1, 0)) * e.size(args[1])
    return size.part(), size


def _within_network(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    read = e.size(args[1]).part() if e._checker.type_of(args[1]).kind == "string" else ZERO
    return Range(8, 32).part() + read, None


def _sets(factor: int) -> _Function:
    return lambda e, args, kinds: (ONE + e.size(args[0]) * e.size(args[1]) * fixed(factor), None)


def _quoted(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    size = e.size(args[0])
    return size.part(), Range(size.low + 2, min(size.high * 2 + 2, MOST))


def _unchecked(e: _Estimator, args: list[Node], kinds: set[str]) -> tuple[Range, Range | None]:
    return ONE, e.size(args[0])


_FUNCTIONS: dict[str, _Function] = {
    "dyn": _unchecked,
    **dict.fromkeys(("_==_", "_!=_"), _compared),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _ordered),
    "_+_": _added,
    "@in": _contained,
    **dict.fromkeys(("startsWith", "endsWith"), _walked(which=1)),
    "contains": _within,
    **dict.fromkeys(("matches", "find", "findAll"), _matched),
    **dict.fromkeys(("string", "bytes"), _converted),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _walked(keeps=True)),
    **dict.fromkeys(("format", "url", "cidr", "isIP", "isCIDR"), _walked()),
    "ip": lambda e, args, kinds: _walked()(e, args, kinds) if "string" in kinds else (ONE, None),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver"), _walked()),
    "ip.isCanonical": _walked(2),
    "replace": _replaced,
    "split": _split,
    "join": _joined,
    **dict.fromkeys(("isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"), _visited),
    "containsIP": _within_network,
    "containsCIDR": lambda e, args, kinds: (_within_network(e, args, kinds)[0] + Range(4, 16).part() + ONE, None),
    "validate": lambda e, args, kinds: ((e.size(args[1]) + ONE).part() * fixed(60).part(PATTERN), None),
    "check": lambda e, args, kinds: (fixed(CHECK), None),
    "strings.quote": _quoted,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}

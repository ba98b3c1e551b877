"""A checked tree to closures, which count what they cost: names and selections 1, calls what `charges` says, loops what their steps would
cost if they were written out (condition, accumulator, the new list or map)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pilothouse.api.cel.ast import Bind, Call, Comprehension, Ident, ListLiteral, Literal, MapLiteral, Node, Select
from pilothouse.api.cel.charges import COMPARISONS, charge_of, charge_one
from pilothouse.api.cel.check import Checker
from pilothouse.api.cel.convert import converter
from pilothouse.api.cel.errors import CelError, CostExceeded
from pilothouse.api.cel.values import NONE, Message, Optional, TypeValue, Uint, type_name

EXCEEDED = "operation cancelled: actual cost limit exceeded"
LIST_COST, MAP_COST, MESSAGE_COST = 10, 30, 40
_MISSING: Any = object()
#: How a function fails when it is handed what it was not made for: null passes the check of types, and so does what has no type.
_NOT_MADE_FOR = (TypeError, AttributeError, ValueError, LookupError, ArithmeticError)
#: What the keys of a map may be.
_KEYS = (str, int, bool, Uint)
#: Values that are no function which makes the value when it is asked for.
_READY = frozenset((str, int, bool, float, dict, list))
#: Types of values that are compared at once, whatever with.
_SIZELESS = frozenset(("int", "uint", "double", "bool", "timestamp", "duration"))


class Frame:
    """One evaluation: its variables and what it has cost. Names and selections only add to the cost: calls and loops, and the end of it
    all, look whether it is too much."""

    __slots__ = ("cost", "limit", "vars")

    def __init__(self, variables: dict[str, Any], limit: int) -> None:
        self.vars = variables
        self.cost = 0
        self.limit = limit

    def spend(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded(EXCEEDED)


Run = Callable[[Frame], Any]


class Compiler:
    """Closures of one expression."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker

    def compile(self, node: Node) -> Run:
        match node:
            case Literal():
                value = node.value
                return lambda frame: value
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Comprehension():
                return self._comprehension(node)
            case Bind():
                return self._bind(node)
        raise TypeError(node)

    def _ident(self, node: Ident) -> Run:
        name, kind = node.name, self.checker.type_of(node)
        as_type = TypeValue(name) if kind.kind == "type" else None

        def run(frame: Frame) -> Any:
            frame.cost += 1
            found = frame.vars.get(name, as_type)
            if type(found) not in _READY and callable(found):
                found = frame.vars[name] = found()
            return found

        return run

    # --- selections ---------------------------------------------------------------------------------------------------------------

    def _select(self, node: Select) -> Run:
        if node in self.checker.named:
            variable = self.checker.named[node]

            def named(frame: Frame) -> Any:
                frame.cost += 1
                return frame.vars[variable]

            return named
        operand, kind = self.compile(node.operand), self.checker.type_of(node.operand)
        if kind.kind == "optional_type":
            kind = kind.args[0]
        field = kind.fields.get(node.field) if kind.fields else None
        name = field[0] if field is not None else node.field
        convert = converter(field[1]) if field is not None else None

        def find(value: Any) -> Any:
            if not isinstance(value, dict):
                raise CelError(f"no such key: {name}" if value is None else "no such overload")
            found = value.get(name, _MISSING)
            return convert(found) if convert is not None and found is not _MISSING and found is not None else found

        general = _selecting(operand, find, name, node)
        if node.test or node.optional or self._open(node.operand) or self.checker.type_of(node.operand).kind == "optional_type":
            return general

        def plain(frame: Frame) -> Any:
            frame.cost += 1
            found = find(operand(frame))
            if found is _MISSING:
                raise CelError(f"no such key: {name}")
            return found

        return plain

    # --- calls ----------------------------------------------------------------------------------------------------------------------

    def _call(self, node: Call) -> Run:
        if node.function in ("_&&_", "_||_"):
            return self._junction(node)
        if node.function == "_?_:_":
            test, yes, no = map(self.compile, node.args)
            return lambda frame: (yes if _truth(test(frame)) else no)(frame)
        nodes = list(node.args) if node.target is None or node in self.checker.qualified else [node.target, *node.args]
        args = [self.compile(a) for a in nodes]
        charge = charge_of(overload_name(node, node in self.checker.qualified))
        if node.function in COMPARISONS and any(self.checker.type_of(a).kind in _SIZELESS for a in nodes):
            charge = charge_one
        overloads = self.checker.overloads[node]
        only = overloads[0].run if len({o.run for o in overloads}) == 1 else None
        exact = only is not None and (node.function[0] in "_@!-" or not any(self._open(a) for a in nodes))

        if exact and only is not None:
            return _calling(only, args, charge)

        def run(frame: Frame) -> Any:
            values = [a(frame) for a in args]
            frame.spend(charge(values))
            try:
                for overload in overloads:
                    if overload.takes(values):
                        return overload.run(*values)
            except _NOT_MADE_FOR as error:
                raise CelError("no such overload") from error
            raise CelError("no such overload")

        return run

    def _open(self, node: Node) -> bool:
        kind = self.checker.type_of(node)
        return kind.kind == "dyn" or kind.is_parameter

    def _junction(self, node: Call) -> Run:
        """&& and ||: an error on one side does not matter where the other side decides."""
        left, right = map(self.compile, node.args)
        decides = node.function == "_||_"
        other = not decides

        def run(frame: Frame) -> bool:
            try:
                found = left(frame)
                if found is decides:
                    return decides
                if found is not other:
                    raise CelError("no such overload")
            except CostExceeded:
                raise
            except CelError:
                if _truth(right(frame)) is decides:
                    return decides
                raise
            return _truth(right(frame))

        return run

    # --- literals ---------------------------------------------------------------------------------------------------------------------

    def _list(self, node: ListLiteral) -> Run:
        items = [(self.compile(item), n in node.optional) for n, item in enumerate(node.items)]

        def run(frame: Frame) -> list[Any]:
            frame.spend(LIST_COST)
            out = []
            for item, optional in items:
                value = item(frame)
                if not optional:
                    out.append(value)
                elif _optional(value).present:
                    out.append(value.value)
            return out

        return run

    def _map(self, node: MapLiteral) -> Run:
        entries = [(self.compile(k), self.compile(v), n in node.optional) for n, (k, v) in enumerate(node.entries)]
        name = node.type_name
        cost = MESSAGE_COST if node.type_name else MAP_COST

        def run(frame: Frame) -> dict[Any, Any]:
            frame.spend(cost)
            out: dict[Any, Any] = {}
            for key, value, optional in entries:
                k, v = key(frame), value(frame)
                if type(k) not in _KEYS:
                    raise CelError(f"unsupported key type: {type_name(k)}")
                if k in out:
                    raise CelError(f"insert failed: key {k} already exists")
                if not optional:
                    out[k] = v
                elif _optional(v).present:
                    out[k] = v.value
            return Message(name, out) if name else out

        return run

    # --- macros -----------------------------------------------------------------------------------------------------------------------

    def _comprehension(self, node: Comprehension) -> Run:
        source, args = self.compile(node.range), [self.compile(a) for a in node.args]
        names, fold, (once, each) = node.names, _FOLDS[node.macro], LOOPS[node.macro]

        def steps(frame: Frame, items: Any) -> Iterator[Any]:
            if not isinstance(items, (list, dict)):
                raise CelError("no such overload")
            variables, name = frame.vars, names[0]
            if len(names) == 1:
                for item in items:
                    frame.spend(each)
                    variables[name] = item
                    yield item
                return
            for key, value in items.items() if isinstance(items, dict) else enumerate(items):
                frame.spend(each)
                variables[name], variables[names[1]] = key, value
                yield key

        def run(frame: Frame) -> Any:
            items = source(frame)
            frame.spend(once)
            saved = {n: frame.vars[n] for n in names if n in frame.vars}
            try:
                return fold(frame, steps(frame, items), args)
            finally:
                for n in names:
                    frame.vars.pop(n, None)
                frame.vars.update(saved)

        return run

    def _bind(self, node: Bind) -> Run:
        value, body, name, macro = self.compile(node.value), self.compile(node.body), node.name, node.macro

        def run(frame: Frame) -> Any:
            bound = value(frame)
            frame.spend(LIST_COST)
            if macro != "bind":
                if not _optional(bound).present:
                    return NONE
                bound = bound.value
            before = frame.vars.get(name, _MISSING)
            frame.vars[name] = bound
            try:
                found = body(frame)
            finally:
                frame.vars.pop(name)
                if before is not _MISSING:
                    frame.vars[name] = before
            return Optional(True, found) if macro == "optMap" else found

        return run


def _calling(function: Callable[..., Any], args: list[Run], charge: Callable[[list[Any]], int]) -> Run:
    """A call of the one function that it can be; those of two arguments, the most by far, without a loop."""
    constant = 1 if charge is charge_one else 0

    def several(frame: Frame) -> Any:
        values = [a(frame) for a in args]
        frame.spend(constant or charge(values))
        try:
            return function(*values)
        except _NOT_MADE_FOR as error:
            raise CelError("no such overload") from error

    if len(args) != 2:
        return several
    first, second = args

    def two(frame: Frame) -> Any:
        a = first(frame)
        b = second(frame)
        frame.cost += constant or charge([a, b])
        if frame.cost > frame.limit:
            raise CostExceeded(EXCEEDED)
        try:
            return function(a, b)
        except _NOT_MADE_FOR as error:
            raise CelError("no such overload") from error

    return two


def _selecting(operand: Run, find: Callable[[Any], Any], name: str, node: Select) -> Run:
    test, optional = node.test, node.optional

    def run(frame: Frame) -> Any:
        value = operand(frame)
        if not test:
            frame.cost += 1
        wrapped = isinstance(value, Optional)
        if wrapped and not value.present:
            return False if test else NONE
        found = find(value.value if wrapped else value)
        if test:
            return found is not _MISSING and found is not None
        if wrapped or optional:
            return NONE if found is _MISSING else Optional(True, found)
        if found is _MISSING:
            raise CelError(f"no such key: {name}")
        return found

    return run


def overload_name(node: Call, qualified: bool) -> str:
    """The name of a call's function, with the name that it is qualified by."""
    return f"{node.target.name}.{node.function}" if qualified and isinstance(node.target, Ident) else node.function


def _optional(value: Any) -> Optional:
    if isinstance(value, Optional):
        return value
    raise CelError("cannot initialize optional entry from non-optional value")


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise CelError("no such overload")


# --- what each macro makes of its steps ----------------------------------------------------------------------------------------------


def _decide(frame: Frame, steps: Iterator[Any], args: list[Run], decisive: bool) -> bool:
    """all and exists: an error does not matter where another element decides."""
    error: CelError | None = None
    condition, other = args[0], not decisive
    for _ in steps:
        try:
            found = condition(frame)
            if found is decisive:
                return decisive
            if found is not other:
                raise CelError("no such overload")
        except CostExceeded:
            raise
        except CelError as wrong:
            error = wrong
    if error is not None:
        raise error
    return not decisive


def _transform(frame: Frame, steps: Iterator[Any], args: list[Run]) -> list[Any]:
    return [args[-1](frame) for _ in steps if _taken(frame, args, _APPEND)]


def _taken(frame: Frame, args: list[Run], cost: int) -> bool:
    """Whether an element is; putting it into the new list or map costs more than leaving it out."""
    if len(args) > 1 and not _truth(args[0](frame)):
        frame.spend(1)
        return False
    frame.spend(cost)
    return True


def _filter(frame: Frame, steps: Iterator[Any], args: list[Run]) -> list[Any]:
    out = []
    for item in steps:
        good = _truth(args[0](frame))
        frame.spend(_APPEND + 1 if good else 1)
        if good:
            out.append(item)
    return out


def _one(frame: Frame, steps: Iterator[Any], args: list[Run]) -> bool:
    count = 0
    for _ in steps:
        good = _truth(args[0](frame))
        frame.spend(2 if good else 1)
        count += good
    return count == 1


def _entries(frame: Frame, steps: Iterator[Any], args: list[Run]) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for _ in steps:
        if _taken(frame, args, _INSERT - 1):
            out.update(args[-1](frame))
    return out


#: A list of one element, added to what there is; an entry put into a map.
_APPEND, _INSERT = 2 + LIST_COST, 3
#: What a loop costs once (the empty list or map, its result), and each turn of it whatever is done there.
LOOPS: dict[str, tuple[int, int]] = {
    "all": (1, 3),
    "exists": (1, 4),
    "exists_one": (2, 0),
    "existsOne": (2, 0),
    "filter": (1 + LIST_COST, 0),
    "map": (1 + LIST_COST, 0),
    "transformList": (1 + LIST_COST, 0),
    "transformMap": (1 + MAP_COST, 0),
    "transformMapEntry": (1 + MAP_COST, 0),
}
_FOLDS: dict[str, Callable[[Frame, Iterator[Any], list[Run]], Any]] = {
    "all": lambda f, s, a: _decide(f, s, a, False),
    "exists": lambda f, s, a: _decide(f, s, a, True),
    "exists_one": _one,
    "existsOne": _one,
    "filter": _filter,
    "map": _transform,
    "transformList": _transform,
    "transformMap": lambda f, s, a: {k: a[-1](f) for k in s if _taken(f, a, _INSERT)},
    "transformMapEntry": _entries,
}

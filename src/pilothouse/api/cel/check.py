"""Types of all nodes of a tree, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pilothouse.api.cel import types
from pilothouse.api.cel.ast import Bind, Call, Comprehension, Ident, ListLiteral, Literal, MapLiteral, Node, Select
from pilothouse.api.cel.errors import CelError, Issue
from pilothouse.api.cel.functions import Overload, table
from pilothouse.api.cel.types import BOOL, DYN, INT, Type, fits, list_of, map_of, optional_of, resolve
from pilothouse.api.cel.values import type_name

_TYPE_NAMES = {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "optional_type"}
ERROR = Type("error")
#: Types of messages that may be written out (`JSONPatch{op: ...}`), by their names; None for unknown ones.
Messages = Callable[[str], Type | None]


class Checker:
    """One expression's types. `overloads` and `kinds` are what the compiler needs of it."""

    def __init__(self, variables: Mapping[str, Type], messages: Messages | None = None) -> None:
        self._messages = messages
        self.scopes: list[Mapping[str, Type]] = [variables]
        self.known: dict[str, Type] = {}
        self.issues: list[Issue] = []
        self.kinds: dict[Node, Type] = {}
        self.overloads: dict[Call, list[Overload]] = {}
        self.qualified: set[Call] = set()
        self.uses: set[str] = set()
        #: Selections that are variables with a qualified name.
        self.named: dict[Select, str] = {}

    def check(self, node: Node) -> Type:
        found = resolve(self._check(node), self.known)
        self.kinds[node] = found
        return found

    def type_of(self, node: Node) -> Type:
        """After the check: the type with all that was learned since."""
        return resolve(self.kinds[node], self.known)

    def _wrong(self, at: int, message: str) -> Type:
        self.issues.append(Issue(at, message))
        return ERROR

    def _check(self, node: Node) -> Type:
        match node:
            case Literal():
                name = type_name(node.value)
                return types.NULL if name == "null_type" else Type(name)
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return list_of(self._same([(item, n in node.optional) for n, item in enumerate(node.items)]))
            case MapLiteral():
                return self._map(node)
            case Comprehension():
                return self._comprehension(node)
            case Bind():
                return self._bind(node)
        raise TypeError(node)

    def _ident(self, node: Ident) -> Type:
        for scope in reversed(self.scopes):
            if node.name in scope:
                self.uses.add(node.name)
                return scope[node.name]
        if node.name in _TYPE_NAMES:
            return Type("type", (DYN,))
        return self._wrong(node.at, f"undeclared reference to '{node.name}' (in container '')")

    def _select(self, node: Select) -> Type:
        if isinstance(node.operand, Ident) and not node.test:
            name = f"{node.operand.name}.{node.field}"
            if name in self.scopes[0]:
                self.named[node] = name
                return self.scopes[0][name]
        operand = self.check(node.operand)
        wrapped = operand.kind == "optional_type"
        inner = operand.args[0] if wrapped else operand
        result = self._field(node, inner)
        if result is ERROR:
            return ERROR
        if node.test:
            return BOOL
        return optional_of(result) if wrapped or node.optional else result

    def _field(self, node: Select, operand: Type) -> Type:
        if operand.kind == "dyn" or operand.is_parameter:
            return DYN
        if operand.kind == "map":
            return operand.args[1]
        if operand.kind == "object" and operand.fields is not None:
            field = operand.fields.get(node.field)
            return field[1] if field is not None else self._wrong(node.at, f"undefined field '{node.field}'")
        if operand is ERROR:
            return ERROR
        return self._wrong(node.at, f"type '{operand}' does not support field selection")

    def _same(self, items: list[tuple[Node, bool]]) -> Type:
        """The one type of all elements of a literal."""
        common = types.fresh()
        for item, optional in items:
            found = self.check(item)
            if optional:
                found = self._wrapped(item, found)
            if found is not ERROR and not fits(found, common, self.known):
                self._wrong(item.at, f"expected type '{resolve(common, self.known)}' but found '{found}'")
        return common

    def _wrapped(self, item: Node, found: Type) -> Type:
        """What is in an optional value, as which an element that is written with `?` has to be."""
        if found.kind == "optional_type":
            return found.args[0]
        if found.kind == "dyn" or found.is_parameter or found is ERROR:
            return found
        return self._wrong(item.at, f"expected type '{optional_of(found)}' but found '{found}'")

    def _map(self, node: MapLiteral) -> Type:
        if node.type_name:
            return self._message(node)
        keys = self._same([(k, False) for k, _ in node.entries])
        return map_of(keys, self._same([(v, n in node.optional) for n, (_, v) in enumerate(node.entries)]))

    def _message(self, node: MapLiteral) -> Type:
        kind = self._messages(node.type_name) if self._messages is not None else None
        if kind is None:
            return self._wrong(node.at, f"undeclared reference to '{node.type_name}' (in container '')")
        for n, (key, value) in enumerate(node.entries):
            found, name = self.check(value), key.value if isinstance(key, Literal) else ""
            field = kind.fields.get(name) if kind.fields is not None else None
            if n in node.optional and found.kind == "optional_type":
                found = found.args[0]
            if found is not ERROR and (field is None or not fits(found, field[1], self.known)):
                wanted = field[1] if field is not None else ""
                self._wrong(key.at, f"expected type of field '{name}' is '{wanted}' but provided type is '{found}'")
        return kind

    # --- calls --------------------------------------------------------------------------------------------------------------------

    def _call(self, node: Call) -> Type:
        functions = table()
        if isinstance(node.target, Ident) and f"{node.target.name}.{node.function}" in functions:
            self.qualified.add(node)
            return self._overload(node, f"{node.target.name}.{node.function}", [], method=False)
        target = [] if node.target is None else [self.check(node.target)]
        return self._overload(node, node.function, target, method=bool(target))

    def _overload(self, node: Call, name: str, target: list[Type], method: bool) -> Type:
        args = target + [self._argument(a, name) for a in node.args]
        candidates = [o for o in table().get(name, ()) if o.method == method]
        if any(a is ERROR for a in args) and candidates:
            return ERROR
        if not candidates:
            return self._wrong(node.at, f"undeclared reference to '{name}' (in container '')")
        found, results = [], []
        first: dict[str, Type] | None = None
        for overload in candidates:
            if len(overload.params) != len(args):
                continue
            *params, result = types.renamed((*overload.params, overload.result))
            known = dict(self.known)
            if all(fits(a, p, known) for a, p in zip(args, params, strict=True)):
                found.append(overload)
                results.append(resolve(result, known))
                first = first if first is not None else known
        if first is None:
            shown = f"{args[0]}.({', '.join(map(str, args[1:]))})" if method else f"({', '.join(map(str, args))})"
            return self._wrong(node.at, f"found no matching overload for '{name}' applied to '{shown}'")
        self.overloads[node] = found
        if len(found) == 1:
            self.known = first
        self._literal(node, name)
        return results[0] if all(r == results[0] for r in results) else DYN

    def _argument(self, node: Node, function: str) -> Type:
        """What is formatted is the one list that may be of several types."""
        if function == "format" and isinstance(node, ListLiteral):
            for item in node.items:
                self.check(item)
            self.kinds[node] = list_of(DYN)
            return self.kinds[node]
        return self.check(node)

    def _literal(self, node: Call, name: str) -> None:
        """An argument that is written out must be good: patterns, times, durations, formats."""
        if name == "format":
            self._format(node)
            return
        text = node.args[-1].value if node.args and isinstance(node.args[-1], Literal) else None
        if name not in ("matches", "timestamp", "duration") or not isinstance(text, str):
            return
        from pilothouse.api.cel.lib import regex, times

        parsers: dict[str, Callable[[str], object]] = {
            "matches": regex.pattern,
            "timestamp": times.parse_timestamp,
            "duration": times.parse_duration,
        }
        try:
            parsers[name](text)
        except CelError:
            self._wrong(node.args[-1].at, f"invalid {name} argument")

    def _format(self, node: Call) -> None:
        text, args = node.target, node.args[0] if node.args else None
        if not isinstance(text, Literal) or not isinstance(args, ListLiteral) or args.optional:
            return
        from pilothouse.api.cel.lib.format import problems

        for which, told in problems(text.value, [self.type_of(item).kind for item in args.items]):
            self._wrong(node.at if which is None else args.items[which].at, told)

    # --- macros ---------------------------------------------------------------------------------------------------------------------

    def _comprehension(self, node: Comprehension) -> Type:
        source = self.check(node.range)
        if source is ERROR:
            return ERROR
        if source.kind not in ("list", "map", "dyn") and not source.is_parameter:
            shown = f"expression of type '{source}' cannot be range of a comprehension (must be list, map, or dynamic)"
            return self._wrong(node.range.at, shown)
        item = source.args[0] if source.args else DYN
        if len(node.names) == 1:
            scope = {node.names[0]: item}
        else:
            key, value = (INT, item) if source.kind == "list" else ((item, source.args[1]) if source.args else (DYN, DYN))
            scope = dict(zip(node.names, (key, value), strict=True))
        self.scopes.append(scope)
        found = [self.check(a) for a in node.args]
        self.scopes.pop()
        return self._result(node, source, item, scope, found)

    def _result(self, node: Comprehension, source: Type, item: Type, scope: dict[str, Type], found: list[Type]) -> Type:
        conditions = found if node.macro in ("all", "exists", "exists_one", "existsOne", "filter") else found[:-1]
        for arg, kind in zip(node.args, conditions, strict=False):
            if kind is not ERROR and not fits(kind, BOOL, self.known):
                self._wrong(arg.at, f"expected type 'bool' but found '{kind}'")
        if node.macro in ("map", "transformList"):
            return list_of(found[-1])
        if node.macro == "transformMap":
            return map_of(scope[node.names[0]], found[-1])
        if node.macro == "transformMapEntry":
            return found[-1]
        return list_of(item) if node.macro == "filter" else BOOL

    def _bind(self, node: Bind) -> Type:
        value = self.check(node.value)
        if node.macro != "bind":
            value = value.args[0] if value.kind == "optional_type" else DYN
        self.scopes.append({node.name: value})
        body = self.check(node.body)
        self.scopes.pop()
        return optional_of(body) if node.macro == "optMap" else body

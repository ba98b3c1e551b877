"""Tokens to a tree, by precedence climbing; macros become nodes of their own."""

from __future__ import annotations

from pilothouse.api.cel.ast import Bind, Call, Comprehension, Ident, ListLiteral, Literal, MapLiteral, Node, Select
from pilothouse.api.cel.errors import CompileError, Issue
from pilothouse.api.cel.lexer import Token, tokenize
from pilothouse.api.cel.values import Uint

_BINARY = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_KEYWORDS = {"true": True, "false": False, "null": None}
#: Words that are no identifiers, though the language has no use for them.
RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_EXPRESSION = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
#: macro -> numbers of arguments with one name, and with two.
_MACROS: dict[str, tuple[frozenset[int], frozenset[int]]] = {
    "all": (frozenset((2,)), frozenset((3,))),
    "exists": (frozenset((2,)), frozenset((3,))),
    "exists_one": (frozenset((2,)), frozenset((3,))),
    "existsOne": (frozenset(), frozenset((3,))),
    "map": (frozenset((2, 3)), frozenset()),
    "filter": (frozenset((2,)), frozenset()),
    "transformList": (frozenset(), frozenset((3, 4))),
    "transformMap": (frozenset(), frozenset((3, 4))),
    "transformMapEntry": (frozenset(), frozenset((3, 4))),
}
_MAX_DEPTH = 250


def parse(source: str, *, bindings: bool = False) -> Node:
    """The tree of an expression; CompileError. `bindings`: there is `cel.bind`."""
    tokens, issues = tokenize(source)
    parser = _Parser(tokens, bindings)
    try:
        node = parser.expression()
        parser.end()
    except _Wrong as wrong:
        raise CompileError(source, [*issues, wrong.issue]) from None
    issues += parser.issues
    if issues:
        raise CompileError(source, issues)
    return node


class _Wrong(Exception):
    def __init__(self, at: int, message: str) -> None:
        self.issue = Issue(at, message)


class _Parser:
    def __init__(self, tokens: list[Token], bindings: bool) -> None:
        self.tokens = tokens
        self.bindings = bindings
        self.n = 0
        self.depth = 0
        self.issues: list[Issue] = []

    @property
    def token(self) -> Token:
        return self.tokens[self.n]

    def take(self) -> Token:
        token = self.tokens[self.n]
        self.n += 1
        return token

    def sees(self, *texts: str) -> bool:
        token = self.token
        return token.kind == "op" and token.text in texts

    def accept(self, text: str) -> bool:
        if self.sees(text):
            self.n += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        if not self.sees(text):
            raise self.mismatched(f"'{text}'")
        return self.take()

    def mismatched(self, wanted: str) -> _Wrong:
        return _Wrong(self.token.at, f"Syntax error: mismatched input '{self.token.text}' expecting {wanted}")

    def end(self) -> None:
        if self.token.kind != "end":
            extra = "extraneous" if self.tokens[self.n + 1].kind == "end" else "mismatched"
            raise _Wrong(self.token.at, f"Syntax error: {extra} input '{self.token.text}' expecting <EOF>")

    # --- operators --------------------------------------------------------------------------------------------------------------

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _Wrong(self.token.at, f"expression recursion limit exceeded: {_MAX_DEPTH}")
        node = self.binary(1)
        if self.sees("?"):
            at = self.take().at
            yes = self.binary(1)
            self.expect(":")
            node = Call(at, "_?_:_", None, [node, yes, self.expression()])
        self.depth -= 1
        return node

    def binary(self, least: int) -> Node:
        left = self.unary()
        while True:
            token = self.token
            level = _BINARY.get(token.text, 0) if token.kind == "op" or token.text == "in" else 0
            if level < least or level == 0:
                return left
            self.take()
            right = self.binary(level + 1)
            name = "@in" if token.text == "in" else f"_{token.text}_"
            left = Call(token.at, name, None, [left, right])

    def unary(self) -> Node:
        if self.sees("!", "-"):
            token = self.take()
            if token.text == "-" and self.token.kind in ("int", "float"):
                number = self.take()
                return self.suffixes(Literal(token.at, -number.value))
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise _Wrong(token.at, f"expression recursion limit exceeded: {_MAX_DEPTH}")
            operand = self.unary()
            self.depth -= 1
            return Call(token.at, "!_" if token.text == "!" else "-_", None, [operand])
        return self.suffixes(self.primary())

    # --- selections, calls, indexes ------------------------------------------------------------------------------------------------

    def suffixes(self, node: Node) -> Node:
        while True:
            if self.sees("."):
                node = self.selection(node)
            elif self.sees("["):
                at = self.take().at
                function = "_[?_]" if self.accept("?") else "_[_]"
                node = Call(at, function, None, [node, self.expression()])
                self.expect("]")
            elif self.sees("[?"):
                at = self.take().at
                node = Call(at, "_[?_]", None, [node, self.expression()])
                self.expect("]")
            elif self.sees("{") and isinstance(node, (Ident, Select)):
                name = _dotted(node)
                if name is None:
                    return node
                node = self.map_literal(name)
            else:
                return node

    def selection(self, operand: Node) -> Node:
        at = self.take().at
        optional = self.accept("?")
        if self.token.kind == "end":
            raise _Wrong(self.token.at, "Syntax error: no viable alternative at input '.'")
        if self.token.kind == "end":
            raise _Wrong(self.token.at, "Syntax error: no viable alternative at input '.'")
        if self.token.kind != "ident":
            raise self.mismatched("IDENTIFIER")
        name = self.take().text.strip("`")
        if not optional and self.sees("("):
            return self.method(operand, name)
        return Select(at, operand, name, optional=optional)

    def arguments(self) -> list[Node]:
        out: list[Node] = []
        if self.accept(")"):
            return out
        if self.token.kind == "end":
            raise self.mismatched(_EXPRESSION.replace("'(', ", "'(', ')', ", 1))
        while True:
            out.append(self.expression())
            if not self.accept(","):
                self.expect(")")
                return out

    def method(self, target: Node, name: str) -> Node:
        at = self.take().at
        args = self.arguments()
        if self.bindings and isinstance(target, Ident) and target.name == "cel" and name == "bind" and len(args) == 3:
            return Bind(at, "bind", self.variable(args[0]), args[1], args[2])
        if name in ("optMap", "optFlatMap") and len(args) == 2:
            return Bind(at, name, self.variable(args[0]), target, args[1])
        macro = _MACROS.get(name)
        if macro is not None and len(args) in (macro[0] | macro[1]):
            return self.comprehension(at, target, name, args, 2 if self._two(macro, args) else 1)
        return Call(at, name, target, args)

    def _two(self, macro: tuple[frozenset[int], frozenset[int]], args: list[Node]) -> bool:
        return len(args) in macro[1] and (len(args) not in macro[0] or isinstance(args[1], Ident))

    def comprehension(self, at: int, target: Node, name: str, args: list[Node], names: int) -> Node:
        variables = tuple(self.variable(a) for a in args[:names])
        if len(set(variables)) != len(variables):
            self.issues.append(Issue(args[1].at, "iteration variable may not be repeated"))
        return Comprehension(at, name, target, variables, args[names:])

    def variable(self, node: Node) -> str:
        if isinstance(node, Ident) and not node.name.startswith("."):
            return node.name
        self.issues.append(Issue(node.at, "argument must be a simple name"))
        return "_"

    # --- primaries --------------------------------------------------------------------------------------------------------------------

    def primary(self) -> Node:
        token = self.token
        if token.kind in ("int", "float", "string", "bytes"):
            if token.kind == "int" and token.value == 1 << 63:
                self.issues.append(Issue(token.at, "invalid int literal"))
            return Literal(self.take().at, token.value)
        if token.kind == "uint":
            return Literal(self.take().at, Uint(token.value))
        if token.kind == "ident" and token.text != "in":
            return self.identifier("")
        if self.sees("."):
            self.take()
            if self.token.kind != "ident":
                raise self.mismatched("IDENTIFIER")
            return self.identifier(".")
        if self.accept("("):
            node = self.expression()
            self.expect(")")
            return node
        if self.sees("[", "[?"):
            return self.list_literal()
        if self.sees("{"):
            return self.map_literal("")
        raise self.mismatched(_EXPRESSION)

    def identifier(self, lead: str) -> Node:
        token = self.take()
        name = token.text
        if name in _KEYWORDS and not lead:
            return Literal(token.at, _KEYWORDS[name])
        if self.sees("("):
            at = self.take().at
            args = self.arguments()
            return self.has(at, args) if name == "has" and len(args) == 1 else Call(at, name, None, args)
        if name in RESERVED:
            self.issues.append(Issue(token.at, f"reserved identifier: {name}"))
        return Ident(token.at, name)

    def has(self, at: int, args: list[Node]) -> Node:
        arg = args[0]
        if isinstance(arg, Select) and not arg.optional:
            return Select(at, arg.operand, arg.field, test=True)
        self.issues.append(Issue(arg.at, "invalid argument to has() macro"))
        return Literal(at, True)

    def list_literal(self) -> Node:
        token = self.take()
        items: list[Node] = []
        optional: set[int] = set()
        if token.text == "[?":
            optional.add(0)
        elif self.accept("]"):
            return ListLiteral(token.at, items)
        while True:
            if self.accept("?"):
                optional.add(len(items))
            items.append(self.expression())
            if self.accept(",") and not self.sees("]"):
                continue
            self.expect("]")
            return ListLiteral(token.at, items, frozenset(optional))

    def map_literal(self, type_name: str) -> Node:
        at = self.expect("{").at
        entries: list[tuple[Node, Node]] = []
        optional: set[int] = set()
        while not self.accept("}"):
            if self.accept("?"):
                optional.add(len(entries))
            key = self.field_name() if type_name else self.expression()
            colon = self.expect(":")
            if type_name:
                key.at = colon.at  # what is wrong with a field is told there
            entries.append((key, self.expression()))
            if not self.accept(","):
                self.expect("}")
                break
        return MapLiteral(at, entries, type_name, frozenset(optional))

    def field_name(self) -> Node:
        if self.token.kind != "ident":
            raise self.mismatched("IDENTIFIER")
        token = self.take()
        return Literal(token.at, token.text.strip("`"))


def _dotted(node: Node) -> str | None:
    """`Object.spec` as a name, where it is one that may be a type's."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test and not node.optional:
        head = _dotted(node.operand)
        return None if head is None else f"{head}.{node.field}"
    return None

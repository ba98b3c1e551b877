"""Text to tokens (CEL specification, "Syntax")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pilothouse.api.cel.errors import Issue

_TOKEN = re.compile(
    r"""(?P<space>[\s\f]+|//[^\n]*)
    |(?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
    |(?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
    |(?P<int>0x[0-9a-fA-F]+|\d+)
    |(?P<string>[bBrR]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^\\"\n])*"|'(?:\\.|[^\\'\n])*'))
    |(?P<ident>[A-Za-z_][A-Za-z0-9_]*|`[A-Za-z0-9_.\-/ ]+`)
    |(?P<op>==|!=|<=|>=|&&|\|\||\[\?|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
           "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # ident int uint float string bytes op end
    text: str
    at: int
    value: Any = None


def tokenize(source: str) -> tuple[list[Token], list[Issue]]:
    """All tokens, the last being the end; and what was no token."""
    out: list[Token] = []
    issues: list[Issue] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            wrong = source[at : at + 2] if source[at] in "=&|" else source[at]
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{wrong}'"))
            at += len(wrong)
            continue
        kind = found.lastgroup or ""
        if kind != "space":
            token = _token(kind, found.group(), at, issues)
            out.append(token)
        at = found.end()
    out.append(Token("end", "<EOF>", len(source)))
    return out, issues


def _token(kind: str, text: str, at: int, issues: list[Issue]) -> Token:
    if kind == "string":
        return _string(text, at, issues)
    if kind in ("int", "uint"):
        digits = text.rstrip("uU") if kind == "uint" else text
        value = int(digits, 16) if digits.startswith("0x") else int(digits)
        if value >= 1 << 64 or (kind == "int" and value > 1 << 63):
            issues.append(Issue(at, f"invalid {kind} literal"))
        return Token(kind, text, at, value)
    if kind == "float":
        return Token(kind, text, at, float(text))
    return Token(kind, text, at)


def _string(text: str, at: int, issues: list[Issue]) -> Token:
    quote = min(n for n in (text.find('"'), text.find("'")) if n >= 0)
    prefix = text[:quote].lower()
    width = 3 if text[quote : quote + 3] in ('"""', "'''") else 1
    inner = text[quote + width : len(text) - width]
    binary = "b" in prefix
    if "r" not in prefix and "\\" in inner:
        inner = _ESCAPE.sub(lambda m: _unescape(m.group(1), binary, at, issues), inner)
    if binary:
        return Token("bytes", text, at, inner.encode("utf-8", "surrogateescape"))
    return Token("string", text, at, inner)


def _unescape(code: str, binary: bool, at: int, issues: list[Issue]) -> str:
    if code in _SIMPLE:
        return _SIMPLE[code]
    if code[0] in "xXuU" and len(code) > 1:
        value = int(code[1:], 16)
    elif code.isdigit() and len(code) == 3:
        value = int(code, 8)
    else:
        issues.append(Issue(at, f"Syntax error: token recognition error at: '\\{code}'"))
        return ""
    if binary and 128 <= value < 256:
        return bytes((value,)).decode("utf-8", "surrogateescape")
    return chr(value)

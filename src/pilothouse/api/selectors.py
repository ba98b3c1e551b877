"""Label and field selectors: parsed once, compiled to predicates.

Label selectors in text (`a=b,c in (d,e),!f`) as in list queries, and as LabelSelector objects (matchLabels, matchExpressions) as in
specs. Field selectors in text (`metadata.name=a,spec.nodeName!=b`). Wordings of errors are those of the API reference's examples.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, required, show

Labels = dict[str, str]
Predicate = Callable[[Labels], bool]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key. `operator`: = != in notin exists ! gt lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        operator = self.operator
        if operator in ("in", "="):
            return labels.get(self.key) in self.values if self.key in labels else False
        if operator in ("notin", "!="):
            return self.key not in labels or labels[self.key] not in self.values
        if operator == "exists":
            return self.key in labels
        if operator == "!":
            return self.key not in labels
        return _compare(labels.get(self.key), operator, self.values[0])

    def __str__(self) -> str:
        if self.operator in ("exists", "!"):
            return ("!" if self.operator == "!" else "") + self.key
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        return f"{self.key}{ {'gt': '>', 'lt': '<'}.get(self.operator, self.operator) }{self.values[0]}"


def _compare(actual: str | None, operator: str, limit: str) -> bool:
    try:
        have, bound = int(actual or "x"), int(limit)
    except ValueError:
        return False
    return have > bound if operator == "gt" else have < bound


def conjunction(requirements: Iterable[Requirement]) -> Predicate:
    """All of them."""
    listed = tuple(requirements)
    if not listed:
        return lambda labels: True
    if len(listed) == 1:
        return listed[0].matches
    return lambda labels: all(r.matches(labels) for r in listed)


# --- text --------------------------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\s*(==|!=|[=<>!(),]|[^\s=<>!(),]+)")


class SelectorError(ValueError):
    """A selector that cannot be parsed; the text is the API server's."""


@functools.lru_cache(maxsize=1024)
def parse_label_selector(text: str) -> tuple[Requirement, ...]:
    """The requirements of a selector's text, sorted by key. SelectorError says what is wrong."""
    tokens = _TOKEN.findall(text)
    out: list[Requirement] = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        out.append(requirement)
        if at < len(tokens):
            if tokens[at] != ",":
                raise SelectorError(f"found '{tokens[at]}', expected: ',' or 'end of string'")
            at += 1
            if at == len(tokens):
                raise SelectorError("found '', expected: identifier after ','")
    return tuple(sorted(out, key=lambda r: r.key))


_NO_KEYS = frozenset(("==", "!=", "=", "<", ">", "(", ")", ","))


def _unparsed(problem: str) -> SelectorError:
    """Something is wrong inside one requirement (and not between two)."""
    return SelectorError(f"unable to parse requirement: {problem}")


def _requirement(tokens: list[str], at: int) -> tuple[Requirement, int]:
    if tokens[at] in _NO_KEYS:
        raise SelectorError(f"found '{tokens[at]}', expected: !, identifier, or 'end of string'")
    negated = tokens[at] == "!"
    at += negated
    key = tokens[at] if at < len(tokens) else ""
    if not key or key == "!" or key in _NO_KEYS:
        raise _unparsed(f"found '{key}', expected: identifier")
    at += 1
    _check_key(key)
    if negated:
        return Requirement(key, "!"), at
    operator = tokens[at] if at < len(tokens) else ","
    if operator == ",":
        return Requirement(key, "exists"), at
    if operator in ("in", "notin"):
        values, at = _values(tokens, at + 1)
        _check_values(key, values)
        return Requirement(key, operator, values), at
    if operator not in ("=", "==", "!=", "<", ">"):
        raise _unparsed(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    at += 1
    value = ""
    if at < len(tokens) and tokens[at] != ",":
        value = tokens[at]
        if value in ("==", "!=", "=", "<", ">", "!", "(", ")"):
            raise _unparsed(f"found '{value}', expected: identifier")
        at += 1
    if operator in ("<", ">"):
        if not re.fullmatch(r"-?\d+", value):
            raise _unparsed(f"values[0]: Invalid value: {show(value)}: for 'Gt', 'Lt' operators, the value must be an integer")
        return Requirement(key, "gt" if operator == ">" else "lt", (value,)), at
    _check_values(key, (value,))
    return Requirement(key, "!=" if operator == "!=" else "=", (value,)), at


def _values(tokens: list[str], at: int) -> tuple[tuple[str, ...], int]:
    if at >= len(tokens) or tokens[at] != "(":
        found = tokens[at] if at < len(tokens) else ""
        raise _unparsed(f"found '{found}' expected: '('")
    at += 1
    out: list[str] = []
    pending = ""
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token == ")":
            return (*out, pending), at
        if token == ",":
            out.append(pending)
            pending = ""
        else:
            pending = token
    raise _unparsed("found '', expected: ',' or ')'")


def _check_key(key: str) -> None:
    problems = names.qualified_name(key)
    if problems:
        raise _unparsed(f"<nil>: Invalid value: {show(key)}: {'; '.join(problems)}")


def _check_values(key: str, values: Iterable[str]) -> None:
    for n, value in enumerate(values):
        problems = names.label_value(value)
        if problems:
            raise _unparsed(f"values[{n}][{key}]: Invalid value: {show(value)}: {'; '.join(problems)}")


def text_predicate(text: str) -> Predicate:
    """A label selector's text as a predicate."""
    return conjunction(parse_label_selector(text))


# --- LabelSelector objects ---------------------------------------------------------------------------------------------------------

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def requirements_of(selector: Obj | None) -> tuple[Requirement, ...]:
    """A LabelSelector object's requirements."""
    if not selector:
        return ()
    out = [Requirement(k, "=", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
    out += [
        Requirement(e["key"], _OPERATORS[e["operator"]], tuple(e.get("values") or ()))
        for e in selector.get("matchExpressions") or ()
    ]
    return tuple(out)


def label_predicate(selector: Obj | None) -> Predicate:
    """A LabelSelector object as a predicate: None matches nothing, an empty one everything."""
    if selector is None:
        return lambda labels: False
    return conjunction(requirements_of(selector))


def understood(selector: Obj | None) -> bool:
    """Whether a LabelSelector object can be evaluated: its expressions are valid. What is not is told of where selectors are checked."""
    return not selector or not selector.get("matchExpressions") or not validate_label_selector(selector, "")


def selector_text(selector: Obj | None) -> str:
    """A LabelSelector object in query form, as kubectl shows it; `<none>` when empty."""
    listed = sorted(requirements_of(selector), key=lambda r: r.key)
    return ",".join(str(r) for r in listed) or "<none>"


def go_text(selector: Obj) -> str:
    """A selector in Go's notation, as the reference shows it in some columns and messages."""
    labels = "".join(f"{k}: {v}," for k, v in sorted((selector.get("matchLabels") or {}).items()))
    rules = "".join(
        f"LabelSelectorRequirement{{Key:{e.get('key')},Operator:{e.get('operator')},Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"


def validate_label_selector(selector: Obj, path: str, allow_invalid_values: bool = False) -> list[FieldError]:
    """Errors of a LabelSelector object."""
    out: list[FieldError] = []
    for key, value in (selector.get("matchLabels") or {}).items():
        out += [invalid(f"{path}.matchLabels", key, m) for m in names.qualified_name(key)]
        out += [invalid(f"{path}.matchLabels", value, m) for m in names.label_value(value)]
    for n, e in enumerate(selector.get("matchExpressions") or ()):
        out += _validate_expression(e, f"{path}.matchExpressions[{n}]", allow_invalid_values)
    return out


def _validate_expression(e: Obj, path: str, allow_invalid_values: bool) -> list[FieldError]:
    out: list[FieldError] = []
    operator, values = e.get("operator") or "", e.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            out.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            out.append(
                FieldError(
                    "FieldValueForbidden",
                    f"{path}.values",
                    detail="may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                )
            )
    else:
        out.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    out += [invalid(f"{path}.key", e.get("key", ""), m) for m in names.qualified_name(e.get("key") or "")]
    if not allow_invalid_values:
        for n, value in enumerate(values):
            out += [invalid(f"{path}.values[{n}]", value, m) for m in names.label_value(value)]
    return out


# --- field selectors -----------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def parse_field_selector(text: str) -> tuple[Requirement, ...]:
    """`a=b,c!=d` as requirements (= or !=). SelectorError if it is none."""
    out: list[Requirement] = []
    for term in _split_fields(text):
        if not term:
            continue
        match = re.match(r"((?:[^=!\\]|\\.|!(?!=))*?)(!=|==|=)(.*)", term, re.S)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        out.append(Requirement(match[1], "!=" if match[2] == "!=" else "=", (_unescape(match[3]),)))
    return tuple(out)


def _split_fields(text: str) -> list[str]:
    return re.findall(r"(?:[^,\\]|\\.)+", text)


def _unescape(value: str) -> str:
    bad = re.search(r"\\(?:[^\\,=]|$)", re.sub(r"\\[\\,=]", "", value))
    if bad is not None:
        raise SelectorError(f"invalid field selector: invalid escape sequence: {bad[0]}")
    return re.sub(r"\\([\\,=])", r"\1", value)


def field_predicate(requirements: Iterable[Requirement], fields: Callable[[Any], Labels]) -> Callable[[Any], bool]:
    """A predicate over objects whose selectable fields `fields` gives."""
    listed = tuple(requirements)

    def matches(obj: Any) -> bool:
        found = fields(obj)
        return all((found.get(r.key, "") == r.values[0]) is (r.operator == "=") for r in listed)

    return matches


__all__ = ["Predicate", "Requirement", "SelectorError", "conjunction", "field_predicate", "label_predicate", 
           "parse_field_selector", "parse_label_selector", "requirements_of", "selector_text", "text_predicate", "validate_label_selector"]  # fmt: skip

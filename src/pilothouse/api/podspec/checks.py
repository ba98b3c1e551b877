"""Small checks that many parts of a pod's spec share. Each adds what is wrong to `out`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, not_supported, required
from pilothouse.api.selectors import validate_label_selector

Errors = list[FieldError]
NameCheck = Callable[[str], Sequence[str]]


def remembered(check: Callable[[str], list[str]]) -> NameCheck:
    """A name check whose answers are kept: pods of one owner have the same few names again and again."""
    return functools.lru_cache(maxsize=4096)(lambda name: tuple(check(name)))


label_problems = remembered(names.dns1123_label)
port_name_problems = remembered(names.port_name)
env_name_problems = remembered(names.env_name)
config_key_problems = remembered(names.config_key)

INT32_MAX = 2**31 - 1
NON_NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than zero"


def name_errors(value: str, check: NameCheck, path: str, out: Errors) -> None:
    """All that a name check finds."""
    messages = check(value)
    if messages:
        out.extend(invalid(path, value, message) for message in messages)


def required_name(value: str | None, check: NameCheck, path: str, out: Errors) -> None:
    """A name that must be there, and a good one."""
    if not value:
        out.append(required(path))
    else:
        name_errors(value, check, path, out)


def one_of(value: str | None, supported: Iterable[str], path: str, out: Errors) -> None:
    """A word that must be there, and one of the supported ones."""
    if not value:
        out.append(required(path))
    elif value not in supported:
        out.append(not_supported(path, value, supported))


def supported(value: Any, words: Iterable[str], path: str, out: Errors) -> None:
    """As `one_of`, where an empty word is just another wrong one."""
    if value not in words:
        out.append(not_supported(path, value or "", words))


def non_negative(obj: Obj, field: str, path: str, out: Errors) -> None:
    """obj[field], where set, is not below zero."""
    value = obj.get(field)
    if value is not None and value < 0:
        out.append(invalid(f"{path}.{field}", value, NON_NEGATIVE))


def within(value: int, low: int, high: int, path: str, out: Errors) -> None:
    if not low <= value <= high:
        out.append(invalid(path, value, f"must be between {low} and {high}, inclusive"))


def labels(values: Mapping[str, str], path: str, out: Errors) -> None:
    """A map of labels; keys and values are told at the map itself."""
    for key in sorted(values):
        name_errors(key, names.qualified_name, path, out)
        name_errors(values[key], names.label_value, path, out)


def label_selector(selector: Obj | None, path: str, out: Errors) -> None:
    if selector:
        out.extend(validate_label_selector(selector, path))


def no_backsteps(value: str, path: str, out: Errors) -> None:
    """No `..` among the path's elements."""
    if ".." in value and ".." in value.split("/"):
        out.append(invalid(path, value, "must not contain '..'"))


def descending(value: str, path: str, out: Errors) -> None:
    """A relative path that stays below where it starts."""
    if value.startswith("/"):
        out.append(invalid(path, value, "must be a relative path"))
    no_backsteps(value, path, out)


def local_name(value: str, path: str, out: Errors) -> None:
    """A relative path whose first element does not begin with two dots: those are the kubelet's own."""
    if value[:1] != "/" and ".." not in value:
        return
    descending(value, path, out)
    if value.startswith("..") and not value.startswith("../") and value != "..":
        out.append(invalid(path, value, "must not start with '..'"))


def duplicates(values: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    """Position and value of each one that was there before."""
    seen: set[Any] = set()
    for n, value in enumerate(values):
        if value in seen:
            yield n, value
        seen.add(value)

"""Values against an OpenAPI schema: the checks of custom resources, in the words of Kubernetes.

`validator(openapi)` compiles a node on first use into a function (value, path, old, out) that appends `FieldError`s. `old` is the value
that stood there before, or `NOTHING`: what did not change is not checked again (KEP-4008, ratcheting).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api import regexes
from pilothouse.api.crd.formats import check_of
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, not_supported, required, show, too_long, too_many

#: There was no value before.
NOTHING: Any = object()
Check = Callable[[Any, str, Any, list[FieldError]], None]
_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_RANGES = {
    "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip

_BOUNDS = (("multipleOf", "MultipleOf"), ("maximum", "Maximum boundary"), ("minimum", "Minimum boundary"))


def type_name(value: Any) -> str:
    """What a schema calls the type of a value."""
    return _TYPES.get(type(value), "object")


def validator(openapi: Obj) -> Check:
    """The check of a node."""
    made = (make(openapi) for make, keys in _MAKERS if any(openapi.get(k) is not None for k in keys))
    checks = [check for check in made if check is not _nothing]
    nullable = bool(openapi.get("nullable"))

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if value is None and nullable:
            return
        if old is not NOTHING and value == old and type(value) is type(old):
            return
        for each in checks:
            each(value, path, old, out)

    return check


def lazily(openapi: Obj) -> Check:
    """The same, compiled when a value comes by."""
    made: list[Check] = []

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if not made:
            made.append(validator(openapi))
        made[0](value, path, old, out)

    return check


def _body(path: str, text: str) -> str:
    return f"{path} in body {text}"


def _type(openapi: Obj) -> Check:
    wanted = openapi.get("type") or ""
    either = bool(openapi.get("x-kubernetes-int-or-string"))

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        kind = type_name(value)
        if either and kind in ("integer", "string"):
            return
        if kind == wanted or (wanted == "number" and kind == "integer") or not (wanted or either):
            return
        if wanted == "integer" and kind == "number" and value.is_integer():
            return
        text = _body(path, f'must be of type {wanted or "integer,string"}: "{kind}"')
        out.append(FieldError("FieldValueTypeInvalid", path, kind, text))

    return check


def _string(openapi: Obj) -> Check:
    least, most = openapi.get("minLength"), openapi.get("maxLength")
    pattern = openapi.get("pattern")
    fits = regexes.compiled(pattern).matches if pattern else None

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if type(value) is not str:
            return
        if most is not None and len(value) > most:
            out.append(too_long(path, most))
        if least is not None and len(value) < least:
            out.append(invalid(path, value, _body(path, f"should be at least {least} chars long")))
        if fits is not None and not fits(value):
            out.append(invalid(path, value, _body(path, f"should match '{pattern}'")))

    return check


def _format(openapi: Obj) -> Check:
    name = openapi["format"]
    fits = check_of(name)

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if type(value) is str and fits is not None and openapi.get("type", "string") == "string" and not fits(value):
            text = _body(path, f"must be of type {name}: {show(value)}")
            out.append(FieldError("FieldValueTypeInvalid", path, value, text))

    return check


def _range(openapi: Obj) -> Check:
    """Numbers of integer types, and what bounds them, are whole and fit into the type."""
    if openapi.get("type") != "integer":
        return _nothing
    form = openapi.get("format") or ""
    least, most = _RANGES.get(form, _RANGES["int64"])
    told = f"must be of type integer {f'with format {form}' if form else '(default format)'} in "

    def fits(value: float) -> bool:
        return least <= value <= most and value == int(value)

    bounds = [f"{name} value {told}" for key, name in _BOUNDS if openapi.get(key) is not None and not fits(openapi[key])]

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if type(value) not in (int, float):
            return
        if not fits(value):
            out.append(invalid("<nil>", "", f"Checked value {told}{path}"))
        out.extend(invalid("<nil>", "", bound + path) for bound in bounds)

    return check


def _nothing(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
    """Nothing to check."""


def _number(openapi: Obj) -> Check:
    least, most, step = openapi.get("minimum"), openapi.get("maximum"), openapi.get("multipleOf")
    above, below = bool(openapi.get("exclusiveMinimum")), bool(openapi.get("exclusiveMaximum"))

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if type(value) not in (int, float):
            return
        if step and abs(value / step - round(value / step)) > 1e-9:
            out.append(invalid(path, value, _body(path, f"should be a multiple of {show(step)}")))
        if most is not None and (value >= most if below else value > most):
            out.append(invalid(path, value, _body(path, f"should be less than {'' if below else 'or equal to '}{show(most)}")))
        if least is not None and (value <= least if above else value < least):
            out.append(
                invalid(path, value, _body(path, f"should be greater than {'' if above else 'or equal to '}{show(least)}"))
            )

    return check


def _enum(openapi: Obj) -> Check:
    allowed = openapi["enum"]

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if not any(value == a and (type(value) is bool) == (type(a) is bool) for a in allowed):
            out.append(not_supported(path, value, tuple(allowed)))

    return check


def _junctors(openapi: Obj) -> Check:
    every, some, one = (list(map(lazily, openapi.get(k) or ())) for k in ("allOf", "anyOf", "oneOf"))
    never = lazily(openapi["not"]) if openapi.get("not") is not None else None

    def failures(checks: list[Check], value: Any, path: str) -> list[list[FieldError]]:
        tried: list[list[FieldError]] = [[] for _ in checks]
        for check, into in zip(checks, tried, strict=True):
            check(value, path, NOTHING, into)
        return [errors for errors in tried if errors]

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if some and len(failed := failures(some, value, path)) == len(some):
            out.append(_joined(path, "must validate at least one schema (anyOf)"))
            out.extend(failed[0])
        if one and len(failed := failures(one, value, path)) != len(one) - 1:
            good = len(one) - len(failed)
            told = f"Found {good} valid alternatives" if good else "Found none valid"
            out.append(_joined(path, f"must validate one and only one schema (oneOf). {told}"))
            out.extend([] if good else failed[0])
        if every and (failed := failures(every, value, path)):
            none = ". None validated" if len(failed) == len(every) else ""
            out.append(_joined(path, f"must validate all the schemas (allOf){none}"))
            out.extend(error for errors in failed for error in errors)
        if never is not None and not failures([never], value, path):
            out.append(_joined(path, "must not validate the schema (not)"))

    return check


def _joined(path: str, text: str) -> FieldError:
    return invalid("<nil>", "", f'"{path}" {text}')


def _list(openapi: Obj) -> Check:
    least, most = openapi.get("minItems"), openapi.get("maxItems")
    items = openapi.get("items")
    each = lazily(items) if isinstance(items, dict) else None
    kind, keys = openapi.get("x-kubernetes-list-type"), openapi.get("x-kubernetes-list-map-keys") or ()

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if type(value) is not list:
            return
        if each is not None:
            before = _by_keys(old, keys) if kind == "map" and type(old) is list else {}
            for n, item in enumerate(value):
                each(item, f"{path}[{n}]", before.get(_key(item, keys), NOTHING) if before else NOTHING, out)
        if least is not None and len(value) < least:
            out.append(invalid(path, len(value), _body(path, f"should have at least {least} items")))
        if most is not None and len(value) > most:
            out.append(too_many(path, len(value), most))
        if kind in ("set", "map"):
            out.extend(_duplicates(value, path, keys if kind == "map" else None))

    return check


def _key(item: Any, keys: Any) -> str:
    return show({k: item[k] for k in keys if k in item}) if isinstance(item, dict) else show(item)


def _by_keys(items: list[Any], keys: Any) -> dict[str, Any]:
    return {_key(item, keys): item for item in items}


def _duplicates(items: list[Any], path: str, keys: Any) -> list[FieldError]:
    """Each value that is there more than once, told once."""
    seen: dict[str, int] = {}
    out = []
    for n, item in enumerate(items):
        shown = item if keys is None or not isinstance(item, dict) else {k: item[k] for k in keys if k in item}
        text = show(shown)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            out.append(duplicate(f"{path}[{n}]", shown))
    return out


def _object(openapi: Obj) -> Check:
    fields = {key: lazily(sub) for key, sub in sorted((openapi.get("properties") or {}).items())}
    extra = openapi.get("additionalProperties")
    rest = lazily(extra) if isinstance(extra, dict) else None
    needed = tuple(openapi.get("required") or ())
    least, most = openapi.get("minProperties"), openapi.get("maxProperties")

    def check(value: Any, path: str, old: Any, out: list[FieldError]) -> None:
        if type(value) is not dict:
            return
        before = old if type(old) is dict else {}
        start = f"{path}." if path else ""
        for key in needed:
            if key not in value:
                out.append(required(start + key))
        if extra is False:
            out.extend(invalid(path, "", _body(start + k, "is a forbidden property")) for k in value if k not in fields)
        for key, field in fields.items():
            if key in value:
                field(value[key], start + key, before.get(key, NOTHING), out)
        if rest is not None:
            for key in value:
                if key not in fields:
                    rest(value[key], start + key, before.get(key, NOTHING), out)
        if least is not None and len(value) < least:
            out.append(invalid(path, len(value), _body(path, f"should have at least {least} properties")))
        if most is not None and len(value) > most:
            out.append(too_many(path, len(value), most))

    return check


_MAKERS: tuple[tuple[Callable[[Obj], Check], tuple[str, ...]], ...] = (
    (_type, ("type", "x-kubernetes-int-or-string")),
    (_junctors, ("allOf", "anyOf", "oneOf", "not")),
    (_string, ("minLength", "maxLength", "pattern")),
    (_format, ("format",)),
    (_number, ("minimum", "maximum", "multipleOf")),
    (_range, ("type",)),
    (_list, ("items", "minItems", "maxItems", "x-kubernetes-list-type")),
    (_enum, ("enum",)),
    (_object, ("properties", "additionalProperties", "required", "minProperties", "maxProperties")),
)

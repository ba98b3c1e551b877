"""YAML as Kubernetes reads it: the first document of a text, as the JSON that it stands for.

The words of YAML 1.1 (`yes`, `on`, `n`, 0o17, ...) mean what they mean to the reference server, which differs from PyYAML's own reading
in small ways: `y` and `n` are booleans, `1e3` is a number, `1:30` and dates are text, and keys are always text. Syntax errors are
worded by libyaml on both sides; only where they say the line does the wording need help.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

#: Anchors may make a text mean more than it says, but not a hundred times more.
MAX_EXPANDED = 1_000_000

_MAX_INTEGER = 2**63

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset(("y", "yes", "true", "on"))
_WORDS = re.compile(r"(?:y|Y|n|N|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)\Z")
_NUMBER = re.compile(
    r"(?:[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)\Z"
)


class YamlError(ValueError):
    """The text is not YAML. The message is the reference server's: `yaml: line 3: ...`."""


def settings(text: str, where: str) -> Any:
    """The value of a configuration file's text. ValueError, in one line that begins with `where`, if it is not YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from None


def load(text: bytes) -> tuple[Any, list[str]]:
    """The first document's value, and what to say of keys that are given twice (the last one counts)."""
    try:
        loader = _Loader(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlError(_worded(error)) from None
    try:
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            return None, []
        if _expanded(node, {}) > MAX_EXPANDED:
            raise YamlError("yaml: document contains excessive aliasing")
        return _jsonable(loader.construct_document(node)), loader.repeated
    except YamlError:
        raise
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:  # ValueError: a tag on a text that it does not fit
        raise YamlError(_worded(error)) from None
    finally:
        loader.dispose()


class _Loader(_BASE):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.repeated: list[str] = []


def _mapping(loader: Any, node: Any) -> dict[str, Any]:
    own = {id(key) for key, _ in node.value}
    loader.flatten_mapping(node)
    out: dict[str, Any] = {}
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key = _key(loader.construct_object(key_node, deep=True))
        if id(key_node) in own:
            if key in seen:
                loader.repeated.append(f'line {value_node.start_mark.line + 1}: key "{key}" already set in map')
            seen.add(key)
        out[key] = loader.construct_object(value_node, deep=True)
    return out


def _key(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return value if isinstance(value, str) else str(value)


def _boolean(loader: Any, node: Any) -> bool:
    return str(node.value).lower() in _TRUE


def _number(loader: Any, node: Any) -> Any:
    text = node.value.replace("_", "")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    for prefix, base in (("0b", 2), ("0x", 16), ("0o", 8)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    if digits.isdigit():
        return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" and not {"8", "9"} & set(digits) else 10)
    return float(text)


_Loader.add_constructor(f"{_TAG}map", _mapping)
_Loader.add_constructor(f"{_TAG}bool", _boolean)
_Loader.add_constructor(f"{_TAG}int", _number)
_Loader.add_implicit_resolver(f"{_TAG}bool", _WORDS, list("yYnNtTfFoO"))
_Loader.add_implicit_resolver(f"{_TAG}int", _NUMBER, list("-+0123456789."))
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])


def _jsonable(value: Any) -> Any:
    """Whole numbers lose their decimal point and those of more than 64 bits their exactness, as on their way through JSON."""
    if isinstance(value, dict):
        return {k: _jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_jsonable(v) for v in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise YamlError(f"json: unsupported value: {str(value).replace('inf', 'Inf').replace('nan', 'NaN')}")
        return int(value) if value.is_integer() and abs(value) < _MAX_INTEGER else value
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        return float(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _expanded(node: Any, known: dict[int, int]) -> int:
    """How many nodes there are when every anchor is written out."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_EXPANDED + 1  # what contains itself never ends
    size = 1
    if isinstance(node, yaml.MappingNode):
        size += sum(_expanded(k, known) + _expanded(v, known) for k, v in node.value)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded(v, known) for v in node.value)
    known[id(node)] = size
    return size


def _worded(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"yaml: {str(error) or 'too deep'}".replace("\n", " ")
    scanned = isinstance(error, yaml.scanner.ScannerError)
    marks = (m.line for m in (error.context_mark, error.problem_mark) if m is not None)
    line = next((found for found in marks if found), 0)
    where = f"line {line + scanned}: " if line else ""
    return f"yaml: {where}{error.problem}"

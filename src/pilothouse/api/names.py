"""Names, label keys and values: each check returns messages, none when all is well, in Kubernetes' own wording.

Rules: RFC 1123 labels and subdomains, RFC 1035 labels, qualified names (API reference: "Object Names and IDs", "Labels and Selectors").
"""

from __future__ import annotations

import functools
import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(" + _QUALIFIED + ")?"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_value = re.compile(_VALUE).fullmatch
_is_config_key = re.compile("[-._a-zA-Z0-9]+").fullmatch
_is_env_name = re.compile("[-._a-zA-Z][-._a-zA-Z0-9]*").fullmatch
_is_port_name = re.compile("[-a-z0-9]+").fullmatch
_is_c_identifier = re.compile("[A-Za-z_][A-Za-z0-9_]*").fullmatch
_is_http_header = re.compile("[-A-Za-z0-9]+").fullmatch


def _regex(message: str, pattern: str, *examples: str) -> str:
    told = "e.g. " + ",  or ".join(f"'{e}'" for e in examples) + ", "
    return f"{message} ({told}regex used for validation is '{pattern}')"


SUBDOMAIN_MESSAGE = _regex(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character", _SUBDOMAIN, "example.com")  # fmt: skip
LABEL_MESSAGE = _regex(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character", _LABEL, "my-name", "123-abc")  # fmt: skip
LABEL_1035_MESSAGE = _regex(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character", _LABEL_1035, "my-name", "abc-123")  # fmt: skip
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_NAME_PART_MESSAGE = _regex("name part " + _QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
_QUALIFIED_MESSAGE = (_regex("a valid label key " + _QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
                      + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")  # fmt: skip
_VALUE_MESSAGE = _regex(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character", _VALUE, "MyValue", "my_value", "12345")  # fmt: skip
_CONFIG_KEY_MESSAGE = _regex("a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "[-._a-zA-Z0-9]+",
                             "key.name", "KEY_NAME", "key-name")  # fmt: skip
_C_IDENTIFIER_MESSAGE = _regex("a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
                               "characters or '_'", "[A-Za-z_][A-Za-z0-9_]*", "my_name", "MY_NAME", "MyName")  # fmt: skip
_HTTP_HEADER_MESSAGE = _regex(
    "a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name"
)


def size(text: str) -> int:
    """Length in bytes."""
    return len(text) if text.isascii() else len(text.encode())


def too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _masked(name: str, prefix: bool) -> str:
    """A generateName ends in a dash that the random part will follow: judge it as if it did not."""
    return name[:-2] + "a" if prefix and name.endswith("-") and len(name) > 1 else name


@functools.lru_cache(maxsize=4096)
def _subdomain(name: str) -> tuple[str, ...]:
    out = [] if size(name) <= 253 else ["must be no more than 253 characters"]
    return tuple(out if _is_subdomain(name) else [*out, SUBDOMAIN_MESSAGE])


def dns1123_subdomain(name: str, prefix: bool = False) -> list[str]:
    """Most objects' names: at most 253 characters of lower case letters, digits, dashes and dots."""
    return list(_subdomain(_masked(name, prefix)))


def dns1123_label(name: str, prefix: bool = False) -> list[str]:
    """Namespaces, containers, volumes: at most 63 characters of lower case letters, digits and dashes."""
    name = _masked(name, prefix)
    out = [] if size(name) <= 63 else ["must be no more than 63 characters"]
    if _is_label(name):
        return out
    return [*out, "must not contain dots" if _is_subdomain(name) else LABEL_MESSAGE]


_is_wildcard = re.compile(r"\*\." + _SUBDOMAIN).fullmatch
_WILDCARD_MESSAGE = _regex(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric "
    "characters, '-' or '.' and end with an alphanumeric character", r"\*\." + _SUBDOMAIN, "*.example.com")  # fmt: skip


def wildcard_subdomain(name: str) -> list[str]:
    """All the subdomains right below one: `*.example.com`."""
    out = [] if size(name) <= 253 else ["must be no more than 253 characters"]
    return out if _is_wildcard(name) else [*out, _WILDCARD_MESSAGE]


def dns1035_label(name: str, prefix: bool = False) -> list[str]:
    """As an RFC 1123 label, but it begins with a letter."""
    name = _masked(name, prefix)
    out = [] if size(name) <= 63 else ["must be no more than 63 characters"]
    return out if _is_label_1035(name) else [*out, LABEL_1035_MESSAGE]


def long_name(name: str, prefix: bool = False) -> list[str]:
    """A subdomain where the kind's own schema checks it: the limit is told in bytes."""
    name = _masked(name, prefix)
    out = [] if size(name) <= 253 else [too_long(253)]
    return out if _is_subdomain(name) else [*out, SUBDOMAIN_MESSAGE]


def path_segment(name: str, prefix: bool = False) -> list[str]:
    """RBAC's names: anything that can stand in a URL path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in name]


@functools.lru_cache(maxsize=4096)
def _qualified(key: str) -> tuple[str, ...]:
    parts = key.split("/")
    out: list[str] = []
    if len(parts) > 2:
        return (_QUALIFIED_MESSAGE,)
    if len(parts) == 2:
        if not parts[0]:
            out.append("prefix part must be non-empty")
        else:
            out += ["prefix part " + m for m in long_name(parts[0])]
    name = parts[-1]
    if not name:
        out.append("name part must be non-empty")
    elif size(name) > 63:
        out.append("name part " + too_long(63))
    if not _is_qualified(name):
        out.append(_NAME_PART_MESSAGE)
    return tuple(out)


def qualified_name(key: str) -> list[str]:
    """Label keys, annotation keys, resource names, finalizers: [prefix/]name."""
    return list(_qualified(key))


@functools.lru_cache(maxsize=4096)
def _value(text: str) -> tuple[str, ...]:
    out = [] if size(text) <= 63 else [too_long(63)]
    return tuple(out if _is_value(text) else [*out, _VALUE_MESSAGE])


def label_value(text: str) -> list[str]:
    return list(_value(text))


def config_key(key: str) -> list[str]:
    """Keys of ConfigMaps and Secrets."""
    out = [] if size(key) <= 253 else ["must be no more than 253 characters"]
    if not _is_config_key(key):
        out.append(_CONFIG_KEY_MESSAGE)
    if key == ".":
        out.append("must not be '.'")
    elif key == "..":
        out.append("must not be '..'")
    elif key.startswith(".."):
        out.append("must not start with '..'")
    return out


def c_identifier(name: str) -> list[str]:
    return [] if _is_c_identifier(name) else [_C_IDENTIFIER_MESSAGE]


def http_header_name(name: str) -> list[str]:
    return [] if _is_http_header(name) else [_HTTP_HEADER_MESSAGE]


def env_name(name: str) -> list[str]:
    """Environment variable names: printable ASCII without '='."""
    if not name:
        return ["environment variable name must not be empty"] if name == "" else []
    if any(not " " <= c <= "~" or c == "=" for c in name):
        return [_regex("a valid environment variable name must consist only of printable ASCII characters other than '='", "[ -<>-~]+",
                       "my.env-name", "MY_ENV.NAME", "MyEnvName1")]  # fmt: skip
    return []


def port_name(name: str) -> list[str]:
    """IANA service names: at most 15 characters, a letter among them."""
    out: list[str] = []
    if len(name) > 15:
        out.append("must be no more than 15 characters")
    if not _is_port_name(name):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        out.append("must contain at least one letter (a-z)")
    if "--" in name:
        out.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        out.append("must not begin or end with a hyphen")
    return out


def port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]

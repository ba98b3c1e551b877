"""What a request has to be like, as HAProxy's access lists: a match of the model in, names of lists out.

Every list is one condition and has its own line, so that the words of a rule stay few (HAProxy takes 64 a line) and rules that ask the same
share the answer's text. Paths are compared as they came; parameters are decoded first. Patterns have to match the whole.
"""

from __future__ import annotations

from urllib.parse import quote

from pilothouse.dataplane.haproxy.text import argument, header_name, identifier, word
from pilothouse.dataplane.model import Match, Text


class Lists:
    """Access lists of one section, each once."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, ...], str] = {}

    def name(self, *alternatives: str) -> str:
        """The list that is true if one of the alternatives is; each is a fetch, its flags and patterns."""
        return self._lines.setdefault(alternatives, identifier("a_", *alternatives))

    def lines(self) -> list[str]:
        return [f"acl {name} {one}" for alternatives, name in self._lines.items() for one in alternatives]


def conditions(match: Match, lists: Lists) -> list[str]:
    """All of these have to hold."""
    found = [lists.name(*path) for path in (_path(match),) if path]
    if match.method:
        found.append(lists.name(f"method -m str -- {word(match.method)}"))
    for header in match.headers:
        found.append(lists.name(_text(f"req.fhdr({header_name(header.name)})", header)))
    for parameter in match.query:
        fetch = f"url_param({argument(quote(parameter.name, safe=''))}),url_dec(1)"
        found.append(lists.name(_text(fetch, parameter)))
    return found


def _path(match: Match) -> tuple[str, ...]:
    if match.path_type == "Exact":
        return (f"path -m str -- {word(match.path)}",)
    if match.path_type == "RegularExpression":
        return (f"path -m reg -- {word(whole(match.path))}",)
    prefix = match.path.rstrip("/")
    if not prefix:
        return ()
    return (f"path -m str -- {word(prefix)}", f"path -m beg -- {word(prefix + '/')}")


def _text(fetch: str, wanted: Text) -> str:
    if wanted.regex:
        return f"{word(fetch)} -m reg -- {word(whole(wanted.value))}"
    if not wanted.value:
        return f"{word(fetch)} -m len 0"
    return f"{word(fetch)} -m str -- {word(wanted.value)}"


def whole(pattern: str) -> str:
    return f"^(?:{pattern})$"

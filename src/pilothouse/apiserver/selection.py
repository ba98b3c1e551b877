"""Which objects a list or watch is about: namespace, label selector and field selector, compiled once per request.

Field selectors accept `metadata.name`, `metadata.namespace` (of namespaced resources) and what the kind's strategy names; values
come from the entry's extracted fields, so no object is decoded. Selectors of one name, and of one value of the indexed field,
become look-ups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api import selectors
from pilothouse.api.errors import StatusError, bad_request
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.watchcache import ResourceCache

Labels = Callable[[dict[str, str]], bool]
Fields = Callable[[Entry], bool]


class Selection:
    """A compiled selection. `scope` is the key prefix, or the key, that everything selected has."""

    __slots__ = ("_fields", "_labels", "filtering", "index_value", "key", "narrow", "prefix", "scope", "selective")

    def __init__(self, cache: ResourceCache, namespace: str) -> None:
        self.prefix = f"{cache.prefix}{namespace}/" if namespace and cache.namespaced else cache.prefix
        self.scope = self.prefix if namespace and cache.namespaced else ""
        self.index_value: str | None = None
        #: Looked up rather than scanned: never in pages.
        self.narrow = False
        #: Some objects of the scope may not match: no remaining count can be given.
        self.selective = False
        #: `matches` has to be asked.
        self.filtering = False
        self.key: Any = (self.prefix, "", "")
        self._labels: Labels | None = None
        self._fields: Fields | None = None

    def matches(self, entry: Entry) -> bool:
        """Whether an entry of the scope is selected."""
        if self._labels is not None and not self._labels(entry.labels):
            return False
        return self._fields is None or self._fields(entry)

    def entries(self, cache: ResourceCache, start: str = "") -> list[Entry]:
        """Everything selected, in order."""
        if self.narrow and self.scope and not self.scope.endswith("/"):
            entry = cache.by_key(self.scope)
            return [entry] if entry is not None and self.matches(entry) else []
        if self.index_value is not None:
            prefix = self.prefix
            return [e for e in cache.indexed(self.index_value) if e.key.startswith(prefix) and self.matches(e)]
        found = cache.scan(self.prefix, self.prefix + start if start else "") if self.scope or start else cache.entries.values()
        return [e for e in found if self.matches(e)] if self.filtering else list(found)


def select(served: Served, namespace: str, name: str, label_text: str, field_text: str) -> Selection:
    """Compile. 400 in the reference's words when a selector cannot be parsed or names a field that the kind does not offer."""
    selection = Selection(served.cache, namespace)
    if label_text:
        _add_labels(selection, label_text)
    if field_text or name:
        _add_fields(selection, served, namespace, name, field_text)
    return selection


def _add_labels(selection: Selection, text: str) -> None:
    try:
        selection._labels = selectors.text_predicate(text)
    except ValueError as error:
        raise bad_request(str(error)) from None
    selection.selective = selection.filtering = True
    selection.key = (selection.prefix, text, "")


def _add_fields(selection: Selection, served: Served, namespace: str, name: str, text: str) -> None:
    terms = _terms(served, text)
    if name:
        terms.append(("metadata.name", "=", name))
    cache = served.cache
    tests = []
    for field, operator, value in terms:
        tests.append(_test(served, field, operator, value))
        if field == "metadata.name" and operator != "!=" and (namespace or not cache.namespaced):
            selection.scope = selection.prefix + value
            selection.narrow = True
        elif operator != "!=" and field == cache.index_name:
            selection.index_value = value
            selection.narrow = True
    if not tests:
        return
    if selection.index_value is not None and selection.scope:
        # Listeners of an index value hear of all namespaces.
        prefix = selection.scope
        tests.append(lambda entry: entry.key.startswith(prefix))
    selection._fields = tests[0] if len(tests) == 1 else lambda entry: all(test(entry) for test in tests)
    selection.selective = selection.filtering = True
    selection.key = (*selection.key[:2], text, name)


def _terms(served: Served, text: str) -> list[tuple[str, str, str]]:
    if not text:
        return []
    try:
        parsed = selectors.parse_field_selector(text)
    except ValueError as error:
        raise bad_request(str(error)) from None
    return [(served.strategy.field_aliases.get(r.key, r.key), r.operator, r.values[0]) for r in parsed]


def _test(served: Served, field: str, operator: str, value: str) -> Fields:
    take = _getter(served, field)
    if operator == "!=":
        return lambda entry: take(entry) != value
    return lambda entry: take(entry) == value


def _getter(served: Served, field: str) -> Callable[[Entry], str]:
    if field == "metadata.name":
        return lambda entry: entry.name
    names = served.strategy.selectable
    if field == "metadata.namespace" and served.strategy.namespace_selectable:
        if served.resource.namespaced:
            return _namespace
        if not names:  # cluster-wide kinds with fields of their own list metadata.name only
            return lambda entry: ""
    if field not in names:
        raise _unknown(served, field)
    index = served.field_index(field)
    return lambda entry: entry.fields[index]


def _namespace(entry: Entry) -> str:
    return entry.key.rsplit("/", 2)[1]


def _unknown(served: Served, field: str) -> StatusError:
    return bad_request(served.strategy.unknown_field(field))

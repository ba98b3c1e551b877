"""Label selectors of objects, compiled once per object and generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pilothouse.api import selectors
from pilothouse.client.reconcile.objects import Obj, uid

Predicate = Callable[[dict[str, str]], bool]


class Selectors:
    """Remembers the compiled `spec.selector` of each object."""

    def __init__(self, selector_of: Callable[[Obj], Obj | None] = lambda obj: obj["spec"].get("selector")) -> None:
        self._selector_of = selector_of
        self._known: dict[str, tuple[object, Predicate]] = {}

    def of(self, obj: Obj) -> Predicate:
        """The predicate over labels that this object's selector stands for."""
        selector = self._selector_of(obj)
        known = self._known.get(uid(obj))
        if known is not None and known[0] == selector:
            return known[1]
        matches = compile_selector(selector)
        self._known[uid(obj)] = (selector, matches)
        return matches

    def forget(self, obj: Obj) -> None:
        self._known.pop(uid(obj), None)


def compile_selector(selector: Obj | None) -> Predicate:
    """A LabelSelector as a predicate. None selects nothing, an empty one everything."""
    if selector is None:
        return lambda labels: False
    if selector.get("matchExpressions"):
        return selectors.label_predicate(selector)
    pairs = (selector.get("matchLabels") or {}).items()
    return lambda labels: pairs <= labels.items()


def match_pairs(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels have all these values: the selector of a Service."""
    return wanted.items() <= labels.items()

"""Answers as they were sent, by the bytes of the question after its id; dropped by what they were made from.

A question that was asked before costs a look-up. Cheap enough to be thrown away whole when there are too many: a client that asks for ever new
names (or new case, or options) gains nothing from any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

LARGEST = 16_384
#: Numbers that are counted by metrics: zone, protocol, type, code.
Told = tuple[str, str, str, str]


class Answer:
    """An answer in its orders, without ids, and how often it was given since somebody counted."""

    __slots__ = ("asked_bytes", "hits", "orders", "told")

    def __init__(self, orders: tuple[bytes, ...], asked_bytes: int, told: Told) -> None:
        self.orders = orders
        self.asked_bytes = asked_bytes
        self.told = told
        self.hits = 0


class AnswerCache:
    """`answers` is read directly where it counts. `count` is told of the hits of an answer that leaves."""

    def __init__(self, count: Callable[[Answer], None]) -> None:
        self.answers: dict[bytes, Answer] = {}
        self._by_key: dict[str, set[bytes]] = {}
        self._keys: dict[bytes, tuple[str, ...]] = {}
        self._count = count

    def add(self, question: bytes, answer: Answer, depends: Iterable[str]) -> None:
        if len(self.answers) >= LARGEST:
            self.clear()
        self.answers[question] = answer
        keys = self._keys[question] = tuple(depends)
        for key in keys:
            self._by_key.setdefault(key, set()).add(question)

    def drop(self, key: str) -> None:
        """Forget what was made from this; `*` everything."""
        if key == "*":
            return self.clear()
        for question in self._by_key.pop(key, ()):
            self._count(self.answers.pop(question))
            for other in self._keys.pop(question):
                if other != key:
                    self._by_key[other].discard(question)
                    if not self._by_key[other]:
                        del self._by_key[other]
        return None

    def clear(self) -> None:
        self.count()
        self.answers.clear()
        self._by_key.clear()
        self._keys.clear()

    def count(self) -> None:
        """Tell the hits of all, for whoever looks at metrics now."""
        for answer in self.answers.values():
            self._count(answer)
            answer.hits = 0

"""What a front has carried."""

from __future__ import annotations

from dataclasses import dataclass, field

_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


@dataclass(slots=True)
class Counters:
    """Since the front is there; a front told anew under its name goes on counting."""

    connections: int = 0
    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    codes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_CLASSES[1:], 0))

    def answered(self, status: int) -> None:
        self.codes[_CLASSES[min(status // 100, 5)]] += 1

"""What fronts have carried, summed over every HAProxy that carried it. What one carries after another has taken over is not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CODES = ("1xx", "2xx", "3xx", "4xx", "5xx")
COLUMNS = ("pxname", "svname", "stot", "req_tot", "bin", "bout", *(f"hrsp_{code}" for code in CODES))


@dataclass(frozen=True, slots=True)
class Counts:
    """A front's, as `engine.FrontCounters` has them."""

    connections: int = 0
    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    codes: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CODES, 0))

    def __add__(self, other: Counts) -> Counts:
        codes = {code: self.codes[code] + other.codes[code] for code in CODES}
        return Counts(
            self.connections + other.connections,
            self.requests + other.requests,
            self.bytes_in + other.bytes_in,
            self.bytes_out + other.bytes_out,
            codes,
        )


def read(rows: Sequence[Mapping[str, str]]) -> dict[str, Counts]:
    """HAProxy's own statistics, by frontend."""
    return {row["pxname"]: _row(row) for row in rows if row["svname"] == "FRONTEND"}


def _row(row: Mapping[str, str]) -> Counts:
    def number(name: str) -> int:
        return int(row.get(name) or 0)

    codes = {code: number(f"hrsp_{code}") for code in CODES}
    return Counts(number("stot"), number("req_tot"), number("bin"), number("bout"), codes)


def front(outer: Counts | None, inner: Counts | None) -> Counts:
    """Of a front that reads names before an inner one reads HTTP: the connections of the first, the requests of the second."""
    seen = outer or Counts()
    return seen if inner is None else dataclasses.replace(seen, requests=inner.requests, codes=inner.codes)

"""The greatest and the least of numbers (extension `math`)."""

from __future__ import annotations

from typing import Any

_NUMERIC = ("int", "uint", "double")

FUNCTIONS: list[tuple[str, Any]] = [
    *[(f"math::{name}({a}, {b}) -> {a if a == b else 'dyn'}", run)
      for name, run in (("greatest", max), ("least", min)) for a in _NUMERIC for b in _NUMERIC],
    *[(f"math::{name}(list({t})) -> {t}", run) for name, run in (("greatest", max), ("least", min)) for t in _NUMERIC],
]  # fmt: skip

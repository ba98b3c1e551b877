"""What the rules of a definition may cost by estimate: each of them, and all together.

KEP-2876 and "Resource use by validation rules" in the documentation of CustomResourceDefinitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.api.cel.estimate import MOST
from pilothouse.api.errors import FieldError, forbidden

RULE, DEFINITION = 10_000_000, 100_000_000
_NAMED = 4
_ADVICE = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
)
_SHARE = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema"
_TOTAL = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema"


@dataclass(slots=True)
class Budget:
    """What has been spent by the rules of one schema. With `lenient` single rules may cost what they want: they were accepted before."""

    lenient: bool = False
    total: int = 0
    spent: list[tuple[int, str]] = field(default_factory=list)

    def spend(self, what: str, cost: int, path: str) -> list[FieldError]:
        """Take an expression in; what is wrong if it is too much for one."""
        self.total = min(self.total + cost, MOST)
        self.spent.append((cost, path))
        return [] if self.lenient or cost <= RULE else [forbidden(path, _exceeds(what, cost, RULE))]

    def overdrawn(self, path: str) -> list[FieldError]:
        """What is wrong with all expressions together, the most expensive ones first."""
        if self.total <= DEFINITION:
            return []
        dearest = sorted(self.spent, key=lambda one: -one[0])[:_NAMED]
        return [*(forbidden(where, _SHARE) for _, where in dearest), forbidden(path, _exceeds(_TOTAL, self.total, DEFINITION))]


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} ({_ADVICE})"

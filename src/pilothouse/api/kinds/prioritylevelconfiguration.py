"""PriorityLevelConfiguration: how much of the server a priority level gets, and how its requests queue."""

from __future__ import annotations

import math
from typing import Any

from pilothouse.api import table
from pilothouse.api.checks import some_of
from pilothouse.api.errors import FieldError, Obj, forbidden, invalid, required
from pilothouse.api.internal_form import dump
from pilothouse.api.kinds.statusonly import StatusOnly
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column

SHARES = 30
_QUEUING: Obj = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
MOST_QUEUES, MOST_ENTROPY = 10_000_000, 60
_POSITIVE = "must be positive"
_CATCH_ALL: Obj = {
    "type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0},
}  # fmt: skip


class PriorityLevelConfigurationStrategy(StatusOnly):
    has_generation = True
    metadata_checked_again = frozenset(("common",))
    columns = (
        NAME_COLUMN, Column("Type"), Column("NominalConcurrencyShares"), Column("Queues"), Column("HandSize"), Column("QueueLengthLimit"),
        AGE_COLUMN,
    )  # fmt: skip

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        limited, exempt = spec.get("limited"), spec.get("exempt")
        if exempt is not None:
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)
        if limited is None:
            return
        limited.setdefault("nominalConcurrencyShares", SHARES)
        limited.setdefault("lendablePercent", 0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            queuing.update({key: value for key, value in _QUEUING.items() if not queuing.get(key)})

    def validate(self, obj: Obj) -> list[FieldError]:
        name, spec = obj["metadata"].get("name") or "", obj["spec"]
        kind = spec.get("type") or ""
        out = []
        if kind in ("Exempt", "Limited") and (name == "exempt") != (kind == "Exempt"):
            out.append(invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
        out += _validate_exempt(spec) if kind == "Exempt" else []
        out += _validate_limited(spec) if kind == "Limited" else []
        out += some_of("spec.type", kind, ("Exempt", "Limited"))
        return out + _validate_fixed(name, spec)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        limited = spec.get("limited") or {}
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        return [
            table.name_of(obj),
            spec.get("type", ""),
            table.or_word(limited.get("nominalConcurrencyShares")),
            *(table.NONE if queuing is None else queuing.get(f, 0) for f in ("queues", "handSize", "queueLengthLimit")),
            table.age(obj, now),
        ]


def _validate_exempt(spec: Obj) -> list[FieldError]:
    out = [forbidden("spec.limited", "must be nil if the type is not Limited")] if spec.get("limited") is not None else []
    return out + _validate_shares(spec.get("exempt") or {}, "spec.exempt")


def _validate_shares(amounts: Obj, path: str) -> list[FieldError]:
    shares, lendable = amounts.get("nominalConcurrencyShares") or 0, amounts.get("lendablePercent") or 0
    out = [] if shares >= 0 else [invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")]
    if not 0 <= lendable <= 100:
        out.append(invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive"))
    return out


def _validate_limited(spec: Obj) -> list[FieldError]:
    path, limited = "spec.limited", spec.get("limited")
    out = [forbidden("spec.exempt", "must be nil if the type is Limited")] if spec.get("exempt") is not None else []
    if limited is None:
        return [*out, required(path, "must not be empty when type is Limited")]
    out += _validate_response(limited.get("limitResponse") or {}, f"{path}.limitResponse") + _validate_shares(limited, path)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        out.append(invalid(f"{path}.borrowingLimitPercent", borrowing, "if specified, must be a non-negative integer"))
    return out


def _validate_response(response: Obj, path: str) -> list[FieldError]:
    kind, queuing, where = response.get("type") or "", response.get("queuing"), f"{path}.queuing"
    if kind == "Reject" and queuing is not None:
        return [forbidden(where, "must be nil if limited.limitResponse.type is not Limited")]
    if kind == "Queue":
        if queuing is None:
            return [required(where, "must not be empty if limited.limitResponse.type is Limited")]
        return _validate_queuing(queuing, where)
    return some_of(f"{path}.type", kind, ("Queue", "Reject"))


def _validate_queuing(queuing: Obj, path: str) -> list[FieldError]:
    queues, hand, length = queuing["queues"], queuing["handSize"], queuing["queueLengthLimit"]
    out = [] if length > 0 else [invalid(f"{path}.queueLengthLimit", length, _POSITIVE)]
    if queues <= 0:
        out.append(invalid(f"{path}.queues", queues, _POSITIVE))
    elif queues > MOST_QUEUES:
        out.append(invalid(f"{path}.queues", queues, f"must not be greater than {MOST_QUEUES}"))
    if hand <= 0:
        out.append(invalid(f"{path}.handSize", hand, _POSITIVE))
    elif hand > queues:
        out.append(invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif _entropy(queues, hand) > MOST_ENTROPY:
        told = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MOST_ENTROPY}"
        out.append(invalid(f"{path}.handSize", hand, told))
    return out


def _entropy(queues: int, hand: int) -> int:
    """Bits of hash that dealing a hand of queues takes: the number of ordered hands, as a power of two."""
    return math.ceil(sum(math.log2(queues - n) for n in range(min(hand, MOST_ENTROPY * 2))))


def _validate_fixed(name: str, spec: Obj) -> list[FieldError]:
    """The two levels that must be there say what they must say."""
    if name == "exempt" and (spec.get("type") != "Exempt" or spec.get("limited") is not None):
        return [invalid("spec", _shown(spec), "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value")]
    if name == "catch-all" and {k: v for k, v in spec.items() if v is not None} != _CATCH_ALL:
        return [invalid("spec", _shown(spec), "spec of 'catch-all' must equal the fixed value")]
    return []


def _shown(spec: Obj) -> Obj:
    """The specification as messages show it."""
    limited, exempt = spec.get("limited"), spec.get("exempt")
    response = (limited or {}).get("limitResponse") or {}
    queuing = dump(response.get("queuing"), "Queues:queues0 HandSize:handSize0 QueueLengthLimit:queueLengthLimit0")
    return {
        "Type": spec.get("type", ""),
        "Limited": limited
        and {
            "NominalConcurrencyShares": limited["nominalConcurrencyShares"],
            "LimitResponse": {"Type": response.get("type", ""), "Queuing": queuing},
            "LendablePercent": limited["lendablePercent"],
            "BorrowingLimitPercent": limited.get("borrowingLimitPercent"),
        },
        "Exempt": dump(exempt, "NominalConcurrencyShares:nominalConcurrencyShares0 LendablePercent:lendablePercent0"),
    }

"""What is known to differ, and why: `known.json`, exact in both directions.

`reasons` explains each rule once. `known` has script -> step -> [verdict, reason]. `unfinished` names groups whose kind does not have all its
rules yet: they are counted in docs/compatibility.md and not run by the tests. `tools/golden.py update` writes the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import compare
from .replay import Outcome

FILE = Path(__file__).with_name("known.json")
#: The reference blames itself for what is wrong with a request.
CLIENT_FAULT = "client-fault"
#: The same in other words.
WORDING = "wording"
#: Empty lists, maps and bytes are gone once an object has been read.
EMPTY = "empty"
#: Nobody has said why.
OPEN = "open"


@dataclass(slots=True)
class Known:
    """The file's content."""

    reasons: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    known: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Known:
        return cls(**json.loads(FILE.read_text()))

    def save(self) -> None:
        """Sorted, one script a line."""
        scripts = ",\n".join(f"    {json.dumps(s)}: {json.dumps(self.known[s])}" for s in sorted(self.known))
        parts = {"reasons": dict(sorted(self.reasons.items())), "unfinished": sorted(self.unfinished)}
        head = json.dumps(parts, indent=2)[:-2]
        FILE.write_text(f'{head},\n  "known": {{\n{scripts}\n  }}\n}}\n')

    def reason(self, outcome: Outcome) -> str:
        """Why a step differs; empty if nobody has said so."""
        return (self.known.get(outcome.script, {}).get(str(outcome.index)) or ["", ""])[1]

    def surprises(self, outcomes: Iterable[Outcome]) -> list[str]:
        """Steps that differ otherwise than is known, and known differences that are none any more."""
        return [line for outcome in outcomes if (line := self._surprise(outcome))]

    def _surprise(self, outcome: Outcome) -> str:
        wanted = (self.known.get(outcome.script, {}).get(str(outcome.index)) or [compare.SAME])[0]
        if outcome.verdict == wanted:
            return ""
        request = f"{outcome.script} step {outcome.index}: {outcome.step['m']} {outcome.step['p']}"
        found = "".join(f"\n    {line}" for line in outcome.differences[:6])
        return f"{request}: known as {wanted}, is {outcome.verdict}{found}"

    def learned(self, outcomes: Iterable[Outcome]) -> dict[str, dict[str, list[str]]]:
        """How these steps differ now; reasons stay, and those that can be told from the answers are filled in."""
        found: dict[str, dict[str, list[str]]] = {}
        for outcome in outcomes:
            if outcome.verdict == compare.SAME:
                continue
            reason = self.reason(outcome)
            if reason in ("", OPEN, WORDING, EMPTY):
                reason = _evident(outcome)
            found.setdefault(outcome.script, {})[str(outcome.index)] = [outcome.verdict, reason]
        return found


def _evident(outcome: Outcome) -> str:
    if outcome.step["want"]["code"] == 500 and 400 <= outcome.code < 500:
        return CLIENT_FAULT
    if outcome.verdict != compare.CLOSE:
        return OPEN
    return EMPTY if _without_empties(outcome.step["want"]["body"]) == _without_empties(outcome.answer) else WORDING


def _without_empties(answer: Any) -> str:
    """A refusal's message, with null for what is empty: lists, maps, bytes."""
    refusal = answer.get("answer", answer) if isinstance(answer, dict) else {}
    return re.sub(r"\[\]|\{\}|\"\"", "null", str(refusal.get("message")))

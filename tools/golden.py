"""Recorded conversations: say where the server differs from them, and keep the lists of what is known.

tools/golden.py check [PART]      every difference of the groups with PART in their name, in full
tools/golden.py update            replay all; write tests/golden/known.json and the table of docs/compatibility.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from golden import compare  # noqa: E402
from golden.known import OPEN, Known  # noqa: E402
from golden.replay import Outcome, outcomes, recordings  # noqa: E402

DOCUMENT = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- recordings: written by tools/golden.py -->", "<!-- end of recordings -->"
#: A group with more open differences than this is unfinished: they are counted, not listed.
UNEXPLAINED = 12


def check(part: str) -> bool:
    """Print each difference. True if there is none."""
    good = True
    for recording, group in recordings():
        if part not in f"{recording}:{group}":
            continue
        for outcome in asyncio.run(outcomes(recording, group)):
            if outcome.verdict != compare.SAME:
                good = False
                show(outcome)
    return good


def show(outcome: Outcome) -> None:
    step = outcome.step
    print(f"{outcome.verdict}: {outcome.script} step {outcome.index}: {step['m']} {step['p']} {json.dumps(step.get('q') or {})}")
    print(f"    sent {json.dumps(step.get('b'))[:400]}")
    for line in outcome.differences[:12]:
        print(f"    {line}")


def play(part: tuple[str, str]) -> list[Outcome]:
    return asyncio.run(outcomes(*part))


def update() -> None:
    """Replay everything and write down how it went."""
    before, now = Known.load(), Known.load()
    now.known, now.unfinished = {}, []
    counts: dict[tuple[str, str], Counter[str]] = {}
    parts = list(recordings())
    with ProcessPoolExecutor(2) as pool:
        for (recording, group), found in zip(parts, pool.map(play, parts), strict=True):
            counts[recording, group] = Counter(outcome.verdict for outcome in found)
            part = Known(before.reasons, [], before.known)
            fresh = part.learned(found)
            if sum(reason == OPEN for steps in fresh.values() for _, reason in steps.values()) > UNEXPLAINED:
                now.unfinished.append(f"{recording}:{group}")
            else:
                now.known |= fresh
    now.save()
    text = DOCUMENT.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{report(now, counts)}\n{END}{tail}")


def report(known: Known, counts: dict[tuple[str, str], Counter[str]]) -> str:
    """The tables of the document."""
    lines = [
        "| recordings | group | steps | same | close | different | same, % |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(recording for recording, _ in counts):
        total = sum((c for (recording, _), c in counts.items() if recording == name), Counter[str]())
        lines.append(line(f"**{name}**", "all", total))
        lines += [line(name, group, c) for (recording, group), c in counts.items() if recording == name]
    reasons = Counter(reason for steps in known.known.values() for _, reason in steps.values())
    explained = [f"| {known.reasons.get(reason, reason)} | {count} |" for reason, count in reasons.most_common()]
    table = [
        "",
        "Differences that are known, by rule (of the groups that `make test` replays):",
        "",
        "| rule | steps |",
        "| --- | ---: |",
    ]
    return "\n".join([*lines, *table, *explained, "", unfinished(known)]) + "\n"


def unfinished(known: Known) -> str:
    names = ", ".join(f"`{name.partition(':')[2]}`" for name in known.unfinished)
    return f"Counted above and not replayed by the tests, because rules are missing: {names or 'none'}."


def line(name: str, group: str, counts: Counter[str]) -> str:
    total = sum(counts.values())
    numbers = " | ".join(str(counts[v]) for v in (compare.SAME, compare.CLOSE, compare.DIFFERENT))
    return f"| {name} | {group} | {total} | {numbers} | {100 * counts[compare.SAME] / total:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("check", "update"))
    parser.add_argument("part", nargs="?", default="")
    given = parser.parse_args()
    if given.command == "update":
        update()
        return 0
    return 0 if check(given.part) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Completion indexes: the compact text of a Job's status (`0,2-4`), and the index of a pod. Reference: Job (batch/v1), "Completion mode"."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.client.reconcile.objects import Obj, annotations_of

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


def parse(text: str | None, completions: int) -> set[int]:
    """The indexes that a text names, those that do not exist (any more) left out."""
    out: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            out.update(range(int(first), min(int(last) if last.isdigit() else int(first), completions - 1) + 1))
    return out


def text(indexes: Iterable[int]) -> str:
    """The shortest text for these indexes; of two neighbours a comma, of more a dash."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), -1]:
        if run and index != run[-1] + 1:
            separator = "-" if len(run) > 2 else ","
            parts.append(f"{run[0]}{separator}{run[-1]}" if len(run) > 1 else str(run[0]))
            run = []
        run.append(index)
    return ",".join(parts)


def index_of(pod: Obj) -> int | None:
    """The index of a pod; None if it has none."""
    value = annotations_of(pod).get(INDEX, "")
    return int(value) if value.isdigit() else None


def failures(pod: Obj) -> int:
    """How often its index had failed before this pod."""
    return _number(pod, FAILURES)


def ignored(pod: Obj) -> int:
    return _number(pod, IGNORED)


def _number(pod: Obj, name: str) -> int:
    value = annotations_of(pod).get(name, "")
    return int(value) if value.isdigit() else 0

"""What a namespace that is being deleted says about itself, and when to look at it again.

Five conditions tell `kubectl describe` why it still exists. Reference: Namespace (v1), "Automatic deletion".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.client.reconcile.objects import Obj, find_condition
from pilothouse.clock import rfc3339


@dataclass(slots=True)
class Findings:
    """What one pass over a namespace's content came to."""

    #: Errors of discovery by group and version.
    discovery_errors: list[str] = field(default_factory=list)
    #: Errors of deletions, by `resource.group`.
    content_errors: dict[str, str] = field(default_factory=dict)
    #: Objects left, by `resource.group`.
    remaining: dict[str, int] = field(default_factory=dict)
    #: Objects that each finalizer holds.
    finalizers: dict[str, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.remaining or self.discovery_errors or self.content_errors)


def conditions(namespace: Obj, findings: Findings, now: float) -> list[Obj] | None:
    """The namespace's conditions after this pass; None if they say so already."""
    known = list((namespace.get("status") or {}).get("conditions") or [])
    out = [_kept(known, each, now) for each in _told(findings)]
    others = [c for c in known if c["type"] not in {o["type"] for o in out}]
    merged = others + out
    return merged if merged != known else None


def _kept(known: list[Obj], told: Obj, now: float) -> Obj:
    before = find_condition(known, told["type"])
    if before and all(before.get(k) == told[k] for k in ("status", "reason", "message")):
        return before
    moved = before is None or before["status"] != told["status"]
    return {**told, "lastTransitionTime": rfc3339(now) if moved or before is None else before["lastTransitionTime"]}


def _told(findings: Findings) -> list[Obj]:
    return [
        _judge(
            "NamespaceDeletionDiscoveryFailure",
            findings.discovery_errors,
            ("DiscoveryFailed", f"Discovery failed for some groups, {_list(findings.discovery_errors, 'failing')}"),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        _judge(
            "NamespaceDeletionGroupVersionParsingFailure",
            (),
            ("GroupVersionParsingFailed", "Parsing failed"),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        _judge(
            "NamespaceDeletionContentFailure",
            findings.content_errors,
            (
                "ContentDeletionFailed",
                f"Failed to delete all resource types, {_list([f'{k}: {v}' for k, v in findings.content_errors.items()], 'remaining')}",
            ),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        _judge(
            "NamespaceContentRemaining",
            findings.remaining,
            (
                "SomeResourcesRemain",
                "Some resources are remaining: " + _count(findings.remaining, "{} has {} resource instances"),
            ),
            ("ContentRemoved", "All content successfully removed"),
        ),
        _judge(
            "NamespaceFinalizersRemaining",
            findings.finalizers,
            (
                "SomeFinalizersRemain",
                "Some content in the namespace has finalizers remaining: "
                + _count(findings.finalizers, "{} in {} resource instances"),
            ),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]


def _judge(kind: str, trouble: object, bad: tuple[str, str], good: tuple[str, str]) -> Obj:
    reason, message = bad if trouble else good
    return {"type": kind, "status": "True" if trouble else "False", "reason": reason, "message": message}


def _list(errors: list[str], word: str) -> str:
    return f"{len(errors)} {word}: {', '.join(sorted(errors))}"


def _count(counts: Mapping[str, int], text: str) -> str:
    return ", ".join(text.format(name, number) for name, number in sorted(counts.items()))

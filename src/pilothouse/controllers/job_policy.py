"""What a pod's failure means for its Job, and when a part of the indexes is enough.

References: "Handling retriable and non-retriable pod failures with Pod failure policy" (KEP-3329), "Success policy" (KEP-3998).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pilothouse.client.reconcile.objects import Obj, key
from pilothouse.controllers import job_indexes as indexes


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule that a failed pod meets: its action ("" if none is met) and, for FailJob, what to tell."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts against the back-off limit."""
        return self.action != "Ignore"


def verdict(job: Obj, pod: Obj) -> Verdict:
    """The first rule of the Job's pod failure policy that a failed pod meets."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        told = _met(rule, number, pod)
        if told and (rule["action"] != "FailIndex" or job["spec"].get("backoffLimitPerIndex") is not None):
            return Verdict(rule["action"], told)
    return Verdict()


def _met(rule: Obj, number: int, pod: Obj) -> str:
    """How the pod meets the rule, in words; "" if it does not."""
    tail = f"matching {rule['action']} rule at index {number}"
    if rule.get("onExitCodes") is not None:
        found = _exit(rule["onExitCodes"], pod)
        return f"Container {found[0]} for pod {key(pod)} failed with exit code {found[1]} {tail}" if found else ""
    for pattern in rule.get("onPodConditions") or ():
        for each in (pod.get("status") or {}).get("conditions") or ():
            if each["type"] == pattern["type"] and each["status"] == pattern.get("status", "True"):
                return f"Pod {key(pod)} has condition {each['type']} {tail}"
    return ""


def _exit(wanted: Obj, pod: Obj) -> tuple[str, int] | None:
    """The container whose end the rule means, and its exit code."""
    status = pod.get("status") or {}
    for each in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        ended = (each.get("state") or {}).get("terminated")
        if ended is None or wanted.get("containerName") not in (None, each["name"]):
            continue
        code = ended.get("exitCode", 0)
        listed = code in (wanted.get("values") or ())
        if code != 0 and listed == (wanted["operator"] == "In"):
            return each["name"], code
    return None


def fail_job_message(job: Obj, failed: Iterable[Obj]) -> str:
    """What to tell if one of these failed pods fails the whole Job; "" if none does."""
    for pod in failed if job["spec"].get("podFailurePolicy") else ():
        found = verdict(job, pod)
        if found.action == "FailJob":
            return found.message
    return ""


def success_message(job: Obj, completed: Collection[int]) -> str:
    """What to tell if a rule of the success policy is met by the completed indexes; "" if none is."""
    completions = job["spec"].get("completions") or 0
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        wanted = rule.get("succeededIndexes")
        of = indexes.parse(wanted, completions) if wanted is not None else set(range(completions))
        done = len(of.intersection(completed))
        least = rule.get("succeededCount")
        if done >= (len(of) if least is None else least):
            return f"Matched rules at index {number}"
    return ""

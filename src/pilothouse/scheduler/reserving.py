"""Reserve and Unreserve: plugins claim what a choice uses up before the next pod is decided, and give it back when nothing comes of it."""

from __future__ import annotations

import logging

from pilothouse.scheduler.framework import Code, Status
from pilothouse.scheduler.schedule import Outcome

log = logging.getLogger("pilothouse.scheduler")


def reserve(outcome: Outcome, node: str) -> Status | None:
    """Let all plugins claim; the first refusal, or None."""
    profile = outcome.profile
    assert profile is not None
    for plugin in profile.reserves:
        try:
            status = plugin.reserve(outcome.cycle, node)
        except Exception as error:  # one plugin's fault must not end the scheduler
            log.exception("plugin %s failed to reserve for %s", plugin.name, outcome.cycle.pod.key)
            status = Status(Code.ERROR, (f"running Reserve plugin {plugin.name!r}: {type(error).__name__}: {error}",))
        if status is not None and status.code is not Code.SUCCESS:
            return Status(status.code, status.reasons, plugin.name)
    return None


def unreserve(outcome: Outcome) -> None:
    """Let all plugins give back, the last first."""
    profile = outcome.profile
    assert profile is not None
    for plugin in reversed(profile.reserves):
        try:
            plugin.unreserve(outcome.cycle, outcome.node or "")
        except Exception:
            log.exception("plugin %s failed to unreserve for %s", plugin.name, outcome.cycle.pod.key)

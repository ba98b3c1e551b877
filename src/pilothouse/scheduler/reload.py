"""Hot reload: the scheduler's configuration and plugin files are read again when they are written; what is wrong leaves the old ones at work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pilothouse.clock import Clock
from pilothouse.scheduler.config import SchedulerConfig
from pilothouse.scheduler.loading import load_config, stamps

log = logging.getLogger("pilothouse.scheduler")

#: Seconds between looks at the files.
PERIOD = 1.0


async def follow(clock: Clock, config: Path | None, files: Sequence[Path], apply: Callable[[SchedulerConfig], None]) -> None:
    """Apply what the files say, whenever they change, until cancelled."""
    watched = [*([config] if config else []), *files]
    seen = stamps(watched)
    while True:
        await clock.sleep(PERIOD)
        now = stamps(watched)
        if now == seen:
            continue
        seen = now
        try:
            parsed = load_config(config, files)
        except (ValueError, OSError) as error:
            log.error("the scheduler goes on as before: %s", error)
            continue
        apply(parsed)
        log.warning("the scheduler's configuration was read again: %s", ", ".join(map(str, watched)))

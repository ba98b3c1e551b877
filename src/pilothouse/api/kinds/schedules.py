"""Cron schedules and time zones: whether they can be read (docs: "CronJob: Schedule syntax", "Time zones")."""

from __future__ import annotations

import functools
import re
import zoneinfo

from pilothouse.api.errors import invalid
from pilothouse.api.podspec.checks import Errors

_MONTHS = {m: n for n, m in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}  # noqa: SIM905
_DAYS = {d: n for n, d in enumerate("sun mon tue wed thu fri sat".split())}  # noqa: SIM905
#: Lowest and highest value of each field, and its words.
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = ((0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS))
_WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_is_duration = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)").match


def check_schedule(schedule: str, zone: str | None, path: str, out: Errors) -> None:
    """Five fields or a word such as @daily. The time zone has a field of its own."""
    if "TZ" in schedule:
        told = (
            "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            if zone
            else "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        )
        out.append(invalid(path, schedule, told))
        return
    problem = schedule_problem(schedule)
    if problem:
        out.append(invalid(path, schedule, problem))


@functools.lru_cache(maxsize=1024)
def schedule_problem(schedule: str) -> str:
    """What is wrong with a schedule; nothing with a good one."""
    if schedule.startswith("@"):
        if schedule in _WORDS:
            return ""
        if schedule.startswith("@every "):
            return (
                ""
                if _is_duration(schedule[7:])
                else f'failed to parse duration {schedule}: time: invalid duration "{schedule[7:]}"'
            )
        return f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    try:
        for text, (low, high, words) in zip(fields, _FIELDS, strict=True):
            for part in text.split(","):
                _check_range(part, low, high, words)
    except ValueError as e:
        return str(e)
    return ""


def _check_range(text: str, low: int, high: int, words: dict[str, int]) -> None:
    """`*`, `?`, `5`, `1-5`, each with or without `/2`."""
    span, *steps = text.split("/")
    ends = span.split("-")
    if ends[0] in ("*", "?"):
        start, end = low, high
    else:
        start = _number(ends[0], words)
        if len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
        end = _number(ends[1], words) if len(ends) == 2 else high if steps else start
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    step = _number(steps[0], {}) if steps else 1
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")


def _number(text: str, words: dict[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ValueError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)


def check_time_zone(zone: str, path: str, out: Errors) -> None:
    """A name from the time zone database."""
    if not zone:
        out.append(invalid(path, zone, "timeZone must be nil or non-empty string"))
    elif zone.lower() == "local":
        out.append(invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
    elif not _known_zone(zone):
        out.append(invalid(path, zone, f"unknown time zone {zone}"))


@functools.lru_cache(maxsize=512)
def _known_zone(zone: str) -> bool:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True

"""Probes and lifecycle hooks: one handler each, and numbers that make sense (API reference: Probe, Lifecycle)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import Obj, forbidden, invalid, not_supported, required
from pilothouse.api.podspec.checks import Errors, name_errors, non_negative, port_name_problems, within

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_SCHEMES = ("HTTP", "HTTPS")
#: Signals that a container may be stopped with, by operating system.
_LINUX_SIGNALS = frozenset(
    f"SIG{name}"
    for name in (
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT",
        "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX", *(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(1, 15)),
    )
)  # fmt: skip
_WINDOWS_SIGNALS = frozenset(("SIGKILL", "SIGTERM"))


def check_probes(container: Obj, grace: int | None, path: str, out: Errors) -> None:
    """The three probes of a container that runs all the time."""
    for field in PROBES:
        probe = container.get(field)
        if probe is None:
            continue
        where = f"{path}.{field}"
        check_probe(probe, grace, where, out)
        if field == "readinessProbe":
            seconds = probe.get("terminationGracePeriodSeconds")
            if seconds is not None:
                out.append(invalid(f"{where}.terminationGracePeriodSeconds", seconds, "must not be set for readinessProbes"))
        elif probe.get("successThreshold", 0) != 1:
            out.append(invalid(f"{where}.successThreshold", probe.get("successThreshold", 0), "must be 1"))


def check_probe(probe: Obj, grace: int | None, path: str, out: Errors) -> None:
    check_handler(probe, grace, path, out)
    for field in _NUMBERS:
        non_negative(probe, field, path, out)
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None and seconds <= 0:
        out.append(invalid(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0"))


def check_lifecycle(lifecycle: Obj, grace: int | None, os: str, path: str, out: Errors) -> None:
    """Hooks after the start and before the stop, and the signal to stop with."""
    for field in ("postStart", "preStop"):
        if lifecycle.get(field) is not None:
            check_handler(lifecycle[field], grace, f"{path}.{field}", out)
    signal = lifecycle.get("stopSignal")
    if signal is not None:
        _check_signal(signal, os, f"{path}.stopSignal", out)


def _check_signal(signal: str, os: str, path: str, out: Errors) -> None:
    if not os:
        out.append(forbidden(path, "may not be set for containers with empty `spec.os.name`"))
        return
    known = _WINDOWS_SIGNALS if os == "windows" else _LINUX_SIGNALS
    if signal not in known:
        out.append(not_supported(path, signal, sorted(known)))


def check_handler(handler: Obj, grace: int | None, path: str, out: Errors) -> None:
    """Exactly one of exec, httpGet, tcpSocket, grpc and sleep."""
    found = 0
    for field, check in _HANDLERS:
        action = handler.get(field)
        if action is None:
            continue
        found += 1
        if found > 1:
            out.append(forbidden(f"{path}.{field}", "may not specify more than 1 handler type"))
        else:
            check(action, grace, f"{path}.{field}", out)
    if not found:
        out.append(required(path, "must specify a handler type"))


def _check_exec(action: Obj, grace: int | None, path: str, out: Errors) -> None:
    if not action.get("command"):
        out.append(required(f"{path}.command"))


def _check_http(action: Obj, grace: int | None, path: str, out: Errors) -> None:
    if not action.get("path"):
        out.append(required(f"{path}.path"))
    check_port(action.get("port"), f"{path}.port", out)
    if action.get("scheme") not in _SCHEMES:
        out.append(not_supported(f"{path}.scheme", action.get("scheme") or "", _SCHEMES))
    for header in action.get("httpHeaders") or ():
        name_errors(header.get("name") or "", names.http_header_name, f"{path}.httpHeaders", out)


def _check_tcp(action: Obj, grace: int | None, path: str, out: Errors) -> None:
    check_port(action.get("port"), f"{path}.port", out)


def _check_grpc(action: Obj, grace: int | None, path: str, out: Errors) -> None:
    check_port(action.get("port"), f"{path}.port", out)


def _check_sleep(action: Obj, grace: int | None, path: str, out: Errors) -> None:
    seconds, limit = action.get("seconds") or 0, grace or 0
    if seconds < 0 or seconds > limit:
        told = f"must be non-negative and less than terminationGracePeriodSeconds ({limit})"
        out.append(invalid(path, seconds, told))


def check_port(port: Any, path: str, out: Errors) -> None:
    """A number or the name of a container's port."""
    if isinstance(port, str):
        name_errors(port, port_name_problems, path, out)
    else:
        within(port or 0, 1, 65535, path, out)


_HANDLERS = (
    ("exec", _check_exec),
    ("httpGet", _check_http),
    ("tcpSocket", _check_tcp),
    ("grpc", _check_grpc),
    ("sleep", _check_sleep),
)

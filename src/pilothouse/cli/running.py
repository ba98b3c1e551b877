"""What commands have in common: mistakes in one line, an async main, work until a signal."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import typer


def fail(message: str) -> NoReturn:
    """One line, exit code 2."""
    typer.echo(f"pilothouse: {message}", err=True)
    raise typer.Exit(2)


def is_external(cloud_provider: str) -> bool:
    """Whether --cloud-provider leaves the cloud to a cloud-controller-manager; there is no other way to have one."""
    if cloud_provider not in ("", "external"):
        fail(f"--cloud-provider: {cloud_provider!r} is not supported: there is only external")
    return cloud_provider == "external"


def run_command(main: object) -> int:
    """Run an async main; what a user can mend becomes one line and exit code 2."""
    from pilothouse.client.kubeconfig import KubeconfigError
    from pilothouse.cluster import run
    from pilothouse.store.interface import StoreError

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return run(main)  # type: ignore[arg-type]
    except (StoreError, KubeconfigError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}" + (": choose another --port" if error.errno == 98 else ""))
    return 2


async def until_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for s in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(s, stop.set)
    await stop.wait()


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Several components until one of them fails."""
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)


async def work_until_signal(work: object) -> int:
    """Run until a signal (0), or until the work ends by itself (1): it has lost its lease."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    stop = asyncio.ensure_future(until_signal())
    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
    for t in (task, stop):
        t.cancel()
    results = await asyncio.gather(task, stop, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    if stop.cancelled():
        typer.echo("pilothouse: leader election lost", err=True)
        return 1
    return 0


def split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def seconds(flag: str, text: str) -> float:
    """A duration such as `1m30s` in seconds. ValueError, in one line, if it is none."""
    parts = re.findall(r"([0-9.]+)(h|ms|m|s)", text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise ValueError(f"{flag}: {text!r} is no duration such as 1m30s")
    return sum(float(amount) * {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}[unit] for amount, unit in parts)


def read_yaml(path: Path) -> object:
    """A decoded file. ValueError, in one line, if it is not YAML."""
    from pilothouse.api.yamltext import settings

    return settings(path.read_text(), str(path))

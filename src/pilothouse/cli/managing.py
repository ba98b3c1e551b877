"""Running a component that consists of controllers: its manager, its identity, its port, until a signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.cli.running import work_until_signal

if TYPE_CHECKING:
    from pilothouse.client.reconcile.credentials import TransportFactory
    from pilothouse.client.reconcile.manager import ControllerManager, Options
    from pilothouse.client.serving import Serving
    from pilothouse.clock import Clock

#: Makes the manager of what makes transports, the clock and the options.
Build = Callable[["TransportFactory", "Clock", "Options"], "ControllerManager"]


async def run_manager(agent: str, kubeconfig: Path, options: Options, serving: Serving, build: Build) -> int:
    """The exit code. `agent` is what its requests are signed with."""
    from pilothouse.client.events import default_identity
    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load
    from pilothouse.client.serving import ComponentServer
    from pilothouse.clock import SystemClock

    connection = load(kubeconfig)
    clock = SystemClock()

    def make(token: str | None) -> HttpTransport:
        return HttpTransport(connection if token is None else connection.as_bearer(token), agent)

    manager = build(make, clock, replace(options, identity=default_identity()))
    server = ComponentServer(serving, make(None), clock, manager.metrics, parts=manager.checks)
    if serving.port:
        await server.start()
    try:
        return await work_until_signal(manager.run())
    finally:
        await server.stop()

"""A controller manager as a process of its own, which is killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path


class Manager:
    """A `pilothouse` command that runs controllers. `path` is what else Python is to find."""

    def __init__(self, command: str, kubeconfig: Path, *arguments: str, path: Path | None = None) -> None:
        self._command = [sys.executable, "-m", "pilothouse", command, "--kubeconfig", str(kubeconfig), "--no-leader-elect"]
        self._command += ["--secure-port", "0", *arguments]
        before = os.environ.get("PYTHONPATH", "")
        added = {"PYTHONPATH": os.pathsep.join(p for p in (str(path), before) if p)} if path else {}
        self._environment = {**os.environ, **added}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stderr=asyncio.subprocess.DEVNULL, env=self._environment
        )

    async def kill(self) -> None:
        assert self._process is not None and self._process.returncode is None, "it ended by itself"
        os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()

"""A whole cluster as a process of its own, and kubectl against it."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from etcd_server import free_port

#: That of this environment before that of the machine.
KUBECTL = shutil.which("kubectl", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))) or "kubectl"
SECONDS = 60.0
#: For tests of what does not depend on the store: on one engine only.
ON_SQLITE = pytest.mark.parametrize("live", [pytest.param("sqlite", marks=pytest.mark.xdist_group("live-sqlite"))], indirect=True)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Until it holds; AssertionError when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.05)


class Kubectl:
    """kubectl for one kubeconfig and, with `namespace`, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str = "") -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [KUBECTL, *(["-n", self.namespace] if self.namespace else []), *arguments]

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "", **environment: str) -> str:
        """What it prints, errors included. AssertionError for another exit code."""
        done = subprocess.run(
            self._command(arguments), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=SECONDS, env={**self.environment, **environment},
        )  # fmt: skip
        assert done.returncode == code, f"kubectl {' '.join(arguments)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def path(self, what: str, path: str) -> str:
        """The value at a JSONPath of an object."""
        return self("get", what, "-o", f"jsonpath={{{path}}}")

    def rolled_out(self, what: str) -> str:
        return self("rollout", "status", what, f"--timeout={SECONDS:.0f}s")

    @contextmanager
    def stream(self, *arguments: str) -> Iterator[Callable[[str], str]]:
        """A kubectl that keeps printing: the function gives the next line that contains a text."""
        process = subprocess.Popen(
            self._command(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        reader = threading.Thread(target=lambda out=process.stdout: [lines.put(line) for line in out], daemon=True)
        reader.start()

        def following(text: str) -> str:
            while text not in (line := lines.get(timeout=SECONDS)):
                pass
            return line

        try:
            yield following
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


class Program:
    """One `pilothouse` command; `line` is the first that it printed: it is ready then."""

    def __init__(self, *arguments: str, wait: bool = True, **environment: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pilothouse", *arguments], stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, "PILOTHOUSE_FREEZE": "1", **environment},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline() if wait else ""
        assert self.line or not wait, self.told()

    def told(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.errors.close()


@contextmanager
def own_cluster(folder: Path, *flags: str) -> Iterator[Kubectl]:
    """kubectl of a cluster that keeps nothing, in a process of its own; it has to end well, and without a traceback."""
    kubeconfig = folder / "kubeconfig"
    program = Program("up", "--memory", "--port", str(free_port()), "--kubeconfig", str(kubeconfig), *flags)
    try:
        yield Kubectl(kubeconfig)
    finally:
        told, code = program.told(), program.stop()
    assert code == 0 and "Traceback" not in told, told

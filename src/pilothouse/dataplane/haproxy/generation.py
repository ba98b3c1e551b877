"""One running HAProxy. Each new configuration is a new one; the one before takes no more connections and ends when its last has ended.

It is started as a child that the kernel ends when we end, however that comes. Its files (keys among them) are there only until it has read
them. What it says is kept for the error that tells why it did not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pilothouse.dataplane.haproxy import binary, counts, servers
from pilothouse.dataplane.haproxy.configuration import CONTROL, NAME, STAY, Configuration
from pilothouse.dataplane.haproxy.control import Control, ask_now, table
from pilothouse.dataplane.haproxy.listeners import unix

START_LIMIT = 30.0
_REMEMBERED = re.compile(r"key=(\S+) .*server_id=(\d+) server_key=(\S+)")


class Refused(Exception):
    """HAProxy did not take its configuration, or did not start: in its words."""


class Generation:
    """Made by `start`."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, configuration: Configuration) -> None:
        self.folder = folder
        self.process = process
        self.uses = configuration.uses
        self._memories = configuration.memories
        #: By backend the servers that take traffic, and those that do not any more and are to be removed.
        self._servers: dict[str, dict[str, str]] = {}
        self.retired: set[str] = set()
        self.tidying = False
        self._said: deque[str] = deque(maxlen=50)
        self._listening = asyncio.ensure_future(self._listen())
        self.control: Control
        #: While this connection is there it does not end.
        self._stay: asyncio.StreamWriter | None = None

    @classmethod
    async def start(
        cls,
        path: str,
        folder: Path,
        make: Callable[[str, int], Configuration],
        sockets: Sequence[socket.socket],
        pools: Mapping[str, Mapping[str, str]],
    ) -> Generation:
        """Start one on a configuration, made for a folder and the descriptor of its control socket; `pools` are the addresses in it."""
        folder.mkdir(mode=0o700)
        own = unix(str(folder / CONTROL))
        try:
            configuration = make(str(folder), own.fileno())
            _write(folder, configuration)
            descriptors = [one.fileno() for one in (*sockets, own)]
            process = await asyncio.create_subprocess_exec(
                *command(path, folder), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
                stdin=asyncio.subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True,
            )  # fmt: skip
            own.close()
            one = cls(folder, process, configuration)
            try:
                await one._ready()
            except BaseException:
                one.kill()
                await one.ended()
                raise
        except BaseException:
            own.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for name in configuration.files:
            (folder / name).unlink()
        for pool, backends in configuration.uses.items():
            for backend in backends:
                one._servers[backend] = dict(pools.get(pool, {}))
        return one

    async def _ready(self) -> None:
        opening = asyncio.ensure_future(Control.open(str(self.folder / CONTROL)))
        ending = asyncio.ensure_future(self.process.wait())
        try:
            await asyncio.wait([opening, ending], timeout=START_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done() and not opening.done():
                raise Refused("haproxy does not answer")
            if ending.done() or opening.exception():
                await self._listening
                raise Refused(reason(list(self._said)))
            self.control = opening.result()
            _, self._stay = await asyncio.open_unix_connection(str(self.folder / STAY))
        finally:
            for waiting in (opening, ending):
                if not waiting.done():
                    waiting.cancel()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await waiting

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self._said.append(line.decode(errors="replace").strip())

    async def set_servers(self, pool: str, wanted: Mapping[str, str]) -> None:
        """Bring a pool's servers to what they are to be, in all its backends. OSError where HAProxy does not do it."""
        commands: list[str] = []
        for backend, parameters in self.uses.get(pool, {}).items():
            commands += servers.changes(backend, parameters, self._servers[backend], wanted, self.retired)
        if not commands:
            return
        answers = await self.control.ask(commands)
        for backend in self.uses[pool]:
            gone = self._servers[backend].keys() - wanted.keys()
            self.retired |= {f"{backend}/{name}" for name in gone}
            self.retired -= {f"{backend}/{name}" for name in wanted}
            self._servers[backend] = dict(wanted)
        wrong = [answer for answer in answers if answer and "registered" not in answer]
        if wrong:
            raise OSError(f"haproxy: {wrong[0]}")

    async def remove_retired(self) -> bool:
        """Remove servers that have no connection any more; whether some are left."""
        names = sorted(self.retired)
        for name, answer in zip(names, await self.control.ask([f"del server {name}" for name in names]), strict=True):
            if "deleted" in answer or "No such" in answer:
                self.retired.discard(name)
        return bool(self.retired)

    async def remember(self, before: Generation) -> None:
        """Learn which client went where."""
        for memory, names in self._memories.items():
            if memory not in before._memories:
                continue
            numbers = {name: number for number, name in enumerate(names, 1)}
            (told,) = await before.control.ask([f"show table {memory}"])
            had = dict(enumerate(before._memories[memory], 1))
            # who has not come since the last time that this was told has a number only
            known = [
                (key, numbers.get(had.get(int(number), "") if name == "-" else name))
                for key, number, name in _REMEMBERED.findall(told)
            ]
            await self.control.ask([f"set table {memory} key {key} data.server_id {number}" for key, number in known if number])

    def statistics(self) -> list[dict[str, str]]:
        """A row for each front; none where HAProxy does not answer."""
        return table(ask_now(str(self.folder / CONTROL), "show stat -1 1 -1"), counts.COLUMNS)

    async def retire(self) -> list[dict[str, str]]:
        """Take no more connections; when this returns it takes none. The statistics as they were just before: a HAProxy that is stopping
        has no runtime API any more."""
        last: list[dict[str, str]] = []
        with contextlib.suppress(OSError):
            last = table((await self.control.ask(["show stat -1 1 -1"]))[0], counts.COLUMNS)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(OSError):
            while "Stopping: 1" not in (await self.control.ask(["show info"]))[0]:
                continue
        self.control.close()
        return last

    def let_go(self) -> None:
        """Have nothing more to do with it: it ends with its last connection."""
        for session in (getattr(self, "control", None), self._stay):
            if session is not None:
                session.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def ended(self) -> None:
        """Wait for its end, and clear away what it leaves."""
        await self.process.wait()
        await asyncio.wait([self._listening])  # whoever gives up waiting leaves it to others
        self.let_go()
        shutil.rmtree(self.folder, ignore_errors=True)


def command(path: str, folder: Path, *more: str) -> list[str]:
    guard = binary.find(binary.GUARD)
    assert guard is not None
    return [guard, "--pdeathsig", "KILL", path, "-db", *more, "-f", str(folder / NAME)]


def _write(folder: Path, configuration: Configuration) -> None:
    for name, content in configuration.files.items():
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)


async def refusal(path: str, folder: Path, make: Callable[[str, int], Configuration], sockets: Sequence[socket.socket]) -> str:
    """Why HAProxy does not take a configuration; "" if it does. Nothing is started."""
    folder.mkdir(mode=0o700)
    own = unix(str(folder / CONTROL))
    try:
        _write(folder, make(str(folder), own.fileno()))
        process = await asyncio.create_subprocess_exec(
            *command(path, folder, "-c"), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            pass_fds=[one.fileno() for one in (*sockets, own)],
        )  # fmt: skip
        _, said = await process.communicate()
        return "" if process.returncode == 0 else reason(said.decode(errors="replace").splitlines())
    finally:
        own.close()
        shutil.rmtree(folder, ignore_errors=True)


def reason(said: Sequence[str]) -> str:
    """The first complaint, in one line."""
    complaints = [line.partition(" : ")[2] for line in said if line.startswith("[ALERT]")]
    return f"haproxy: {complaints[0]}" if complaints else f"haproxy: {said[-1]}" if said else "haproxy ended without a word"

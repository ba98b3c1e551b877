"""A last will: what this process has changed in the machine's network is undone when it ends, also where it is killed.

A shell waits for the end of its input, which comes with the end of this process. It holds the lock as well, so that nobody begins anew before it is
done. Where it is killed too, the next cluster's start undoes what is left.
"""

from __future__ import annotations

import asyncio
import subprocess

from pilothouse.nodes.proxy.system import NetworkLock

_SCRIPT = """\
trap '' HUP INT TERM
read word && exit 0
PATH="$PATH:/usr/sbin:/sbin"
nft delete table {table}
ip -4 route flush table local proto {protocol}
"""


class LastWill:
    """`write` it once something has been changed, `tear` it up when that has been undone."""

    def __init__(self, lock: NetworkLock, table: str, protocol: str) -> None:
        self._lock = lock
        self._script = _SCRIPT.format(table=table, protocol=protocol)
        self._shell: subprocess.Popen[bytes] | None = None

    async def write(self) -> None:
        """OSError if there is no shell."""
        self._shell = await asyncio.to_thread(self._start)

    def _start(self) -> subprocess.Popen[bytes]:
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(
            ["sh", "-c", self._script], stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True,
            pass_fds=[self._lock.fileno()],
        )  # fmt: skip

    async def tear(self) -> None:
        shell, self._shell = self._shell, None
        if shell is not None:
            await asyncio.to_thread(shell.communicate, b"done\n")

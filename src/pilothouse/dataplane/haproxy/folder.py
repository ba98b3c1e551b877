"""The folder of an engine: for its owner alone, kept from who clears temporary folders, cleared away when its owner was killed.

A lock on a folder keeps it: systemd-tmpfiles leaves what is locked alone (tmpfiles.d(5)), and so do other engines of ours, which clear away the
folders that nobody locks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "pilothouse-haproxy-"
#: A folder younger than this may be about to be locked.
YOUNG_SECONDS = 60.0


class Folder:
    """Made and locked."""

    def __init__(self, now: float) -> None:
        clear_abandoned(now)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def clear_abandoned(now: float) -> None:
    """Remove folders of engines that were killed. Those of other users are left alone."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            told = path.lstat()
            if told.st_uid != os.getuid() or now - told.st_mtime < YOUNG_SECONDS:
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # it has gone meanwhile
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # its engine lives
        finally:
            os.close(lock)

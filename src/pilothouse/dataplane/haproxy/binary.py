"""HAProxy on this machine: where it is, and whether it is new enough for what the engine asks of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

#: The oldest that has all that is used: servers added while it runs, `host_only`, clients and threads for Lua, the system's authorities.
OLDEST = (2, 6)
#: Ends what it starts when its parent ends, however that ends (util-linux).
GUARD = "setpriv"


def find(name: str = "haproxy") -> str | None:
    """Its path: on the PATH, beside this Python, or where Debian keeps what is for administrators."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), beside, "/usr/sbin", "/usr/local/sbin"]))


def check() -> str:
    """The path of a HAProxy that can be used. OSError says why there is none."""
    path = find()
    if path is None:
        raise OSError("haproxy is not installed")
    if find(GUARD) is None:
        raise OSError(f"{GUARD} (util-linux) is not installed: haproxy could outlive us")
    told = _told(path)
    found = re.search(r"version (\d+)\.(\d+)", told)
    if not found:
        raise OSError(f"{path} does not tell its version")
    version = (int(found[1]), int(found[2]))
    if version < OLDEST:
        raise OSError(f"{path} is version {version[0]}.{version[1]}: {OLDEST[0]}.{OLDEST[1]} or newer is needed")
    if "+LUA" not in told:
        raise OSError(f"{path} was built without Lua")
    return path


def _told(path: str) -> str:
    try:
        return subprocess.run([path, "-vv"], capture_output=True, text=True, timeout=10, check=False).stdout
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{path} does not answer") from error

"""HAProxy for the tests of a machine that has none: Debian's package, unpacked beside the virtual environment. No root is needed.

    python tools/haproxy.py [.venv]

Where no haproxy is installed, the package and those libraries of it that are missing are fetched with apt-get and unpacked in `.venv/haproxy`;
`.venv/bin/haproxy` runs it. Where that cannot be, one line says that the tests on HAProxy will be skipped; that is no error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
WRAPPER = """#!/bin/sh
LD_LIBRARY_PATH='{libraries}' exec '{program}' "$@"
"""


class Missing(Exception):
    """Why there is no HAProxy."""


def main() -> int:
    venv = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").resolve()
    if shutil.which("haproxy", path=SEARCHED) or runs(venv / "bin" / "haproxy"):
        return 0
    try:
        fetch(venv)
    except Missing as why:
        print(f"no haproxy, so its tests will be skipped: {why}", file=sys.stderr)
    return 0


def fetch(venv: Path) -> None:
    """Make `bin/haproxy` in a virtual environment."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is not here to fetch it with")
    unpacked, wrapper = venv / "haproxy", venv / "bin" / "haproxy"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for package in download(Path(folder)):
            run(["dpkg-deb", "-x", str(package), str(unpacked)])
    libraries = sorted({str(path.parent) for path in unpacked.rglob("*.so*")})
    wrapper.write_text(WRAPPER.format(libraries=os.pathsep.join(libraries), program=unpacked / "usr" / "sbin" / "haproxy"))
    wrapper.chmod(0o755)
    if not runs(wrapper):
        wrapper.unlink()
        raise Missing("the one that was fetched does not run here")


def download(folder: Path) -> list[Path]:
    """The package and the libraries that this machine lacks, as files in a folder."""
    apt = ["apt-get", "-qq", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"]
    try:
        return fetched(apt, folder)
    except Missing:  # the machine's lists are empty or old: have some of our own
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        apt += ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
        run([*apt, "update"])
        return fetched(apt, folder)


def fetched(apt: list[str], folder: Path) -> list[Path]:
    run([*apt, "download", *needed(apt)], cwd=folder)
    return sorted(folder.glob("*.deb"))


def needed(apt: list[str]) -> list[str]:
    """What would be installed with it, as far as it is libraries."""
    said = run([*apt, "--simulate", "--no-install-recommends", "install", "haproxy"])
    found = re.findall(r"^Inst (\S+)", said, re.MULTILINE)
    return ["haproxy", *(name for name in found if name.startswith("lib"))]


def run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(f"{' '.join(command[:1])}: {said[-1] if said else done.returncode}")
    return done.stdout


def runs(program: Path) -> bool:
    return program.exists() and subprocess.run([program, "-v"], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: every benchmark of this folder, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    here = Path(__file__).parent
    for script in sorted(p for p in here.glob("*.py") if not p.name.startswith("_")):
        print(f"--- {script.name}", flush=True)
        code = subprocess.call([sys.executable, str(script)])
        if code:
            return code
    print("--- the scheduler has its own, which take an hour: python -m benchmarks.scheduler --help")
    return 0


if __name__ == "__main__":
    sys.exit(main())

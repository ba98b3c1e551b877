"""Send malformed bodies to a server in this process and say which were answered as they must not be.

tools/fuzz.py [COUNT] [SEED]        100,000 bodies unless told otherwise; exit code 1 if anything was found
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from golden.malformed import offences
from golden.replay import player

#: Bodies sent to one server before the next one is started.
ROUND = 10_000


async def play(count: int, seed: int) -> list[str]:
    async with player() as played:
        return await offences(played, count, seed, ("core", "machinery", "groups"))


def main() -> int:
    given = [int(text) for text in sys.argv[1:]]
    count, seed = given[0] if given else 100_000, given[1] if given[1:] else 1
    started, found = time.monotonic(), []
    for done in range(0, count, ROUND):
        found += asyncio.run(play(min(ROUND, count - done), seed))
        seed += 1
        print(f"{done + ROUND} bodies, {len(found)} offences, {time.monotonic() - started:.0f} s, {_memory()} MiB", flush=True)
    print("\n".join(found[:50]))
    return 1 if found else 0


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())

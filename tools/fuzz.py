"""Send malformed bodies to a server in this process and say which were answered as they must not be.

tools/fuzz.py [COUNT] [SEED]        100,000 bodies unless told otherwise; exit code 1 if anything was found

Found is: an answer of 500, a hang, a write by what was refused, an object that cannot be read or written again, and memory that keeps growing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from golden.malformed import offences
from golden.replay import player

#: Bodies sent to one server before the next one is started.
ROUND = 10_000
#: The process may grow while tables are made for the kinds that come by; after that, while caches fill, by no more than this (MiB).
SETTLED, GROWTH = 3, 24
#: A round that takes so long (seconds) ends the run with the stack that it hangs in.
HANG = 300


async def play(count: int, seed: int) -> list[str]:
    async with player() as played:
        return await offences(played, count, seed, ("core", "machinery", "groups", "extend"))


def main() -> int:
    given = [int(text) for text in sys.argv[1:]]
    count, seed = given[0] if given else 100_000, given[1] if given[1:] else 1
    started, found = time.monotonic(), []
    sizes: list[int] = []
    for done in range(0, count, ROUND):
        faulthandler.dump_traceback_later(HANG, exit=True)
        found += asyncio.run(play(min(ROUND, count - done), seed))
        faulthandler.cancel_dump_traceback_later()
        seed += 1
        gc.collect()
        sizes.append(_memory())
        print(f"{done + ROUND} bodies, {len(found)} offences, {time.monotonic() - started:.0f} s, {sizes[-1]} MiB", flush=True)
    if sizes[SETTLED:] and sizes[-1] > sizes[SETTLED - 1] + GROWTH:
        found.append(f"grew from {sizes[SETTLED - 1]} to {sizes[-1]} MiB")
    print("\n".join(found[:50]))
    return 1 if found else 0


def _memory() -> int:
    """MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


if __name__ == "__main__":
    sys.exit(main())

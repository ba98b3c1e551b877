"""Settings of a process that is an API server, alone or with its spokes, and nothing else."""

from __future__ import annotations

import gc


def tune_garbage_collector() -> None:
    """Look for reference cycles seldom. Objects of the API are trees that reference counting frees at once; walking all of them again
    and again, as the collector does by default, would cost a loaded server more than serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)

"""Scheduling throughput beside the floors that Kubernetes publishes for its own scheduler.

    python -m benchmarks.scheduler [--only NAME ...] [--scale 0.1] [--hub] [--markdown]

Each workload runs in a process of its own. Without `--hub` the scheduler is alone; with it, pods are created at a hub (memory engine) and
the scheduler binds them there, in the same process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks.scheduler.workloads import WORKLOADS, build


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(WORKLOADS), help="this workload; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="share of nodes and pods")
    parser.add_argument("--hub", action="store_true", help="through the hub")
    parser.add_argument("--markdown", action="store_true", help="a row of a table for each")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return one(arguments.one, arguments.scale, arguments.hub)
    head = ("workload", "nodes", "first", "measured", "floor", "pods/s", "times", "left", "MiB")
    print(row(head, arguments.markdown), flush=True)
    for name in arguments.only or WORKLOADS:
        command = [sys.executable, "-m", "benchmarks.scheduler", "--one", name, "--scale", str(arguments.scale)]
        done = subprocess.run([*command, *(["--hub"] if arguments.hub else [])], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(row((name, *[""] * 4, "failed", "", "", ""), arguments.markdown), flush=True)
            continue
        print(row(json.loads(done.stdout.splitlines()[-1]), arguments.markdown), flush=True)
    return 0


def one(name: str, scale: float, hub: bool) -> int:
    workload = build(name, scale)
    sizes = [len(workload.nodes), len(workload.first) + len(workload.gated), len(workload.measured)]
    if hub:
        from benchmarks.scheduler.through_hub import measure
    else:
        from benchmarks.scheduler.alone import measure
    rate, left, memory = measure(workload)
    times = f"{rate / workload.floor:.1f}" if workload.floor else ""
    print(json.dumps([workload.name, *sizes, workload.floor or "", round(rate), times, left, round(memory)]))
    return 0


def row(cells: tuple[object, ...] | list[object], markdown: bool) -> str:
    texts = [f"{c:,}" if isinstance(c, int) else str(c) for c in cells]
    if markdown:
        return "| " + " | ".join(texts) + " |"
    return f"{texts[0]:38}" + "".join(f"{t:>10}" for t in texts[1:])


if __name__ == "__main__":
    sys.exit(main())

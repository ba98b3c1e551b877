"""`python -m pilothouse.apiserver`: one API server as its own process, with the flags that matter most."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from pilothouse.apiserver.assembly import Settings, server_options
from pilothouse.apiserver.process import tune_garbage_collector
from pilothouse.apiserver.server import ApiServer
from pilothouse.clock import SystemClock
from pilothouse.store.interface import Store, StoreError
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SqliteStore


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pilothouse.apiserver", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data-dir", type=Path, help="where the SQLite store and the certificates are kept")
    where.add_argument("--memory", action="store_true", help="keep nothing")
    parser.add_argument("--secure-port", type=int, default=6443)
    parser.add_argument("--bind-address", default="127.0.0.1")
    parser.add_argument("--token-auth-file", type=Path)
    parser.add_argument("--authorization-mode", default="Node,RBAC")
    parser.add_argument("--service-cluster-ip-range", default="10.96.0.0/16")
    return parser.parse_args(arguments)


async def serve(flags: argparse.Namespace, folder: Path) -> None:
    """Run until told to stop."""
    clock = SystemClock()
    store: Store = MemoryStore(clock) if flags.memory else SqliteStore(folder, clock)
    settings = Settings(
        cert_dir=folder / "pki",
        port=flags.secure_port,
        bind_address=flags.bind_address,
        token_auth_file=flags.token_auth_file,
        authorization_modes=tuple(flags.authorization_mode.split(",")),
        service_ranges=tuple(flags.service_cluster_ip_range.split(",")),
    )
    server = ApiServer(server_options(store, settings, clock))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    tune_garbage_collector()
    sys.stdout.write(f"ready on https://{server.address}\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await server.stop()


def main() -> int:
    flags = parse(sys.argv[1:])
    try:
        if flags.memory:
            with tempfile.TemporaryDirectory(prefix="pilothouse-") as folder:
                uvloop.run(serve(flags, Path(folder)))
        else:
            flags.data_dir.mkdir(parents=True, exist_ok=True)
            uvloop.run(serve(flags, flags.data_dir))
    except (OSError, StoreError, ValueError) as error:
        sys.stderr.write(f"apiserver: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

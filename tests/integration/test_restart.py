"""What was there is found again; what cannot be is told in one line."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from pilothouse.apiserver.assembly import Settings
from pilothouse.cluster import ApiHub, Cluster, Spokes


async def start(folder: Path) -> Cluster:
    cluster = Cluster(ApiHub(Settings(port=6443, listen=False), folder), Spokes(nodes=0, scheduler=False))
    await cluster.start()
    return cluster


async def test_a_cluster_finds_everything_again(tmp_path: Path) -> None:
    first = await start(tmp_path)
    admin = first.hub.transport("admin", "system:masters")
    made = await admin.request(
        "POST", "/api/v1/namespaces/default/configmaps", body={"metadata": {"name": "kept"}, "data": {"a": "b"}}
    )
    assert made.status == 201
    await first.stop()
    second = await start(tmp_path)
    found = await second.hub.transport("admin", "system:masters").request("GET", "/api/v1/namespaces/default/configmaps/kept")
    assert found.body["data"] == {"a": "b"} and found.body["metadata"]["uid"] == made.body["metadata"]["uid"]
    await second.stop()


async def run(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pilothouse", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_busy_port_is_one_line_and_exit_code_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = await run("up", "--memory", "--port", str(taken.getsockname()[1]))
    assert code == 2 and len(output.splitlines()) == 1 and "choose another --port" in output


async def test_a_data_directory_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    cluster = await start(tmp_path)
    code, output = await run("apiserver", "--data-dir", str(tmp_path), "--secure-port", "0")
    await cluster.stop()
    assert code == 2 and len(output.splitlines()) == 1 and "in use" in output


async def test_a_bad_admission_plugin_is_told() -> None:
    code, output = await run("apiserver", "--enable-admission-plugins", "Nope")
    assert code == 2 and "Nope" in output


async def test_a_flag_that_is_not_supported_is_an_error() -> None:
    code, output = await run("apiserver", "--no-such-flag", "x")
    assert code == 2 and "no-such-flag" in output

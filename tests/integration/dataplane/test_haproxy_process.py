"""HAProxy as a process: taken over from, killed, refused, left behind."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from lab import Lab, free_port, make_engine, new_address, to, under, until, url

from pilothouse.dataplane.haproxy.engine import HaproxyEngine
from pilothouse.dataplane.model import Edge, Filters, Forward, Host, Match, Mirror, Pool, Rule, Site, UpstreamTls


@pytest.fixture
async def engine() -> AsyncIterator[HaproxyEngine]:
    engine = make_engine("haproxy")
    assert isinstance(engine, HaproxyEngine)
    await engine.start()
    yield engine
    await engine.stop()


def processes(folder: Path) -> list[int]:
    """HAProxies with their configuration in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{folder}/".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


async def told(http: aiohttp.ClientSession, edge: Edge, path: str = "/") -> str:
    async with http.get(url(edge, path)) as answer:
        return str((await answer.json())["backend"]) if answer.status == 200 else str(answer.status)


async def test_a_connection_that_is_kept_lives_on_and_follows_new_rules(lab: Lab, engine: HaproxyEngine) -> None:
    await lab.backend("one")
    await lab.backend("two")
    edge = await lab.edge(to("one"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        assert await told(http, edge) == "one"
        async with http.get(url(edge)) as answer:
            client = answer.connection.transport.get_extra_info("sockname") if answer.connection else None
        await engine.set_front(Edge(edge.name, edge.address, edge.port, sites=(Site(hosts=(Host(rules=(to("two"),)),)),)))
        async with http.get(url(edge)) as answer:
            assert (answer.connection.transport.get_extra_info("sockname") if answer.connection else None) == client
            assert (await answer.json())["backend"] == "two"
        assert await told(http, edge) == "two"


async def test_no_request_fails_while_fronts_change(lab: Lab, engine: HaproxyEngine, http: aiohttp.ClientSession) -> None:
    await lab.backend("one")
    edge = await lab.edge(to("one"))
    done = asyncio.Event()
    answers = []

    async def ask() -> None:
        while not done.is_set():
            async with http.post(url(edge), data=b"x" * 2000) as answer:
                answers.append(answer.status)

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for number in range(10):
        await lab.edge(under(f"/{number}", "one"), name=f"other-{number}")
    done.set()
    await asyncio.gather(*asking)
    assert set(answers) == {200}


async def test_fronts_that_are_told_together_share_a_reload(lab: Lab, engine: HaproxyEngine) -> None:
    backend = await lab.tcp_backend("one")
    await engine.set_pool(Pool("one", (backend.endpoint,)))
    address = new_address()
    fronts = [Forward(f"f{number}", address, free_port(address), "TCP", "one") for number in range(20)]
    before = next(engine._numbers)
    await asyncio.gather(*(engine.set_front(front) for front in fronts))
    assert next(engine._numbers) - before <= 3
    for front in fronts:
        reader, writer = await asyncio.open_connection(front.address, front.port)
        assert await reader.readline() == b"one\n"
        writer.close()


async def test_endpoints_change_without_another_process(lab: Lab, engine: HaproxyEngine, http: aiohttp.ClientSession) -> None:
    one, two = await lab.backend("one"), await lab.backend("two", pool=False)
    edge = await lab.edge(to("one"))
    before = processes(engine._folder)
    for endpoints, expected in [
        ((two.endpoint,), {"two"}),
        ((one.endpoint, two.endpoint), {"one", "two"}),
        ((), {"503"}),
        ((one.endpoint,), {"one"}),
    ]:
        await engine.set_pool(Pool("one", endpoints))
        assert {await told(http, edge) for _ in range(6)} == expected
    assert processes(engine._folder) == before


async def test_endpoints_change_at_once_while_another_process_starts(
    lab: Lab, engine: HaproxyEngine, http: aiohttp.ClientSession
) -> None:
    one, two = await lab.backend("one"), await lab.backend("two", pool=False)
    edge = await lab.edge(to("one"))
    another = asyncio.create_task(lab.edge(to("one"), name="another"))
    await until(lambda: engine._changing.locked())
    await engine.set_pool(Pool("one", (two.endpoint,)))
    assert not another.done()
    assert {await told(http, edge) for _ in range(4)} == {"two"}
    other = await another
    assert {await told(http, which) for which in (edge, other) for _ in range(4)} == {"two"}
    assert one.seen == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_mirror_gets_all_of_a_body_or_nothing(
    lab: Lab, engine: HaproxyEngine, http: aiohttp.ClientSession, chunked: bool
) -> None:
    async def sized(request: web.Request) -> web.Response:
        sizes.append(len(await request.read()))
        return web.Response()

    sizes: list[int] = []
    await lab.backend("one")
    await lab.backend("copy", sized)
    edge = await lab.edge(to("one", filters=Filters(mirrors=(Mirror("copy"),))))

    async def parts(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1000):
            yield b"x" * 1000

    for size in (200_000, 230_000, 300_000, 5_000_000, 1000):
        async with http.post(url(edge), data=parts(size) if chunked else io.BytesIO(b"x" * size)) as answer:
            assert len((await answer.json())["body"]) == size
    await until(lambda: 1000 in sizes)
    assert set(sizes) <= {200_000, 230_000, 1000}
    assert 200_000 in sizes


async def test_authorities_that_are_none_are_a_value_error_and_spoil_nothing(
    lab: Lab, engine: HaproxyEngine, http: aiohttp.ClientSession
) -> None:
    await lab.backend("one")
    with pytest.raises(ValueError):
        await engine.set_pool(Pool("bad", (), tls=UpstreamTls("a.example", "no certificate")))
    assert await told(http, await lab.edge(to("one"))) == "one"


async def test_it_is_started_again_when_it_dies(lab: Lab, engine: HaproxyEngine) -> None:
    await lab.backend("one")
    edge = await lab.edge(to("one"))
    (before,) = processes(engine._folder)
    os.kill(before, signal.SIGKILL)
    async with aiohttp.ClientSession() as http:
        assert await told(http, edge) == "one"  # the connection waits in our queue
    assert processes(engine._folder) != [before]


async def test_a_pattern_that_haproxy_refuses_is_a_value_error_and_changes_nothing(
    lab: Lab, engine: HaproxyEngine, http: aiohttp.ClientSession
) -> None:
    await lab.backend("one")
    edge = await lab.edge(to("one"))
    wrong = Rule(Match("(", "RegularExpression"), to("one").shares)
    with pytest.raises(ValueError, match="haproxy: "):
        await engine.set_front(Edge(edge.name, edge.address, edge.port, sites=(Site(hosts=(Host(rules=(wrong,)),)),)))
    with pytest.raises(ValueError, match="haproxy: "):
        await lab.edge(wrong, name="another")
    other = await lab.edge(to("one"), name="third")
    assert [await told(http, edge), await told(http, other)] == ["one", "one"]


async def test_stop_leaves_no_process_and_no_folder(lab: Lab, engine: HaproxyEngine) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    reader, writer = await asyncio.open_connection(front.address, front.port)
    await reader.readline()
    await engine.set_front(Forward("second", new_address(), 0, "TCP", "forwarded"))
    folder = engine._folder
    assert len(processes(folder)) == 2  # the first has a connection
    await engine.stop()
    writer.close()
    assert processes(folder) == []
    assert not folder.exists()


async def test_an_old_one_ends_with_its_last_connection(lab: Lab, engine: HaproxyEngine) -> None:
    backend = await lab.tcp_backend("one")
    front = await lab.forward(backend.endpoint)
    reader, writer = await asyncio.open_connection(front.address, front.port)
    await reader.readline()
    await engine.set_front(Forward("second", new_address(), free_port("127.0.0.1"), "TCP", "forwarded"))
    writer.write(b"still there\n")
    assert await reader.readline() == b"still there\n"
    writer.close()
    await until(lambda: len(processes(engine._folder)) == 1)
    assert engine.counters()["forward"].connections == 1


_PARENT = """
import asyncio
import io
from pilothouse.clock import SystemClock
from pilothouse.dataplane.haproxy.engine import HaproxyEngine
from pilothouse.dataplane.model import Forward

async def main():
    engine = HaproxyEngine(SystemClock())
    await engine.start()
    await engine.set_front(Forward("f", "127.0.0.1", {port}, "TCP", "p"))
    print(engine._folder, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_ends_when_we_are_killed(tmp_path: Path) -> None:
    if make_engine("haproxy") is None:
        pytest.skip("no haproxy")
    port = free_port("127.0.0.1")
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PARENT.format(port=port),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": tempfile.gettempdir()},
    )
    assert parent.stdout is not None
    folder = Path((await parent.stdout.readline()).decode().strip())
    assert len(processes(folder)) == 1
    parent.kill()
    await parent.wait()
    await until(lambda: processes(folder) == [])
    await until(lambda: is_free(port))  # a process that ends has no command line some time before it has no sockets
    for left in sorted(folder.rglob("*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()
    folder.rmdir()


async def test_keys_do_not_stay_on_the_disk_and_nobody_else_reads_the_folder(lab: Lab, engine: HaproxyEngine) -> None:
    await lab.backend("one")
    await lab.edge(to("one"))
    assert engine._folder.stat().st_mode & 0o777 == 0o700
    left = [path for path in engine._folder.rglob("*") if path.is_file()]
    assert left == []

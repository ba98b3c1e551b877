"""Clients that leave and hurry, backends in every mood: whatever is answered belongs to what was asked. The moods are drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import aiohttp
import httpx
from lab import Lab, new_address, to, url

from pilothouse.dataplane.model import Edge, Endpoint, Pool, Retry

RANDOM = random.Random(7)
RUNNING: set[asyncio.Task[None]] = set()
ERRORS = (aiohttp.ClientError, httpx.HTTPError, TimeoutError)


async def moody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP/1.1 server that answers with the number it was given: at length, in pieces, with too much behind it, late, or not at all."""
    RUNNING.add(asyncio.current_task())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            number = head.lower().partition(b"x-number: ")[2].partition(b"\r\n")[0]
            await asyncio.sleep(RANDOM.choice((0, 0, 0, 0.01)))
            mood = RANDOM.random()
            content = number + b";"
            first = b"HTTP/1.1 200 OK\r\nX-Number: " + number
            sized = b"\r\nContent-Length: %d\r\n\r\n" % len(content)
            if mood < 0.05:
                writer.transport.abort()
                return
            if mood < 0.1:
                writer.write(b"HTTP/1.1 304 Not Modified\r\nX-Number: " + number + b"\r\n\r\n")
            elif mood < 0.2:
                writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nX-Number: " + number + b"\r\n\r\n")
            elif mood < 0.4:
                pieces = [b"%x\r\n%b\r\n" % (len(content), content) for _ in range(RANDOM.choice((1, 500)))]
                writer.write(first + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(pieces))
                await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
            elif mood < 0.5:
                writer.write(first + b"\r\nConnection: close\r\n\r\n" + content * 50)
                break
            elif mood < 0.55:
                writer.write(first + sized + content + b"HTTP/1.1 200 OK\r\nX-Number: stray\r\nContent-Length: 6\r\n\r\nstray;")
            else:
                writer.write(first + sized + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
        pass  # the other side is done, which uvloop tells by a RuntimeError where that is known already
    except asyncio.CancelledError:
        writer.transport.abort()  # the test is over, and nobody reads what is left
    finally:
        RUNNING.discard(asyncio.current_task())
        writer.close()


class Asker:
    """Counts answers, and keeps those that belong to another question."""

    def __init__(self) -> None:
        self.number = 0
        self.answers: Counter[int] = Counter()
        self.strays: list[tuple[str, str, bytes]] = []

    def next(self) -> str:
        self.number += 1
        return str(self.number)

    def check(self, number: str, status: int, said: str, body: bytes) -> None:
        self.answers[status] += 1
        parts = set(body.split(b";")[:-1]) if status == 200 else set()
        if said not in (number, "") or parts - {number.encode()}:
            self.strays.append((number, said, body[:100]))

    async def http1(self, edge: Edge, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            async with aiohttp.ClientSession() as http:
                for _ in range(20):
                    number = self.next()
                    try:
                        async with asyncio.timeout(RANDOM.choice((5, 5, 5, 0.005))):
                            async with http.get(url(edge), headers={"X-Number": number}) as answer:
                                self.check(number, answer.status, answer.headers.get("X-Number", ""), await answer.read())
                    except ERRORS:
                        continue

    async def http2(self, edge: Edge, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            async with httpx.AsyncClient(http1=False, http2=True) as http:

                async def one() -> None:
                    number = self.next()
                    try:
                        answer = await http.get(url(edge), headers={"X-Number": number})
                    except ERRORS:
                        return
                    self.check(number, answer.status_code, answer.headers.get("X-Number", ""), answer.content)

                await asyncio.gather(*(one() for _ in range(20)))

    async def pipelined(self, edge: Edge, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            reader, writer = await asyncio.open_connection(edge.address, edge.port)
            numbers = [self.next() for _ in range(10)]
            writer.write(b"".join(b"GET / HTTP/1.1\r\nHost: x\r\nX-Number: %s\r\n\r\n" % number.encode() for number in numbers))
            said = []
            try:
                async with asyncio.timeout(RANDOM.choice((1, 0.005))):
                    while len(said) < len(numbers):
                        line = (await reader.readuntil(b"\n")).lower()
                        if line.startswith(b"x-number: "):
                            said.append(line[10:-2].decode())
                        elif b"http/1.1 502" in line or b"http/1.1 503" in line:
                            break
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                pass  # it was cut short, by us or by a backend
            for number, heard in zip(numbers, said, strict=False):
                self.check(number, 0, heard, b"")
            writer.transport.abort()


async def test_no_answer_is_anothers(lab: Lab) -> None:
    servers = [await asyncio.start_server(moody, new_address(), 0) for _ in range(3)]
    endpoints = tuple(Endpoint(*server.sockets[0].getsockname()) for server in servers)
    await lab.engine.set_pool(Pool("moody", endpoints))
    edge = await lab.edge(to("moody", retry=Retry(1, (503,))))
    asker = Asker()
    until = asyncio.get_running_loop().time() + 2
    kinds = (asker.http1, asker.http1, asker.http1, asker.http2, asker.pipelined, asker.pipelined)
    work = [asyncio.create_task(kind(edge, until)) for kind in kinds]
    while asyncio.get_running_loop().time() < until:
        await lab.engine.set_pool(Pool("moody", tuple(RANDOM.sample(endpoints, RANDOM.randint(1, 3)))))
        await asyncio.sleep(0.05)
    await asyncio.gather(*work)
    for server in servers:
        server.close()
    for running in list(RUNNING):  # what waits for another question, or for somebody to read, would outlive the loop
        running.cancel()
    await asyncio.gather(*RUNNING, return_exceptions=True)
    assert asker.strays == []
    assert asker.answers[200] > 0

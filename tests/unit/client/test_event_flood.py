from __future__ import annotations

import asyncio

from pilothouse.client.events import EventRecorder
from pilothouse.client.interface import Response
from pilothouse.clock import VirtualClock


class Server:
    """Keeps the events that it is sent, by name."""

    def __init__(self) -> None:
        self.events: dict[str, dict] = {}

    async def request(self, method, path, query=None, body=None, content_type="", accept=""):
        name = body["metadata"]["name"] if method == "POST" else path.rpartition("/")[2]
        self.events[name] = {**self.events.get(name, {}), **body}
        return Response(201 if method == "POST" else 200, self.events[name])


async def recorded(events, clock=None):
    server, clock = Server(), clock or VirtualClock()
    recorder = EventRecorder(server, clock, "test")
    task = asyncio.create_task(recorder.run())
    for name, message, wait in events:
        await clock.advance(wait)
        about = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": {"namespace": "ns", "name": name, "uid": name}}
        recorder.record(about, "Normal", "SuccessfulCreate", message)
    await clock.advance(1)
    task.cancel()
    return list(server.events.values())


async def test_the_same_event_again_is_counted():
    (event,) = await recorded([("r", "made", 0)] * 3)
    assert event["count"] == 3


async def test_many_similar_events_become_one():
    events = await recorded([("r", f"made {i}", 0) for i in range(20)])
    assert [e["message"] for e in events] == [*(f"made {i}" for i in range(10)), "(combined from similar events): made 19"]
    assert events[-1]["count"] == 10


async def test_one_object_cannot_flood_the_server_and_does_not_silence_others():
    flood = [("r", "made", 0)] * 100
    events = await recorded([*flood, ("s", "made", 0), ("r", "made", 300)])
    assert {e["involvedObject"]["name"]: e["count"] for e in events} == {"r": 26, "s": 1}

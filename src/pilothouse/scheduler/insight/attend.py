"""How questions reach the scheduler: it asks the hub for the next one and waits; the answer goes along with the next request.

So the scheduler needs no port, no certificate and no address of its own, works through any network that lets it reach the hub, and pays
nothing as long as nobody asks. An API server that does not know the path (a foreign one) is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pilothouse.client.interface import Transport
from pilothouse.clock import Clock

log = logging.getLogger("pilothouse.scheduler")

Obj = dict[str, Any]
Answer = Callable[[Obj], Awaitable[tuple[int, Obj]]]

#: Where the hub hands out questions.
PATH = "/pilothouse/scheduler-questions"
#: Seconds until the next try, when the hub could not be reached, and when it refused.
SOON, LATER = 5.0, 300.0


async def attend(transport: Transport, clock: Clock, names: Callable[[], Sequence[str]], answer: Answer) -> None:
    """Answer questions until cancelled, for the scheduler of these scheduler names; or return where nobody will ever ask."""
    answered: Obj | None = None
    while True:
        body = {"schedulerNames": list(names()), "answer": answered}
        answered = None
        try:
            response = await transport.request("POST", PATH, body=body)
        except OSError:
            await clock.sleep(SOON)
            continue
        if response.status in (404, 405):
            return
        if response.status in (401, 403):
            await clock.sleep(LATER)
        elif response.status != 200:
            await clock.sleep(SOON)
        elif not isinstance(response.body, dict):
            return  # whoever answers so is no hub
        elif response.body.get("question"):
            answered = await _answered(answer, response.body["question"])


async def _answered(answer: Answer, question: Obj) -> Obj:
    try:
        code, body = await answer(question)
    except Exception as error:  # a question must not end the scheduler
        log.exception("a question was not answered")
        told = f"Internal error occurred: {error}"
        code = 500
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": told,
                "reason": "InternalError", "code": code}  # fmt: skip
    return {"id": question["id"], "code": code, "body": body}

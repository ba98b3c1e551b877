"""Questions to schedulers: SchedulingDecision and WhatIf of pilothouse.dev/v1alpha1, which the hub serves but cannot answer itself.

A scheduler asks for questions at `/pilothouse/scheduler-questions` and waits (a long poll); the answer to one comes with the request for the next.
The two resources are in discovery only while a scheduler waits, so that an API server alone shows nothing that kube-apiserver does
not. With several API servers on one store, those that no scheduler is attached to do not serve them.
Left out on purpose: watches of decisions, which would have to be told on every scheduling cycle.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.crd.validation import NOTHING, validator
from pilothouse.api.errors import FieldError, Obj, StatusError, bad_request, invalid_object, not_found_error
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from pilothouse.api.table import since
from pilothouse.apiserver.attached import GONE, POLL, Attached, Member, within
from pilothouse.apiserver.interface import Attributes, SpecialRequest, SpecialResult, User, Verdict
from pilothouse.apiserver.messages import Answer, Request, Response
from pilothouse.apiserver.render import json_response
from pilothouse.apiserver.routes import MethodNotAllowed, Route

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

PATH = "/pilothouse/scheduler-questions"
GROUP, VERSION = "pilothouse.dev", "v1alpha1"
DECISIONS, WHAT_IFS = "schedulingdecisions", "whatifs"
#: How long an answer may take, seconds.
PATIENCE = 50.0
SCHEDULER = "system:kube-scheduler"


class SchedulerQuestions:
    """An authorizer: the scheduler's own user may ask for questions. Others need a role for the path, as for any other."""

    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]:
        mine = attributes.path == PATH and not attributes.resource and attributes.user.name == SCHEDULER
        return (Verdict.ALLOW, "") if mine else (Verdict.NO_OPINION, "")


@dataclass(slots=True, eq=False)
class _Seat(Member):
    """One scheduler: the names that it schedules for, and the questions that it has not been given."""

    names: tuple[str, ...] = ()
    questions: asyncio.Queue[Obj] = field(default_factory=asyncio.Queue)
    getting: asyncio.Future[Obj] | None = None


class Questions:
    """Those of one server: schedulers that wait, and clients that do."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        resources = [(DECISION, DECISION_SCHEMA, _DecisionStrategy), (WHAT_IF, WHAT_IF_SCHEMA, Strategy)]
        self._attached: Attached[tuple[str, ...], _Seat] = Attached(server, resources, self._special)
        self.schemas = self._attached.schemas
        self._asked: dict[int, asyncio.Future[Obj]] = {}
        self._numbers = itertools.count(1)

    @property
    def scheduler_names(self) -> set[str]:
        """The names for which somebody schedules."""
        return {name for seat in self._attached.members.values() for name in seat.names}

    # --- schedulers ----------------------------------------------------------------------------------------------------------------

    def attend(self, request: Request, route: Route, user: User) -> Answer:
        """A scheduler asks for the next question."""
        if route.method != "POST":
            raise MethodNotAllowed(("POST",))
        return self._attend(request)

    async def _attend(self, request: Request) -> Response:
        try:
            body = orjson.loads(request.body)
            names = tuple(sorted(map(str, body["schedulerNames"])))
        except (ValueError, KeyError, TypeError):
            raise bad_request("expected a JSON object with schedulerNames") from None
        self._take(body.get("answer"))
        seat = self._attached.arrive(names, lambda: _Seat(names=names))
        turn = seat.turn
        question = None
        try:
            question = await self._next(seat)
        finally:
            self._attached.answered(names, seat, turn, GONE + PATIENCE if question else GONE)
        return json_response(200, {"question": question})

    def _take(self, answer: Any) -> None:
        if not isinstance(answer, dict):
            return
        waiting = self._asked.pop(answer.get("id") or 0, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _next(self, seat: _Seat) -> Obj | None:
        """The next question; None if there is none for a while."""
        if seat.getting is not None:
            seat.getting.cancel()  # whoever waited there has been replaced
        seat.getting = asyncio.ensure_future(seat.questions.get())
        return await within(self._server.clock, POLL, seat.getting)

    # --- clients -------------------------------------------------------------------------------------------------------------------

    async def _special(self, request: SpecialRequest) -> SpecialResult:
        if request.verb == "watch":
            raise MethodNotAllowed(())
        if not self._attached.members:
            raise StatusError(503, "ServiceUnavailable", "no scheduler is there to answer", {})
        if request.resource.plural == WHAT_IFS:
            _check(request.body or {})
            return await self._ask(self._any(request), {"kind": "whatif", "object": request.body})
        if request.verb == "list":
            return await self._list(request.namespace)
        entry = self._server.cache("", "pods").get(request.namespace, request.name)
        question = {"kind": "decision", "namespace": request.namespace, "name": request.name}
        wanted = "" if entry is None else entry.obj["spec"].get("schedulerName", "")
        seats = [seat for seat in self._attached.members.values() if not wanted or wanted in seat.names]
        if not seats:
            raise not_found_error(GROUP, DECISIONS, request.name)
        return await self._ask(seats[0], question)

    async def _list(self, namespace: str) -> SpecialResult:
        question = {"kind": "decisions", "namespace": namespace}
        results = await asyncio.gather(*(self._ask(seat, dict(question)) for seat in list(self._attached.members.values())))
        body = {**results[0].body, "items": [item for result in results for item in result.body.get("items") or ()]}
        return SpecialResult(200, body)

    def _any(self, request: SpecialRequest) -> _Seat:
        for seat in self._attached.members.values():
            if "default-scheduler" in seat.names:
                return seat
        return next(iter(self._attached.members.values()))

    async def _ask(self, seat: _Seat, question: Obj) -> SpecialResult:
        number = next(self._numbers)
        waiting = self._asked[number] = asyncio.get_running_loop().create_future()
        seat.questions.put_nowait({**question, "id": number})
        try:
            answer = await within(self._server.clock, PATIENCE, waiting)
        finally:
            self._asked.pop(number, None)
        if answer is None:
            raise StatusError(504, "Timeout", "the scheduler did not answer in time", {})
        return SpecialResult(int(answer["code"]), answer["body"])


def _check(body: Obj) -> None:
    """422 for a question whose fields are of other types than the schema's."""
    errors: list[FieldError] = []
    validator(WHAT_IF_SCHEMA)(body, "", NOTHING, errors)
    if errors:
        raise invalid_object(GROUP, WHAT_IF.kind, (body.get("metadata") or {}).get("name", ""), errors)


# --- the two resources --------------------------------------------------------------------------------------------------------------

DECISION = Resource(
    GROUP, VERSION, DECISIONS, "SchedulingDecision", "schedulingdecision", True, ("get", "list"), ("decision", "decisions")
)
WHAT_IF = Resource(GROUP, VERSION, WHAT_IFS, "WhatIf", "whatif", False, ("create",))

_STRING, _NUMBER = {"type": "string"}, {"type": "integer"}
_FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_STRINGS = {"type": "array", "items": _STRING}


def _object(description: str, **properties: Obj) -> Obj:
    return {"type": "object", "description": description, "properties": properties}


DECISION_SCHEMA = _object(
    "Why a pod is where it is, or why it has no node.",
    apiVersion=_STRING,
    kind=_STRING,
    metadata={"type": "object"},
    spec={**_FREE, "description": "What was decided about: the scheduler's name, the pod's uid, which attempt it was."},
    status={
        **_FREE,
        "description": "The filters with the nodes that they removed, scores of finalists, durations; the nearest nodes.",
    },
)
WHAT_IF_SCHEMA = _object(
    "Where pods would go if something were different. Nothing is changed by it.",
    apiVersion=_STRING,
    kind=_STRING,
    metadata={"type": "object"},
    spec=_object(
        "The question.",
        objects={"type": "array", "items": _FREE, "description": "Manifests; workloads stand for their pods."},
        namespace={**_STRING, "description": "That of manifests which name none."},
        addNodes=_object("More nodes.", count=_NUMBER, like={**_STRING, "description": "The node that they are copies of."}),
        drain={**_STRINGS, "description": "Nodes that are emptied."},
        waiting={"type": "boolean", "description": "Whether pods that wait for a node are decided, too."},
        configuration={**_FREE, "description": "A KubeSchedulerConfiguration in the place of the scheduler's own."},
    ),
    status={**_FREE, "description": "The answer."},
)


class _DecisionStrategy(Strategy):
    columns = (NAME_COLUMN, Column("Result"), Column("Node"), Column("Message", priority=1), AGE_COLUMN)

    def cells(self, obj: Obj, now: float) -> list[Any]:
        status, meta = obj["status"], obj["metadata"]
        node, message = status.get("nodeName", ""), status.get("message", "")
        return [meta["name"], status["result"], node, message, since(meta.get("creationTimestamp"), now)]

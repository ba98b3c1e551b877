"""/debug/api_priority_and_fairness: what priority levels and their queues are doing right now, as text for people (reference page "Flow control").

Columns are those of the reference server. A queue here is a flow's own, and requests take one seat each, so sums and the next turn are not
told; neither are requests that are being answered (only those that wait).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pilothouse.apiserver.flows import Flows
from pilothouse.apiserver.interface import User
from pilothouse.apiserver.messages import Request, Response
from pilothouse.apiserver.routes import Route

_PREFIX = "/debug/api_priority_and_fairness/"
_LEVELS = ("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests")  # fmt: skip
_QUEUES = ("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse")
_REQUESTS = ("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher")

Rows = Iterable[Sequence[object]]
Handler = Callable[[Request, Route, User], Response]


def handlers(flows: Flows) -> dict[str, Handler]:
    """The endpoints by their paths."""
    pages: dict[str, tuple[Sequence[str], Callable[[Flows], Rows]]] = {
        "dump_priority_levels": (_LEVELS, priority_levels),
        "dump_queues": (_QUEUES, queues),
        "dump_requests": (_REQUESTS, requests),
    }
    return {_PREFIX + name: _page(flows, *page) for name, page in pages.items()}


def _page(flows: Flows, head: Sequence[str], rows: Callable[[Flows], Rows]) -> Handler:
    def answer(request: Request, route: Route, user: User) -> Response:
        return Response(
            200, text(head, rows(flows)).encode(), "text/plain; charset=utf-8", (("X-Content-Type-Options", "nosniff"),)
        )

    return answer


def text(head: Sequence[str], rows: Rows) -> str:
    """Comma-separated values in columns."""
    lines = [[*map(str, head)], *([str(v).lower() if isinstance(v, bool) else str(v) for v in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) + 2 for n in range(len(head))]
    return "".join("".join(f"{v},".ljust(w) for v, w in zip(line[:-1], widths, strict=False)) + line[-1] + "\n" for line in lines)


def priority_levels(flows: Flows) -> Rows:
    counts: dict[str, int] = {}
    for flow in flows.all:
        counts[flow.level.name] = counts.get(flow.level.name, 0) + flow.count
    for level in sorted(flows.seats.levels.values(), key=lambda level: level.name):
        idle = not level.running and not level.waiting
        yield (level.name, len(level.queues), idle, False, level.waiting, level.running, counts.get(level.name, 0), level.refused, level.timed_out, level.cancelled)  # fmt: skip


def queues(flows: Flows) -> Rows:
    for level in sorted(flows.seats.levels.values(), key=lambda level: level.name):
        for index, queue in enumerate(level.queues.values()):
            yield level.name, index, len(queue), 0, 0


def requests(flows: Flows) -> Rows:
    for level in sorted(flows.seats.levels.values(), key=lambda level: level.name):
        for index, (flow, queue) in enumerate(level.queues.items()):
            schema, _, distinguisher = flow.partition("/")
            for position in range(len(queue)):
                yield level.name, schema, index, position, distinguisher
